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
  for (const [name, endpoint] of Object.entries(info.NetworkSettings.Networks)) {
    if (endpoint.IPAddress !== '') addresses[name] = endpoint.IPAddress;
    const { IPv4Address: fixed = '' } = (endpoint.IPAMConfig ?? {}) as { IPv4Address?: string };
    if (fixed !== '') assigned[name] = fixed;
  }
  const config = info.Config as { Labels?: Record<string, string> | null; StopTimeout?: number };
  return {
    id: info.Id,
    name: info.Name.replace(/^\//, ''),
    state: stateOf(info.State.Status),
    labels: config.Labels ?? {},
    addresses,
    ...(Object.keys(assigned).length > 0 && { assigned }),
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
  const ipam = info.IPAM?.Config?.[0] as { Subnet?: string; Gateway?: string } | undefined;
  return {
    id: info.Id,
    subnet: ipam?.Subnet,
    gateway: ipam?.Gateway,
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
