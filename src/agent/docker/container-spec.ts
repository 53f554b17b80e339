import { labels } from '../../api/v1alpha1/group.ts';
import { isSecondSeat, plainOrdinal } from '../../api/v1alpha1/seat.ts';
import type {
  ContainerSpec,
  InstanceKey,
  Mount,
  PortMapping,
} from '../../registry/records/index.ts';
import { stopHooksLabel } from '../hooks/stop-hooks.ts';
import { engineRestarts } from '../restart/engine-restarts.ts';
import type { ContainerAddress, CreateRequest, DeliveredFile } from './engine.ts';

/**
 * Translates a resolved container spec into the body of the engine's "create container" call (API 1.41). Pure.
 *
 * Who restarts what exits. `restart: always`: the engine, by its own policy, not the agent. Only so do containers go on being
 * restarted while the agent is away, after a restart of dockerd and after a reboot, when nothing else may be there
 * yet. It becomes Docker's `unless-stopped` and not its `always`: both restart whatever exits
 * by itself, but a container that the agent has stopped (because it belongs elsewhere now) must stay stopped when dockerd
 * or the host restarts before it was removed, and Docker's `always` would raise it again. A container stopped by hand
 * stays stopped for the engine, too; the agent sees it and starts it. The engine's pauses grow as 0.1 s · 2^n
 * up to 60 s and start anew after a run of 10 s (moby restartmanager); crash-loop.ts knows them, so that they can be shown.
 *
 * All other policies, and `always` with restartSec, startLimit or hooks: the agent, by systemd's table (restart/decision.ts); the
 * engine is told "no". Docker's `on-failure` comes near the one of systemd, but also restarts what a SIGTERM, SIGINT,
 * SIGHUP or SIGPIPE has ended, knows no pause of one's own, and a limit on the number of starts but not in an interval; for
 * on-success, on-abnormal and on-abort it has nothing. The price: such a container stays down while its agent is away.
 * What ended with its engine or machine is started when they are back, as services are at a boot.
 */
export interface CreateBody {
  readonly name: string;
  readonly Image: string;
  readonly Hostname: string;
  readonly Cmd?: string[];
  readonly Entrypoint?: string[];
  readonly Env: string[];
  readonly Labels: Record<string, string>;
  readonly User?: string;
  readonly WorkingDir?: string;
  readonly StopSignal?: string;
  readonly Healthcheck?: Healthcheck;
  readonly StopTimeout: number;
  readonly ExposedPorts: Record<string, Record<string, never>>;
  readonly HostConfig: HostConfig;
  readonly NetworkingConfig: { readonly EndpointsConfig: Record<string, EndpointConfig> };
}

/** The place of a container in a network. */
interface EndpointConfig {
  readonly IPAMConfig?: { readonly IPv4Address: string; readonly IPv6Address?: string };
}

/** @param address undefined: the engine chooses one */
export function endpointConfig(address: ContainerAddress | undefined): EndpointConfig {
  if (address === undefined) return {};
  const { ipv4, ipv6 } = address;
  return {
    IPAMConfig: { IPv4Address: ipv4, ...(ipv6 !== undefined && { IPv6Address: ipv6 }) },
  };
}

/** Durations are nanoseconds; absent parts are the image's. */
interface Healthcheck {
  readonly Test?: ['NONE'];
  readonly Interval?: number;
  readonly Timeout?: number;
  readonly Retries?: number;
  readonly StartPeriod?: number;
}

interface MountBody {
  readonly Type: 'volume' | 'bind';
  readonly Source: string;
  readonly Target: string;
  readonly ReadOnly: boolean;
  readonly BindOptions?: { readonly Propagation: string };
}

interface HostConfig {
  readonly NetworkMode: string;
  readonly Dns: string[];
  readonly DnsSearch: string[];
  readonly ExtraHosts?: string[];
  readonly RestartPolicy: { readonly Name: 'unless-stopped' | 'no' };
  readonly PortBindings: Record<string, { HostIp: string; HostPort: string }[]>;
  readonly Binds: string[];
  readonly Mounts: MountBody[];
  readonly Tmpfs?: Record<string, string>;
  readonly LogConfig: { readonly Type: string; readonly Config: Record<string, string> };
  readonly NanoCpus?: number;
  readonly Memory?: number;
  readonly MemoryReservation?: number;
  readonly PidsLimit?: number;
}

/** Logs are rotated, or a chatty container fills the host's disk. */
export const logConfig = { Type: 'json-file', Config: { 'max-size': '10m', 'max-file': '3' } };

/** `nap_<ns>_<project>_<service>_<ordinal>_<8>`: for people, and never the form of a service's DNS name. */
export function containerName(key: InstanceKey, placementId: string): string {
  const parts = ['nap', key.namespace, key.project, key.service, key.ordinal];
  return [...parts, placementId.slice(0, 8)].join('_');
}

/** The labels by which the agent knows its containers again. */
export function ownershipLabels(request: Omit<CreateRequest, 'network'>) {
  const { fencing } = request.container;
  const stopHooks = stopHooksLabel(request.container);
  return {
    [labels.host]: request.host,
    [labels.namespace]: request.key.namespace,
    [labels.project]: request.key.project,
    [labels.service]: request.key.service,
    [labels.ordinal]: plainOrdinal(request.key.ordinal),
    ...(isSecondSeat(request.key.ordinal) && { [labels.seat]: 'b' }),
    [labels.instance]: request.placementId,
    [labels.specHash]: request.specHash,
    ...(stopHooks !== undefined && { [labels.stopHooks]: stopHooks }),
    ...(fencing !== undefined && { [labels.fencing]: fencing }),
  };
}

/** The body of the create call. */
export function createBody(request: CreateRequest): CreateBody {
  const { container: spec, network } = request;
  return {
    name: containerName(request.key, request.placementId),
    Image: spec.image,
    Hostname: spec.hostname,
    ...(spec.command && { Cmd: spec.command }),
    ...(spec.entrypoint && { Entrypoint: spec.entrypoint }),
    Env: Object.entries({
      ...spec.links?.environment,
      ...request.delivered?.environment,
      ...spec.environment,
    })
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, value]) => `${name}=${value}`),
    Labels: {
      ...spec.labels,
      ...ownershipLabels(request),
    },
    ...(spec.user !== undefined && { User: spec.user }),
    ...(spec.workingDir !== undefined && { WorkingDir: spec.workingDir }),
    ...healthcheck(spec.healthCheck),
    ...(spec.stopSignal !== undefined && { StopSignal: spec.stopSignal }),
    StopTimeout: Math.ceil(spec.stopGracePeriodMs / 1000),
    ExposedPorts: Object.fromEntries(spec.ports.map((port) => [portKey(port), {}])),
    HostConfig: {
      NetworkMode: network.name,
      Dns: [network.gateway],
      // "." means: no search list. Otherwise the host's own search domains leak into containers.
      DnsSearch: ['.'],
      ...(spec.links && {
        ExtraHosts: Object.entries(spec.links.hosts)
          .sort(([a], [b]) => (a < b ? -1 : 1))
          .map(([name, address]) => `${name}:${address}`),
      }),
      RestartPolicy: { Name: engineRestarts(spec) ? 'unless-stopped' : 'no' },
      PortBindings: portBindings(spec.ports),
      ...mounts(spec.mounts, request.delivered?.files ?? []),
      LogConfig: logConfig,
      ...(spec.limits.cpuMillis !== undefined && { NanoCpus: spec.limits.cpuMillis * 1_000_000 }),
      ...(spec.limits.memoryBytes !== undefined && { Memory: spec.limits.memoryBytes }),
      ...(spec.reservations.memoryBytes !== undefined && {
        MemoryReservation: spec.reservations.memoryBytes,
      }),
      ...(spec.limits.pids !== undefined && { PidsLimit: spec.limits.pids }),
    },
    NetworkingConfig: { EndpointsConfig: { [network.name]: endpointConfig(request.address) } },
  };
}

/** A check that is made by the agent is not made by the engine, too. */
function healthcheck(check: ContainerSpec['healthCheck']): { Healthcheck?: Healthcheck } {
  if (check === undefined) return {};
  if (check.probe.type !== 'image') return { Healthcheck: { Test: ['NONE'] } };
  const { intervalMs, timeoutMs, retries, startPeriodMs } = check;
  const nanoseconds = (ms: number): number => ms * 1_000_000;
  return {
    Healthcheck: {
      ...(intervalMs !== undefined && { Interval: nanoseconds(intervalMs) }),
      ...(timeoutMs !== undefined && { Timeout: nanoseconds(timeoutMs) }),
      ...(retries !== undefined && { Retries: retries }),
      ...(startPeriodMs !== undefined && { StartPeriod: nanoseconds(startPeriodMs) }),
    },
  };
}

function portKey(port: PortMapping): string {
  return `${port.containerPort}/${port.protocol}`;
}

function portBindings(ports: readonly PortMapping[]): HostConfig['PortBindings'] {
  const bindings: HostConfig['PortBindings'] = {};
  for (const port of ports) {
    if (port.hostPort === undefined) continue;
    (bindings[portKey(port)] ??= []).push({
      HostIp: port.hostIP ?? '',
      HostPort: String(port.hostPort),
    });
  }
  return bindings;
}

/**
 * Bind mounts go into `Binds`, which like compose's short form creates a missing path on the host; `Mounts` would
 * refuse (its switch for that needs API 1.42). A path with a colon cannot be written there, so it takes the other way.
 * For delivered files the refusal is wanted: after a reboot, when their memory is blank, the engine must not start the
 * container with empty directories in their places; the agent starts it when it has written them again.
 */
function mounts(
  all: readonly Mount[],
  files: readonly DeliveredFile[],
): Pick<HostConfig, 'Binds' | 'Mounts' | 'Tmpfs'> {
  const Binds: string[] = [];
  const Mounts: MountBody[] = [];
  const Tmpfs: Record<string, string> = {};
  for (const mount of all) {
    if (mount.type === 'tmpfs') {
      Tmpfs[mount.target] = mount.options;
      continue;
    }
    const source = mount.type === 'bind' ? mount.source : mount.name;
    const propagation = mount.type === 'bind' ? mount.propagation : undefined;
    if (mount.type === 'bind' && !`${source}${mount.target}`.includes(':')) {
      const options = [...(mount.readOnly ? ['ro'] : []), ...(propagation ? [propagation] : [])];
      Binds.push([source, mount.target, ...(options.length > 0 ? [options.join()] : [])].join(':'));
    } else {
      Mounts.push({
        Type: mount.type,
        Source: source,
        Target: mount.target,
        ReadOnly: mount.readOnly,
        ...(propagation !== undefined && { BindOptions: { Propagation: propagation } }),
      });
    }
  }
  for (const { source, target } of files) {
    Mounts.push({ Type: 'bind', Source: source, Target: target, ReadOnly: true });
  }
  return { Binds, Mounts, ...(Object.keys(Tmpfs).length > 0 && { Tmpfs }) };
}
