import type { Ipv6Prefix } from '../../network/address/dual-stack.ts';
import type { ContainerSpec, InstanceKey } from '../../registry/records/index.ts';
import type { ExecResult } from './exec.ts';

/**
 * What the agent needs of a container engine, and no more. One implementation speaks to dockerd
 * (dockerode-engine.ts), one lives in memory for tests. Every method throws EngineError, and ends
 * with `EngineUnavailable` by itself when the engine does not answer: no call waits for ever.
 */
export interface Engine {
  /**
   * Finds the engine and agrees on an API version. Call before anything else and after each
   * EngineUnavailable. Throws EngineRefused when the engine is too old.
   */
  connect(signal?: AbortSignal): Promise<EngineInfo>;

  /**
   * Resolves when the engine takes new connections. One that shuts down takes none, but goes on answering on those
   * that stand: it stops all containers then, and starting one of them again would spoil its state.
   */
  ping(signal?: AbortSignal): Promise<void>;

  /** Every container (running or not) whose host label is `host`. */
  listOwned(host: string, signal?: AbortSignal): Promise<readonly ListedContainer[]>;
  /** Throws NotFound when it is gone. */
  inspect(containerId: string, signal?: AbortSignal): Promise<InspectedContainer>;
  /** Creates but does not start. Returns the container's id. Throws Conflict when the name is taken. */
  create(request: CreateRequest, signal?: AbortSignal): Promise<string>;
  /**
   * Creates, but does not start, a container beside another one: with its network, volumes and files, environment and limits.
   * Throws NotFound when the other one or the image is not there, Conflict when the name is taken.
   */
  createBeside(request: BesideRequest, signal?: AbortSignal): Promise<string>;
  /**
   * Gives a container that does not run another address in a network, and only that: its file system stays.
   * @param address undefined: the engine chooses
   */
  readdress(
    containerId: string,
    network: string,
    address: ContainerAddress | undefined,
    signal?: AbortSignal,
  ): Promise<void>;
  /** Gives the container another name. Does nothing when it has it. */
  rename(containerId: string, name: string, signal?: AbortSignal): Promise<void>;
  /** Waits until the container runs no more, at most `timeoutMs`; returns its exit code, or undefined if it still runs. */
  wait(containerId: string, timeoutMs: number, signal?: AbortSignal): Promise<number | undefined>;
  /** The last lines that the container has written. */
  lastLines(containerId: string, lines: number, signal?: AbortSignal): Promise<string>;
  /** Does nothing when it runs already. */
  start(containerId: string, signal?: AbortSignal): Promise<void>;
  /** Sends the stop signal, then SIGKILL after `graceMs`. Does nothing when it does not run, or is gone. */
  stop(containerId: string, graceMs: number, signal?: AbortSignal): Promise<void>;
  /** Kills at once. Does nothing when it does not run, or is gone. */
  kill(containerId: string, signal?: AbortSignal): Promise<void>;
  /** Removes the container, running or not, with its anonymous volumes. Does nothing when it is gone. */
  remove(containerId: string, signal?: AbortSignal): Promise<void>;

  /**
   * Runs a program in a running container and waits for its end, at most `timeoutMs`; what has not ended then runs on.
   * Throws Conflict when the container does not run.
   */
  exec(
    containerId: string,
    command: readonly string[],
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<ExecResult>;
  /** Whether the program of an `exec` still runs; false when the engine does not know of it any more. */
  isExecRunning(execId: string, signal?: AbortSignal): Promise<boolean>;

  /** Whether the image is on this host. */
  hasImage(image: string, signal?: AbortSignal): Promise<boolean>;
  /** Pulls the image; resolves when it is on this host. Throws ImagePullFailed with the engine's words. */
  pull(
    image: string,
    onProgress: (progress: PullProgress) => void,
    signal?: AbortSignal,
  ): Promise<void>;

  /** Creates the volume unless it exists. Existing ones are never changed. */
  ensureVolume(
    name: string,
    labels: Readonly<Record<string, string>>,
    driver?: VolumeDriver,
    signal?: AbortSignal,
  ): Promise<void>;
  hasVolume(name: string, signal?: AbortSignal): Promise<boolean>;
  /** Where the volume lies on the host; undefined when it is no plain directory there, or does not exist. */
  volumeDirectory(name: string, signal?: AbortSignal): Promise<string | undefined>;
  /**
   * Runs a command in a container of its own, made as `request` says but with other files and without ports, and removes it.
   * What has not ended after `timeoutMs` is killed.
   */
  runOnce(run: OnceRequest, signal?: AbortSignal): Promise<ExecResult>;
  /** Removes containers that a `runOnce` which was cut off has left behind, if made before that time (wall clock, ms). */
  removeLeftOvers(host: string, madeBefore: number, signal?: AbortSignal): Promise<void>;
  /** Removes the volume with its data. Does nothing when it is gone. Throws Conflict while a container has it. */
  removeVolume(name: string, signal?: AbortSignal): Promise<void>;
  /** Sends a signal to the container's first process. Throws Conflict when it does not run. */
  signal(containerId: string, name: string, signal?: AbortSignal): Promise<void>;
  /** The network as it stands, or undefined. */
  inspectNetwork(name: string, signal?: AbortSignal): Promise<NetworkState | undefined>;
  /**
   * Makes the network what `wanted` says. One that differs is replaced: its containers are cut off
   * and keep running without a network, so that the planner sees them and recreates them.
   */
  ensureNetwork(
    wanted: NetworkWanted,
    signal?: AbortSignal,
  ): Promise<'kept' | 'created' | 'replaced'>;

  /**
   * Follows the engine's events until `signal` aborts (then returns quietly). `onSubscribed` is called once
   * the subscription stands: list after that and nothing is missed. Ends with EngineUnavailable when the
   * stream breaks. Events are hints: the engine drops them for slow readers.
   */
  events(
    onSubscribed: () => void,
    onEvent: (event: EngineEvent) => void,
    signal: AbortSignal,
  ): Promise<void>;

  /** Lets go of idle connections. */
  close(): void;
}

export interface EngineInfo {
  /** Of the engine, e.g. "20.10.24". */
  readonly version: string;
  /** The API version agreed on, e.g. "1.41". */
  readonly apiVersion: string;
  readonly kernel: string;
  readonly cpus: number;
  readonly memoryBytes: number;
}

/** States of a container, as the engine names them. */
export type ContainerState =
  'created' | 'running' | 'paused' | 'restarting' | 'removing' | 'exited' | 'dead';

export interface ListedContainer {
  readonly id: string;
  readonly state: ContainerState;
  readonly labels: Readonly<Record<string, string>>;
}

export interface InspectedContainer extends ListedContainer {
  /** Without the leading slash. */
  readonly name: string;
  /** IPv4 address on each network by network name; only while it runs. */
  readonly addresses: Readonly<Record<string, string>>;
  /** IPv4 address that it was created with and gets at each start, by network name. Absent: the engine chooses. */
  readonly assigned?: Readonly<Record<string, string>>;
  /** IPv6 address on each network by network name; only while it runs. Absent: none. */
  readonly ipv6Addresses?: Readonly<Record<string, string>>;
  /** IPv6 address that it was created with and gets at each start, by network name. Absent: none, or one that the engine chooses. */
  readonly assignedIpv6?: Readonly<Record<string, string>>;
  /** DNS servers that the container was created with. */
  readonly dns: readonly string[];
  readonly exitCode: number;
  readonly oomKilled: boolean;
  /** The engine's words about a start that failed; empty when it did not. */
  readonly error: string;
  /** Restarts by the engine's own restart policy since the last start that somebody asked for. */
  readonly restartCount: number;
  /** RFC 3339; undefined when it never started. */
  readonly startedAt: string | undefined;
  /** RFC 3339; undefined when it never ended. */
  readonly finishedAt: string | undefined;
  /** The engine's verdict from the image's own HEALTHCHECK; undefined when it makes no check. */
  readonly health?: EngineHealth | undefined;
  /** Grace that the container itself was created with. */
  readonly stopGraceMs: number | undefined;
  /** Of its first process, on the host; undefined while it does not run. */
  readonly pid?: number | undefined;
}

export interface EngineHealth {
  readonly status: 'starting' | 'healthy' | 'unhealthy';
  /** What the last failed check said; undefined while all is well. */
  readonly message: string | undefined;
}

/** What makes a volume; absent parts are the engine's defaults. */
export interface VolumeDriver {
  readonly driver?: string;
  readonly driverOpts?: Readonly<Record<string, string>>;
}

/** A file of the host that is mounted into a container, to be read only. */
export interface DeliveredFile {
  readonly source: string;
  readonly target: string;
}

/** What a container has at each start. */
export interface ContainerAddress {
  readonly ipv4: string;
  /** Its twin. Absent: the overlay carries IPv4 only. */
  readonly ipv6?: string;
}

/** A Docker network as containers join it. */
export interface JoinedNetwork {
  readonly name: string;
  /** IPv4 address of the bridge, where names are asked for. */
  readonly gateway: string;
  /** Present: containers have the IPv6 twins of their addresses, too. */
  readonly ipv6?: Ipv6Prefix;
}

/** Everything that decides on one container. */
export interface CreateRequest {
  readonly key: InstanceKey;
  readonly host: string;
  readonly placementId: string;
  readonly specHash: string;
  readonly container: ContainerSpec;
  readonly network: JoinedNetwork;
  /** What it gets at each start. Absent: the engine chooses, anew each time. */
  readonly address?: ContainerAddress;
  /** What was delivered apart from the container spec. */
  readonly delivered?: {
    readonly files: readonly DeliveredFile[];
    readonly environment: Readonly<Record<string, string>>;
  };
}

/** A container that shares what another one has, and runs something else. */
export interface BesideRequest {
  /** Id of the other container, running or not. */
  readonly containerId: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Absent: the image that the other one was made from. */
  readonly image?: string;
  /** The program with its arguments. Absent: what the image runs by itself. */
  readonly command?: readonly string[];
  /** On the other one's network. Absent: the engine chooses. */
  readonly address?: ContainerAddress;
}

/** One run of a command. */
export interface OnceRequest {
  readonly request: CreateRequest;
  readonly command: readonly string[];
  /** Files of the host at places in the container; they win over those of `request`. */
  readonly files: readonly DeliveredFile[];
  /** Id of a running container whose network is used, and whose names are therefore known. Absent: an own address. */
  readonly networkOf?: string;
  readonly timeoutMs: number;
}

/** How far a pull is, over all layers that the engine has announced so far. */
export interface PullProgress {
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly layersDone: number;
  readonly layers: number;
}

export interface NetworkWanted {
  readonly name: string;
  /** CIDR. */
  readonly subnet: string;
  readonly gateway: string;
  /** Absent: the network has no IPv6 of nap's. */
  readonly ipv6?: Ipv6Subnet;
  /** Options of the bridge driver. */
  readonly options: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
}

/** The IPv6 part of a network. */
export interface Ipv6Subnet {
  /** CIDR. */
  readonly subnet: string;
  readonly gateway: string;
}

export interface NetworkState {
  readonly id: string;
  readonly subnet: string | undefined;
  readonly gateway: string | undefined;
  /** Absent: IPv6 is off there. */
  readonly ipv6?: Partial<Ipv6Subnet>;
  readonly options: Readonly<Record<string, string>>;
}

export interface EngineEvent {
  readonly type: string;
  /** "start", "die", "destroy" … */
  readonly action: string;
  /** Id of the container, for events of type "container" and "network". */
  readonly id: string;
  /** Of the container; empty for events of type "network". */
  readonly labels: Readonly<Record<string, string>>;
}
