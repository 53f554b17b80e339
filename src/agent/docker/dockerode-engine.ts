import type Docker from 'dockerode';
import { labels } from '../../api/v1alpha1/group.ts';
import { linkSignals } from '../../runtime/linked-signal.ts';
import { negotiateApiVersion } from './api-version.ts';
import { besideBody } from './beside.ts';
import { createBody, endpointConfig } from './container-spec.ts';
import { dockerClients, type DockerClients } from './docker-client.ts';
import type {
  BesideRequest,
  ContainerAddress,
  CreateRequest,
  Engine,
  EngineEvent,
  EngineInfo,
  InspectedContainer,
  ListedContainer,
  NetworkState,
  NetworkWanted,
  OnceRequest,
  PullProgress,
  VolumeDriver,
} from './engine.ts';
import { EngineError, isNotFound, isNotModified, toEngineError } from './errors.ts';
import { execInContainer, withoutFrames, type ExecResult } from './exec.ts';
import { followedActions, followEvents } from './events.ts';
import { inspected, listed, networkState } from './from-docker.ts';
import { replaceableNetwork, networkBody } from './network.ts';
import { readJsonLines } from './ndjson.ts';
import { followPull, pullMessage } from './pull.ts';
import { removeLeftOvers, runOnce } from './run-once.ts';

/** How long a plain call may take. Creating on a loaded disk takes seconds; a minute means that dockerd is stuck. */
const callTimeoutMs = 60_000;
/** Questions that a healthy engine answers at once. */
const quickTimeoutMs = 10_000;
/** A pull that has said nothing for this long is given up (and tried again later). */
const pullStallMs = 300_000;

export interface DockerodeEngineOptions {
  /** Path of the engine's unix socket, e.g. /var/run/docker.sock. */
  readonly socketPath: string;
}

/** The engine behind a local unix socket, through dockerode. */
export class DockerodeEngine implements Engine {
  readonly #socketPath: string;
  #clients: DockerClients | undefined;
  #apiVersion = '';

  constructor(options: DockerodeEngineOptions) {
    this.#socketPath = options.socketPath;
  }

  async connect(signal?: AbortSignal): Promise<EngineInfo> {
    const probe = dockerClients(this.#socketPath);
    try {
      const version = await this.#call('version of the engine', quickTimeoutMs, signal, (s) =>
        untyped(probe.calls).version({ abortSignal: s }),
      );
      this.#pin(negotiateApiVersion(version.ApiVersion));
      const info = await this.#call(
        'ask the engine for its capacity',
        quickTimeoutMs,
        signal,
        (s) => untyped(this.#docker).info({ abortSignal: s }),
      );
      return {
        version: version.Version,
        apiVersion: this.#apiVersion,
        kernel: info.KernelVersion,
        cpus: info.NCPU,
        memoryBytes: info.MemTotal,
      };
    } finally {
      probe.close();
    }
  }

  async ping(signal?: AbortSignal): Promise<void> {
    const fresh = dockerClients(this.#socketPath, this.#apiVersion);
    try {
      await this.#call('ping the engine', quickTimeoutMs, signal, (abortSignal) =>
        untyped(fresh.calls).version({ abortSignal }),
      );
    } finally {
      fresh.close();
    }
  }

  async listOwned(host: string, signal?: AbortSignal): Promise<readonly ListedContainer[]> {
    const all = await this.#call('list containers', callTimeoutMs, signal, (abortSignal) =>
      this.#docker.listContainers({
        all: true,
        filters: { label: [`${labels.host}=${host}`] },
        abortSignal,
      }),
    );
    return all.map(listed);
  }

  async inspect(containerId: string, signal?: AbortSignal): Promise<InspectedContainer> {
    const doing = `inspect container ${containerId}`;
    return inspected(
      await this.#call(doing, quickTimeoutMs, signal, (abortSignal) =>
        this.#docker.getContainer(containerId).inspect({ abortSignal }),
      ),
    );
  }

  async create(request: CreateRequest, signal?: AbortSignal): Promise<string> {
    const body = createBody(request);
    const container = await this.#call(
      `create container ${body.name}`,
      callTimeoutMs,
      signal,
      (abortSignal) =>
        this.#docker.createContainer({
          ...body,
          abortSignal,
          // The types want every part of a health check; what is absent is the image's.
        } as Docker.ContainerCreateOptions),
    );
    return container.id;
  }

  async createBeside(request: BesideRequest, signal?: AbortSignal): Promise<string> {
    const { containerId } = request;
    return this.#call(`create container ${request.name}`, callTimeoutMs, signal, async (s) => {
      const other = await this.#docker.getContainer(containerId).inspect({ abortSignal: s });
      const image = await untyped(this.#docker.getImage(other.Image)).inspect({ abortSignal: s });
      const body = besideBody(other, image.Config?.Env ?? [], request);
      const { id } = await this.#docker.createContainer({ ...body, abortSignal: s });
      return id;
    });
  }

  async readdress(
    containerId: string,
    network: string,
    address: ContainerAddress | undefined,
    signal?: AbortSignal,
  ): Promise<void> {
    await this.#call(
      `give container ${containerId} another address`,
      callTimeoutMs,
      signal,
      async (abortSignal) => {
        const handle = untyped(this.#docker.getNetwork(network));
        await handle.disconnect({ Container: containerId, Force: true, abortSignal });
        const EndpointConfig = endpointConfig(address);
        await handle.connect({ Container: containerId, EndpointConfig, abortSignal });
      },
    );
  }

  async rename(containerId: string, name: string, signal?: AbortSignal): Promise<void> {
    try {
      await this.#call(`rename container ${containerId}`, quickTimeoutMs, signal, (abortSignal) =>
        this.#docker.getContainer(containerId).rename({ name, abortSignal }),
      );
    } catch (error) {
      // "Renaming a container with the same name as its current name" is an error to the engine.
      if (!(error instanceof EngineError && /same name/.test(error.message))) throw error;
    }
  }

  async wait(
    containerId: string,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<number | undefined> {
    const timeout = AbortSignal.timeout(timeoutMs);
    try {
      return await this.#call(
        `wait for ${containerId}`,
        timeoutMs + quickTimeoutMs,
        signal,
        async (s) => {
          const either = AbortSignal.any([s, timeout]);
          // It answers when the container has ended: as many as are waited for would block as many pooled connections.
          const end: unknown = await this.#streams
            .getContainer(containerId)
            .wait({ abortSignal: either });
          return (end as { StatusCode: number }).StatusCode;
        },
      );
    } catch (error) {
      signal?.throwIfAborted();
      if (timeout.aborted) return undefined;
      throw error;
    }
  }

  async lastLines(containerId: string, lines: number, signal?: AbortSignal): Promise<string> {
    const frames = await this.#call(`logs of ${containerId}`, quickTimeoutMs, signal, (s) =>
      this.#docker
        .getContainer(containerId)
        .logs({ stdout: true, stderr: true, follow: false, tail: lines, abortSignal: s }),
    );
    return withoutFrames(frames).toString('utf8');
  }

  async start(containerId: string, signal?: AbortSignal): Promise<void> {
    await this.#idempotent(`start container ${containerId}`, callTimeoutMs, signal, (abortSignal) =>
      this.#docker.getContainer(containerId).start({ abortSignal }),
    );
  }

  async stop(containerId: string, graceMs: number, signal?: AbortSignal): Promise<void> {
    const doing = `stop container ${containerId}`;
    const timeoutMs = graceMs + callTimeoutMs;
    await this.#unlessGone(() =>
      this.#idempotent(doing, timeoutMs, signal, (abortSignal) =>
        // It answers after the grace: as many as are stopping would block as many pooled connections.
        this.#streams.getContainer(containerId).stop({ t: Math.ceil(graceMs / 1000), abortSignal }),
      ),
    );
  }

  async kill(containerId: string, signal?: AbortSignal): Promise<void> {
    await this.#unlessGone(async () => {
      try {
        await this.#call(`kill container ${containerId}`, callTimeoutMs, signal, (abortSignal) =>
          this.#docker
            .getContainer(containerId)
            .kill({ signal: 'SIGKILL', abortSignal } as { signal: string }),
        );
      } catch (error) {
        // 409: it does not run.
        if (!(error instanceof EngineError && error.reason === 'Conflict')) throw error;
      }
    });
  }

  async remove(containerId: string, signal?: AbortSignal): Promise<void> {
    await this.#unlessGone(async () => {
      try {
        await this.#call(`remove container ${containerId}`, callTimeoutMs, signal, (abortSignal) =>
          this.#docker.getContainer(containerId).remove({ force: true, v: true, abortSignal }),
        );
      } catch (error) {
        // 409 "removal already in progress": somebody else is doing it; the destroy event tells when it is done.
        if (!(error instanceof EngineError && /already in progress/.test(error.message)))
          throw error;
      }
    });
  }

  exec(
    containerId: string,
    command: readonly string[],
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<ExecResult> {
    const doing = `run ${command[0] ?? ''} in container ${containerId}`;
    return this.#call(doing, timeoutMs + quickTimeoutMs, signal, (abortSignal) =>
      execInContainer(this.#streams, containerId, command, timeoutMs, abortSignal),
    );
  }

  async isExecRunning(execId: string, signal?: AbortSignal): Promise<boolean> {
    try {
      const { Running } = await this.#call('inspect an exec', quickTimeoutMs, signal, (s) =>
        this.#docker.getExec(execId).inspect({ abortSignal: s }),
      );
      return Running;
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  }

  async hasImage(image: string, signal?: AbortSignal): Promise<boolean> {
    try {
      await this.#call(`inspect image ${image}`, quickTimeoutMs, signal, (abortSignal) =>
        untyped(this.#docker.getImage(image)).inspect({ abortSignal }),
      );
      return true;
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  }

  async pull(
    image: string,
    onProgress: (progress: PullProgress) => void,
    signal?: AbortSignal,
  ): Promise<void> {
    const stall = new AbortController();
    let timer = setTimeout(() => {
      stall.abort();
    }, pullStallMs);
    const alive = (): void => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        stall.abort();
      }, pullStallMs);
    };
    const either = linkSignals(signal, stall.signal);
    try {
      const stream = await this.#streams.pull(image, { abortSignal: either.signal });
      const lines = readJsonLines(stream as AsyncIterable<Uint8Array>);
      await followPull(image, tap(lines, alive), onProgress);
    } catch (error) {
      signal?.throwIfAborted();
      if (stall.signal.aborted) {
        const seconds = pullStallMs / 1000;
        throw new EngineError('ImagePullFailed', `${image}: no progress for ${seconds} s`);
      }
      const failure = toEngineError(error, `pull ${image}`);
      if (failure.reason === 'EngineUnavailable') throw failure;
      throw new EngineError('ImagePullFailed', pullMessage(image, failure.message));
    } finally {
      clearTimeout(timer);
      either.unlink();
    }
    // The stream may also end early without a word, when dockerd goes down.
    if (!(await this.hasImage(image, signal))) {
      throw new EngineError('ImagePullFailed', `${image}: the pull ended without an image`);
    }
  }

  async ensureVolume(
    name: string,
    volumeLabels: Readonly<Record<string, string>>,
    { driver, driverOpts }: VolumeDriver = {},
    signal?: AbortSignal,
  ): Promise<void> {
    // Idempotent in the engine itself: an existing volume is returned as it is.
    await this.#call(`create volume ${name}`, callTimeoutMs, signal, (abortSignal) =>
      this.#docker.createVolume({
        Name: name,
        Labels: { ...volumeLabels },
        ...(driver !== undefined && { Driver: driver }),
        ...(driverOpts !== undefined && { DriverOpts: { ...driverOpts } }),
        abortSignal,
      }),
    );
  }

  async hasVolume(name: string, signal?: AbortSignal): Promise<boolean> {
    try {
      await this.#call(`inspect volume ${name}`, quickTimeoutMs, signal, (abortSignal) =>
        this.#docker.getVolume(name).inspect({ abortSignal }),
      );
      return true;
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  }

  async volumeDirectory(name: string, signal?: AbortSignal): Promise<string | undefined> {
    try {
      const { Driver, Mountpoint, Options } = await this.#call(
        `inspect volume ${name}`,
        quickTimeoutMs,
        signal,
        (abortSignal) => this.#docker.getVolume(name).inspect({ abortSignal }),
      );
      // With options it is something that is mounted there while a container uses it.
      const plain = Driver === 'local' && Object.keys(Options ?? {}).length === 0;
      return plain && Mountpoint !== '' ? Mountpoint : undefined;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  runOnce(run: OnceRequest, signal?: AbortSignal): Promise<ExecResult> {
    const doing = `run ${run.command[0] ?? ''} in a container of its own`;
    return this.#call(doing, run.timeoutMs + callTimeoutMs, signal, (either) =>
      runOnce(this.#connected, run, either),
    );
  }

  async removeLeftOvers(host: string, madeBefore: number, signal?: AbortSignal): Promise<void> {
    await this.#call('remove what was left behind', callTimeoutMs, signal, (either) =>
      removeLeftOvers(this.#connected, host, madeBefore, either),
    );
  }

  async removeVolume(name: string, signal?: AbortSignal): Promise<void> {
    await this.#unlessGone(() =>
      this.#call(`remove volume ${name}`, callTimeoutMs, signal, (abortSignal) =>
        this.#docker.getVolume(name).remove({ abortSignal }),
      ),
    );
  }

  async signal(containerId: string, name: string, signal?: AbortSignal): Promise<void> {
    await this.#call(`signal container ${containerId}`, quickTimeoutMs, signal, (abortSignal) =>
      this.#docker
        .getContainer(containerId)
        .kill({ signal: name, abortSignal } as { signal: string }),
    );
  }

  async inspectNetwork(name: string, signal?: AbortSignal): Promise<NetworkState | undefined> {
    const found = await this.#inspectNetwork(name, signal);
    return found === undefined ? undefined : networkState(found);
  }

  async ensureNetwork(
    wanted: NetworkWanted,
    signal?: AbortSignal,
  ): Promise<'kept' | 'created' | 'replaced'> {
    const present = await this.#inspectNetwork(wanted.name, signal);
    if (present !== undefined) {
      if (!replaceableNetwork(networkState(present), wanted)) return 'kept';
      const network = this.#docker.getNetwork(present.Id);
      for (const containerId of Object.keys(present.Containers ?? {})) {
        await this.#unlessGone(() =>
          this.#call(`disconnect ${containerId}`, callTimeoutMs, signal, (abortSignal) =>
            network.disconnect({ Container: containerId, Force: true, abortSignal }),
          ),
        );
      }
      await this.#call(`remove network ${wanted.name}`, callTimeoutMs, signal, (abortSignal) =>
        network.remove({ abortSignal }),
      );
    }
    await this.#call(`create network ${wanted.name}`, callTimeoutMs, signal, (abortSignal) =>
      this.#docker.createNetwork({ ...networkBody(wanted), abortSignal }),
    );
    return present === undefined ? 'created' : 'replaced';
  }

  async events(
    onSubscribed: () => void,
    onEvent: (event: EngineEvent) => void,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      const stream = await this.#streams.getEvents({
        filters: { type: ['container', 'network'], event: [...followedActions] },
        abortSignal: signal,
      } as Docker.GetEventsOptions);
      onSubscribed();
      await followEvents(stream as AsyncIterable<Uint8Array>, onEvent);
    } catch (error) {
      // Our own abort looks like any broken stream; only our own flag tells them apart.
      if (signal.aborted) return;
      throw new EngineError('EngineUnavailable', toEngineError(error, 'follow events').message);
    }
  }

  close(): void {
    this.#clients?.close();
    this.#clients = undefined;
  }

  get #docker(): Docker {
    return this.#connected.calls;
  }

  get #streams(): Docker {
    return this.#connected.streams;
  }

  get #connected(): DockerClients {
    if (this.#clients === undefined) {
      throw new EngineError('EngineUnavailable', 'not connected to the engine yet');
    }
    return this.#clients;
  }

  /** Keeps the clients (and what runs on them) unless the version changed with an upgrade of the engine. */
  #pin(apiVersion: string): void {
    if (this.#clients !== undefined && this.#apiVersion === apiVersion) return;
    this.#clients?.close();
    this.#clients = dockerClients(this.#socketPath, apiVersion);
    this.#apiVersion = apiVersion;
  }

  async #inspectNetwork(name: string, signal?: AbortSignal) {
    // Listed, not inspected by name: a name may also be another network's id, and names are not unique.
    const all = await this.#call(`find network ${name}`, quickTimeoutMs, signal, (abortSignal) =>
      this.#docker.listNetworks({ filters: { name: [name] }, abortSignal }),
    );
    const id = all.find((network) => network.Name === name)?.Id;
    if (id === undefined) return undefined;
    try {
      return await this.#call(`inspect network ${name}`, quickTimeoutMs, signal, (abortSignal) =>
        untyped(this.#docker.getNetwork(id)).inspect({ abortSignal }),
      );
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** Runs one call with its own deadline and gives its failure our form. The caller's own abort passes through. */
  async #call<Result>(
    doing: string,
    timeoutMs: number,
    signal: AbortSignal | undefined,
    call: (signal: AbortSignal) => Promise<Result>,
  ): Promise<Result> {
    const either = linkSignals(signal, AbortSignal.timeout(timeoutMs));
    try {
      return await call(either.signal);
    } catch (error) {
      signal?.throwIfAborted();
      if (isNotModified(error)) throw error;
      throw toEngineError(error, doing);
    } finally {
      either.unlink();
    }
  }

  /** A call for which "304 not modified", an error to dockerode, is success. */
  async #idempotent(
    doing: string,
    timeoutMs: number,
    signal: AbortSignal | undefined,
    call: (signal: AbortSignal) => Promise<unknown>,
  ): Promise<void> {
    try {
      await this.#call(doing, timeoutMs, signal, call);
    } catch (error) {
      if (!isNotModified(error)) throw error;
    }
  }

  async #unlessGone(call: () => Promise<unknown>): Promise<void> {
    try {
      await call();
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
}

/** Calls that take options, though their published types do not say so. */
interface Untyped {
  version(options: object): Promise<Docker.DockerVersion>;
  connect(options: object): Promise<unknown>;
  disconnect(options: object): Promise<unknown>;
  info(options: object): Promise<EngineFacts>;
  inspect(options: object): Promise<Docker.NetworkInspectInfo & ImageFacts>;
}

function untyped(subject: object): Untyped {
  return subject as Untyped;
}

/** The part of an image that is used. */
interface ImageFacts {
  readonly Config?: { readonly Env?: readonly string[] | null } | null;
}

/** The part of "info" that is used. */
interface EngineFacts {
  readonly NCPU: number;
  readonly MemTotal: number;
  readonly KernelVersion: string;
}

async function* tap(lines: AsyncIterable<unknown>, onLine: () => void): AsyncGenerator {
  for await (const line of lines) {
    onLine();
    yield line;
  }
}
