import type Docker from 'dockerode';
import type {
  ContainerState,
  EngineHealth,
  InspectedContainer,
  ListedContainer,
  NetworkState,
} from './engine.ts';

/** What the engine writes for "never". */
const zeroTime = '0001-01-01T00:00:00Z';

const states: ReadonlySet<string> = new Set<ContainerState>([
  'created',
  'running',
  'paused',
  'restarting',
  'removing',
  'exited',
  'dead',
]);

/** An entry of the "list containers" answer. */
export function listed(info: Docker.ContainerInfo): ListedContainer {
  return { id: info.Id, state: stateOf(info.State), labels: info.Labels };
}

/** An "inspect container" answer. */
export function inspected(info: Docker.ContainerInspectInfo): InspectedContainer {
  const addresses: Record<string, string> = {};
  const assigned: Record<string, string> = {};
  const ipv6Addresses: Record<string, string> = {};
  const assignedIpv6: Record<string, string> = {};
  for (const [name, endpoint] of Object.entries(info.NetworkSettings.Networks)) {
    if (endpoint.IPAddress !== '') addresses[name] = endpoint.IPAddress;
    if (endpoint.GlobalIPv6Address) ipv6Addresses[name] = endpoint.GlobalIPv6Address;
    const config = (endpoint.IPAMConfig ?? {}) as { IPv4Address?: string; IPv6Address?: string };
    const { IPv4Address: fixed = '', IPv6Address: fixedIpv6 = '' } = config;
    if (fixed !== '') assigned[name] = fixed;
    if (fixedIpv6 !== '') assignedIpv6[name] = fixedIpv6;
  }
  const config = info.Config as { Labels?: Record<string, string> | null; StopTimeout?: number };
  return {
    id: info.Id,
    name: info.Name.replace(/^\//, ''),
    state: stateOf(info.State.Status),
    labels: config.Labels ?? {},
    addresses,
    ...(Object.keys(assigned).length > 0 && { assigned }),
    ...(Object.keys(ipv6Addresses).length > 0 && { ipv6Addresses }),
    ...(Object.keys(assignedIpv6).length > 0 && { assignedIpv6 }),
    dns: (info.HostConfig.Dns as string[] | null | undefined) ?? [],
    exitCode: info.State.ExitCode,
    oomKilled: info.State.OOMKilled,
    error: info.State.Error,
    restartCount: info.RestartCount,
    startedAt: timeOf(info.State.StartedAt),
    finishedAt: timeOf(info.State.FinishedAt),
    health: healthOf(info.State.Health),
    pid: info.State.Pid > 0 ? info.State.Pid : undefined,
    stopGraceMs: config.StopTimeout === undefined ? undefined : config.StopTimeout * 1000,
  };
}

/** An "inspect network" answer. */
export function networkState(info: Docker.NetworkInspectInfo): NetworkState {
  const configs = (info.IPAM?.Config ?? []) as { Subnet?: string; Gateway?: string }[];
  const isIpv6 = ({ Subnet = '' }: { Subnet?: string }): boolean => Subnet.includes(':');
  const ipv4 = configs.find((config) => !isIpv6(config));
  const ipv6 = configs.find(isIpv6);
  return {
    id: info.Id,
    subnet: ipv4?.Subnet,
    gateway: ipv4?.Gateway,
    ...(info.EnableIPv6 &&
      ipv6 !== undefined && {
        ipv6: {
          ...(ipv6.Subnet !== undefined && { subnet: ipv6.Subnet }),
          ...(ipv6.Gateway !== undefined && { gateway: ipv6.Gateway }),
        },
      }),
    options: info.Options ?? {},
  };
}

/** An unknown word of a newer engine counts as `dead`: never running, never started again, removed when not wanted. */
function stateOf(word: string): ContainerState {
  return states.has(word) ? (word as ContainerState) : 'dead';
}

function timeOf(text: string): string | undefined {
  return text === '' || text === zeroTime ? undefined : text;
}

interface DockerHealth {
  readonly Status: string;
  readonly Log?: readonly { readonly ExitCode: number; readonly Output: string }[] | null;
}

const longestHealthMessage = 200;

function healthOf(health: DockerHealth | undefined): EngineHealth | undefined {
  const status = health?.Status;
  if (status !== 'starting' && status !== 'healthy' && status !== 'unhealthy') return undefined;
  const last = health?.Log?.at(-1);
  if (status === 'healthy' || last === undefined || last.ExitCode === 0) {
    return { status, message: undefined };
  }
  const said = last.Output.replace(/\s+/g, ' ').trim().slice(0, longestHealthMessage);
  const message = `the image's check: exit code ${String(last.ExitCode)}${said === '' ? '' : `: ${said}`}`;
  return { status, message };
}
