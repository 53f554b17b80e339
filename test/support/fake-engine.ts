import { containerName, ownershipLabels } from '../../src/agent/docker/container-spec.ts';
import type {
  BesideRequest,
  ContainerAddress,
  ContainerState,
  CreateRequest,
  Engine,
  EngineHealth,
  EngineEvent,
  EngineInfo,
  InspectedContainer,
  ListedContainer,
  NetworkState,
  NetworkWanted,
  OnceRequest,
  PullProgress,
} from '../../src/agent/docker/engine.ts';
import type { ExecResult } from '../../src/agent/docker/exec.ts';
import { engineRestarts } from '../../src/agent/restart/engine-restarts.ts';
import { EngineError } from '../../src/agent/docker/errors.ts';

interface FakeContainer {
  id: string;
  name: string;
  state: ContainerState;
  labels: Record<string, string>;
  dns: string[];
  address: string;
  /** What it was created with. */
  given?: ContainerAddress | undefined;
  network: string;
  exitCode: number;
  error: string;
  restartCount: number;
  startedAt: string | undefined;
  finishedAt: string | undefined;
  stopGraceMs: number;
  /** Whether the engine's own policy restarts it. */
  restarts: boolean;
  oomKilled: boolean;
  health: EngineHealth | undefined;
}

/**
 * A container engine in memory: names are unique, states change as Docker's do, events follow changes, stops and removals
 * of what is gone do nothing. Faults are set by the fields.
 */
export class FakeEngine implements Engine {
  /** Images that are on the host. */
  readonly images = new Set<string>();
  /** Images that can be pulled. */
  readonly registry = new Set<string>();
  /** Every call that changes something, in order: "create nap_…", "start <id>" … */
  readonly calls: string[] = [];
  /** Volumes that exist, by name, with their drivers. */
  readonly volumes = new Map<string, string>();
  /** What each container was created with, by id. */
  readonly requests = new Map<string, CreateRequest>();
  /** Host ports held by somebody else. */
  readonly portsInUse = new Set<number>();
  /** New connections are refused, the others served. */
  shuttingDown = false;
  /** Removals fail. */
  stuck = false;
  /** While set, every pull waits for it. */
  pullGate: Promise<void> | undefined;
  /** While set, no call is answered before it resolves. */
  hang: Promise<void> | undefined;
  /** Most creates and starts that were under way at once. */
  busiest = 0;
  readonly #containers = new Map<string, FakeContainer>();
  readonly #listeners = new Set<{ onEvent: (event: EngineEvent) => void; fail: () => void }>();
  readonly #beside = new Map<string, BesideRequest>();
  readonly #networks = new Map<string, NetworkState>();
  #down = false;
  #count = 0;
  #busy = 0;

  get containers(): readonly FakeContainer[] {
    return [...this.#containers.values()];
  }

  /** The engine goes away, or comes back. What runs goes on running. */
  setDown(down: boolean): void {
    this.#down = down;
    if (down) this.cutEvents();
  }

  /** Breaks every event stream. */
  cutEvents(): void {
    for (const { fail } of [...this.#listeners]) fail();
  }

  /** A container ends by itself; with "always" it waits for its restart, until `revive`. */
  exit(id: string, exitCode: number, ranMs = 100, oomKilled = false): void {
    const container = this.#get(id);
    container.exitCode = exitCode;
    container.oomKilled = oomKilled;
    container.finishedAt = new Date(Date.parse(container.startedAt ?? '') + ranMs).toISOString();
    container.state = container.restarts ? 'restarting' : 'exited';
    if (container.restarts) container.restartCount++;
    this.#emit(container, 'die');
  }

  /** The restart policy starts it again. */
  revive(id: string): void {
    const container = this.#get(id);
    container.state = 'running';
    container.startedAt = new Date().toISOString();
    this.#emit(container, 'start');
  }

  /** The image's own check gives a verdict. */
  judge(id: string, health: EngineHealth): void {
    const container = this.#get(id);
    container.health = health;
    this.#emit(container, `health_status: ${health.status}`);
  }

  /** As `docker stop` by hand. */
  stopByHand(id: string): void {
    const container = this.#get(id);
    container.state = 'exited';
    container.exitCode = 137;
    container.finishedAt = new Date().toISOString();
    this.#emit(container, 'die');
  }

  /** As `docker rm -f` by hand. */
  removeByHand(id: string): void {
    const container = this.#get(id);
    this.#containers.delete(id);
    this.#emit(container, 'destroy');
  }

  /** Adds a container that some other process made. */
  addForeign(labels: Record<string, string>): string {
    const id = `foreign${++this.#count}`;
    this.#containers.set(id, {
      id,
      name: id,
      state: 'running',
      labels,
      dns: [],
      address: '',
      network: '',
      exitCode: 0,
      error: '',
      restartCount: 0,
      startedAt: new Date().toISOString(),
      finishedAt: undefined,
      stopGraceMs: 0,
      restarts: false,
      oomKilled: false,
      health: undefined,
    });
    return id;
  }

  connect(): Promise<EngineInfo> {
    return this.#do(() => ({
      version: '20.10.24',
      apiVersion: '1.41',
      kernel: '6.1',
      cpus: 2,
      memoryBytes: 4e9,
    }));
  }

  async ping(signal?: AbortSignal): Promise<void> {
    const broken = new Promise<never>((_, reject) => {
      signal?.addEventListener('abort', () => {
        reject(signal.reason as Error);
      });
    });
    await Promise.race([broken, this.#ping()]);
  }

  #ping(): Promise<void> {
    return this.#do(() => {
      if (this.shuttingDown) throw new EngineError('EngineUnavailable', 'connect ECONNREFUSED');
    });
  }

  listOwned(host: string): Promise<readonly ListedContainer[]> {
    return this.#do(() =>
      this.containers
        .filter(({ labels }) => labels['nap.dev/host'] === host)
        .map(({ id, state, labels }) => ({ id, state, labels })),
    );
  }

  inspect(containerId: string): Promise<InspectedContainer> {
    return this.#do(() => {
      const found = this.#get(containerId);
      const { address, given, network, ...rest } = found;
      const attached = (found.state === 'running' || found.state === 'paused') && network !== '';
      const { ipv4 = address, ipv6 } = given ?? {};
      return {
        ...rest,
        addresses: attached ? { [network]: ipv4 } : {},
        ...(given && network !== '' && { assigned: { [network]: ipv4 } }),
        ...(ipv6 !== undefined && network !== '' && { assignedIpv6: { [network]: ipv6 } }),
        ...(ipv6 !== undefined && attached && { ipv6Addresses: { [network]: ipv6 } }),
      };
    });
  }

  async create(request: CreateRequest): Promise<string> {
    const name = containerName(request.key, request.placementId);
    return this.#slow(() => {
      this.calls.push(`create ${name}`);
      if (!this.images.has(request.container.image)) {
        throw new EngineError('NotFound', `No such image: ${request.container.image}`, 404);
      }
      if (this.containers.some((other) => other.name === name)) {
        throw new EngineError('Conflict', `The container name "/${name}" is already in use`, 409);
      }
      const number = ++this.#count;
      const id = `c${number}`;
      const container: FakeContainer = {
        id,
        name,
        state: 'created',
        labels: { ...request.container.labels, ...ownershipLabels(request) },
        dns: [request.network.gateway],
        address: `10.77.1.${number + 1}`,
        ...(request.address && { given: request.address }),
        network: request.network.name,
        exitCode: 0,
        error: '',
        restartCount: 0,
        startedAt: undefined,
        finishedAt: undefined,
        stopGraceMs: request.container.stopGracePeriodMs,
        restarts: engineRestarts(request.container),
        oomKilled: false,
        health: undefined,
      };
      this.#containers.set(id, container);
      this.requests.set(id, request);
      this.#emit(container, 'create');
      return id;
    });
  }

  /** What containers beside others end with; default 0 at once. Undefined: they run until `exit` says so. */
  runs: (request: BesideRequest) => number | undefined = () => 0;

  async createBeside(request: BesideRequest): Promise<string> {
    return this.#slow(() => {
      const { containerId, name, command = [] } = request;
      this.calls.push(`beside ${containerId} ${command.join(' ')}`);
      const other = this.#get(containerId);
      if (this.containers.some((each) => each.name === name)) {
        throw new EngineError('Conflict', `The container name "/${name}" is already in use`, 409);
      }
      const number = ++this.#count;
      const container: FakeContainer = {
        ...other,
        id: `b${number}`,
        name,
        state: 'created',
        labels: { ...request.labels },
        address: `10.77.1.${number + 1}`,
        given: request.address,
        startedAt: undefined,
        finishedAt: undefined,
        restarts: false,
      };
      this.#containers.set(container.id, container);
      this.#beside.set(container.id, request);
      this.#emit(container, 'create');
      return container.id;
    });
  }

  readdress(
    containerId: string,
    _network: string,
    address: ContainerAddress | undefined,
  ): Promise<void> {
    return this.#do(() => {
      const container = this.#get(containerId);
      this.calls.push(`readdress ${containerId} ${address?.ipv4 ?? ''}`);
      container.address = address?.ipv4 ?? `10.77.1.${++this.#count + 1}`;
      container.given = address;
    });
  }

  rename(containerId: string, name: string): Promise<void> {
    return this.#do(() => {
      const container = this.#get(containerId);
      container.name = name;
      this.#emit(container, 'rename');
    });
  }

  async wait(
    containerId: string,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<number | undefined> {
    const end = Date.now() + timeoutMs;
    while (Date.now() < end) {
      const { state, exitCode } = await this.inspect(containerId);
      if (state === 'exited') return exitCode;
      signal?.throwIfAborted();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return undefined;
  }

  lastLines(): Promise<string> {
    return this.#do(() => 'last words\n');
  }

  start(containerId: string): Promise<void> {
    return this.#slow(() => {
      this.calls.push(`start ${containerId}`);
      const container = this.#get(containerId);
      if (container.state === 'running') return;
      for (const { hostPort } of this.requests.get(containerId)?.container.ports ?? []) {
        if (hostPort === undefined || !this.portsInUse.has(hostPort)) continue;
        throw new EngineError('PortInUse', `bind 0.0.0.0:${hostPort}: address already in use`, 500);
      }
      container.state = 'running';
      container.restartCount = 0;
      if (container.health !== undefined) {
        container.health = { status: 'starting', message: undefined };
      }
      container.startedAt = new Date().toISOString();
      this.#emit(container, 'start');
      const beside = this.#beside.get(containerId);
      const code = beside && this.runs(beside);
      if (code !== undefined) this.exit(containerId, code);
    });
  }

  stop(containerId: string): Promise<void> {
    return this.#do(() => {
      this.calls.push(`stop ${containerId}`);
      const container = this.#containers.get(containerId);
      if (container === undefined || container.state === 'exited') return;
      container.state = 'exited';
      container.finishedAt = new Date().toISOString();
      this.#emit(container, 'die');
    });
  }

  kill(containerId: string): Promise<void> {
    return this.stop(containerId);
  }

  remove(containerId: string): Promise<void> {
    return this.#do(() => {
      this.calls.push(`remove ${containerId}`);
      if (this.stuck) throw new EngineError('EngineRefused', 'device or resource busy', 500);
      const container = this.#containers.get(containerId);
      if (container === undefined) return;
      this.#containers.delete(containerId);
      this.#emit(container, 'destroy');
    });
  }

  /** What programs that are run in containers end with; default 0. Undefined: not at all. */
  execs: (command: readonly string[]) => number | undefined = () => 0;

  exec(containerId: string, command: readonly string[]): Promise<ExecResult> {
    return this.#do(() => {
      if (this.#get(containerId).state !== 'running') {
        throw new EngineError('Conflict', `Container ${containerId} is not running`, 409);
      }
      this.calls.push(`exec ${containerId} ${command.join(' ')}`);
      return { id: command.join(' '), exitCode: this.execs(command), output: '', tail: '' };
    });
  }

  isExecRunning(execId: string): Promise<boolean> {
    return this.#do(() => this.execs(execId.split(' ')) === undefined);
  }

  hasImage(image: string): Promise<boolean> {
    return this.#do(() => this.images.has(image));
  }

  async pull(
    image: string,
    onProgress: (progress: PullProgress) => void,
    signal?: AbortSignal,
  ): Promise<void> {
    this.calls.push(`pull ${image}`);
    onProgress({ doneBytes: 1, totalBytes: 2, layersDone: 0, layers: 1 });
    if (this.pullGate !== undefined) {
      await Promise.race([
        this.pullGate,
        new Promise<never>((_, reject) => {
          signal?.addEventListener('abort', () => {
            this.calls.push(`abort ${image}`);
            reject(new Error('aborted'));
          });
        }),
      ]);
    }
    await this.#do(() => {
      if (!this.registry.has(image)) {
        throw new EngineError('ImagePullFailed', `${image}: manifest unknown`);
      }
      this.images.add(image);
    });
  }

  ensureVolume(
    name: string,
    _labels?: Readonly<Record<string, string>>,
    options?: { readonly driver?: string },
  ): Promise<void> {
    return this.#do(() => {
      this.calls.push(`volume ${name}`);
      if (!this.volumes.has(name)) this.volumes.set(name, options?.driver ?? 'local');
    });
  }

  hasVolume(name: string): Promise<boolean> {
    return this.#do(() => this.volumes.has(name));
  }

  /** Directories of volumes, by name. */
  readonly volumeDirectories = new Map<string, string>();
  /** What commands in containers of their own end with, and what they say. */
  once: (run: OnceRequest) => Promise<{ exitCode: number | undefined; output: string }> = () =>
    Promise.resolve({ exitCode: 0, output: '' });

  volumeDirectory(name: string): Promise<string | undefined> {
    return this.#do(() => this.volumeDirectories.get(name));
  }

  async runOnce(run: OnceRequest): Promise<ExecResult> {
    await this.#do(() => this.calls.push(`once ${run.command.join(' ')}`));
    const { exitCode, output } = await this.once(run);
    return { id: 'once', exitCode, output, tail: output };
  }

  removeLeftOvers(): Promise<void> {
    return this.#do(() => undefined);
  }

  removeVolume(name: string): Promise<void> {
    return this.#do(() => {
      this.calls.push(`remove volume ${name}`);
      for (const { id } of this.containers) {
        const mounts = this.requests.get(id)?.container.mounts ?? [];
        if (!mounts.some((mount) => mount.type === 'volume' && mount.name === name)) continue;
        throw new EngineError('Conflict', `remove ${name}: volume is in use - [${id}]`, 409);
      }
      this.volumes.delete(name);
    });
  }

  signal(containerId: string, name: string): Promise<void> {
    return this.#do(() => {
      this.calls.push(`signal ${containerId} ${name}`);
      if (this.#get(containerId).state !== 'running') {
        throw new EngineError('Conflict', `Container ${containerId} is not running`, 409);
      }
    });
  }

  /** Whether the network of this name has IPv6 now. */
  hasIpv6(name: string): boolean {
    return this.#networks.get(name)?.ipv6 !== undefined;
  }

  inspectNetwork(name: string): Promise<NetworkState | undefined> {
    return this.#do(() => this.#networks.get(name));
  }

  ensureNetwork(wanted: NetworkWanted): Promise<'kept' | 'created' | 'replaced'> {
    return this.#do(() => {
      const present = this.#networks.get(wanted.name);
      const { subnet, gateway, ipv6, options } = wanted;
      if (present?.subnet === subnet && present.ipv6?.subnet === ipv6?.subnet) return 'kept';
      this.#networks.set(wanted.name, {
        ...{ id: wanted.name, subnet, gateway, options },
        ...(ipv6 && { ipv6 }),
      });
      if (present === undefined) return 'created';
      for (const container of this.#containers.values()) {
        if (container.network === wanted.name && ipv6?.subnet !== present.ipv6?.subnet) {
          container.network = '';
          this.#emit(container, 'disconnect', 'network');
        }
      }
      return 'replaced';
    });
  }

  events(
    onSubscribed: () => void,
    onEvent: (event: EngineEvent) => void,
    signal: AbortSignal,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#down) {
        reject(new EngineError('EngineUnavailable', 'connect ENOENT'));
        return;
      }
      const listener = {
        onEvent,
        fail: () => {
          this.#listeners.delete(listener);
          reject(new EngineError('EngineUnavailable', 'the event stream of the engine ended'));
        },
      };
      this.#listeners.add(listener);
      signal.addEventListener('abort', () => {
        this.#listeners.delete(listener);
        resolve();
      });
      onSubscribed();
    });
  }

  close(): void {
    for (const listener of this.#listeners) this.#listeners.delete(listener);
  }

  #get(id: string): FakeContainer {
    const container = this.#containers.get(id);
    if (container === undefined) throw new EngineError('NotFound', `No such container: ${id}`, 404);
    return container;
  }

  #emit({ id, labels }: FakeContainer, action: string, type = 'container'): void {
    const event = { type, action, id, labels: type === 'container' ? { ...labels } : {} };
    // As with the real one, news come a little after the fact.
    setImmediate(() => {
      for (const { onEvent } of this.#listeners) onEvent(event);
    });
  }

  /** An answer comes later than the question, and not at all while the engine is down. */
  async #do<Result>(action: () => Result): Promise<Result> {
    if (this.hang !== undefined) await this.hang;
    await new Promise((resolve) => setImmediate(resolve));
    if (this.#down) throw new EngineError('EngineUnavailable', 'connect ENOENT docker.sock');
    return action();
  }

  async #slow<Result>(action: () => Result): Promise<Result> {
    this.busiest = Math.max(this.busiest, ++this.#busy);
    try {
      await new Promise((resolve) => setTimeout(resolve, 2));
      return await this.#do(action);
    } finally {
      this.#busy--;
    }
  }
}
