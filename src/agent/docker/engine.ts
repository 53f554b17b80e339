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

/** Everything that decides on one container. */
export interface CreateRequest {
  readonly key: InstanceKey;
  readonly host: string;
  readonly placementId: string;
  readonly specHash: string;
  readonly container: ContainerSpec;
  readonly network: { readonly name: string; readonly gateway: string };
  /** What was delivered apart from the container spec. */
  readonly delivered?: {
    readonly files: readonly DeliveredFile[];
    readonly environment: Readonly<Record<string, string>>;
  };
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
  /** Options of the bridge driver. */
  readonly options: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
}

export interface NetworkState {
  readonly id: string;
  readonly subnet: string | undefined;
  readonly gateway: string | undefined;
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
