import type { HostRecord } from '../registry/records/index.ts';
import { LeaseLostError } from '../registry/store.ts';
import { runPeriodically } from '../runtime/periodic.ts';
import { supervise } from '../runtime/supervise.ts';
import { DesiredState } from './desired.ts';
import type { EngineInfo } from './docker/engine.ts';
import { EngineWatcher } from './engine-watcher.ts';
import { Executor } from './executor.ts';
import { HealthMonitor } from './health/monitor.ts';
import { containerProber } from './health/probe.ts';
import { Deliveries } from './files/deliveries.ts';
import { HostSession } from './host-session.ts';
import { NetworkKeeper } from './network-keeper.ts';
import { ObservedState } from './observed.ts';
import type { AgentDeps, AgentOptions, LocalInstances } from './options.ts';
import { Reconciler } from './reconciler.ts';
import { Interruptions } from './restart/interruptions.ts';
import { RecordWriter } from './record-writer.ts';
import { holdAlone } from './single-agent.ts';
import { VolumeKeeper } from './volume-keeper.ts';

const defaultLeaseTtlMs = 5000;
const defaultGraceMs = 60_000;
const defaultNetworkName = 'nap';
/** A container that is to be stopped leaves the names first, unless the registry takes longer than this. */
const withdrawMs = 500;
const defaultAuditMs = 30_000;
/** A planned stop may take this long to leave its note. */
const handOverMs = 5000;

/**
 * Runs the agent of one Docker host until `signal` aborts. Containers are left as they are when it ends, however it ends.
 *
 * Throws AgentRunningError, HostNameTakenError or TakenOverError when another agent is in its place. Everything else (engine or
 * registry gone, overlay not to be built) is waited out, shown in the host record, and mended when it comes back.
 */
export async function runAgent(
  options: AgentOptions,
  deps: AgentDeps,
  signal: AbortSignal,
): Promise<void> {
  const release = options.exclusive === undefined ? undefined : await holdAlone(options.exclusive);
  try {
    await new Agent(options, deps).run(signal);
  } finally {
    release?.();
  }
}

/** The parts of an agent, joined. */
class Agent {
  readonly #options: AgentOptions;
  readonly #deps: AgentDeps;
  readonly #startedAt: string;
  readonly #session: string;
  readonly #desired: DesiredState;
  readonly #observed: ObservedState;
  readonly #writer: RecordWriter;
  readonly #watcher: EngineWatcher;
  readonly #deliveries: Deliveries | undefined;
  readonly #volumes: VolumeKeeper;
  readonly #reconciler: Reconciler;
  readonly #hostSession: HostSession;
  readonly #networkKeeper: NetworkKeeper;
  readonly #interruptions: Interruptions;
  #engine: EngineInfo | undefined;
  /** The last answer of an engine, shown while it is away. */
  #lastEngine: EngineInfo | undefined;
  #engineProblem = 'not connected yet';

  constructor(options: AgentOptions, deps: AgentDeps) {
    const { clock, log, random, engine, store } = deps;
    const host = options.hostName;
    const networkName = options.networkName ?? defaultNetworkName;
    this.#options = options;
    this.#deps = deps;
    this.#startedAt = new Date(clock.now()).toISOString();
    this.#session = `${this.#startedAt}-${Math.floor(random() * 2 ** 32).toString(16)}`;
    const touch: Reconciler['touch'] = (id, key) => {
      this.#reconciler.touch(id, key);
    };
    this.#interruptions = new Interruptions(clock, deps.machine.bootedAt);
    this.#desired = new DesiredState(host, touch, (path, problem) => {
      log.warn({ path, problem }, 'ignoring a placement record that cannot be read');
    });
    this.#observed = new ObservedState(networkName, touch);
    this.#writer = new RecordWriter(store, host, clock, log);
    this.#watcher = new EngineWatcher({
      host,
      engine,
      observed: this.#observed,
      clock,
      log,
      onEngine: (info, problem) => {
        this.#onEngine(info, problem);
      },
    });
    this.#deliveries =
      deps.files &&
      new Deliveries({ host, store, engine, files: deps.files.store, key: deps.files.key });
    this.#volumes = new VolumeKeeper({ host, store, engine, clock, log });
    const executor = new Executor({
      ...(this.#deliveries && { deliveries: this.#deliveries }),
      volumes: this.#volumes,
      host,
      engine,
      observed: this.#observed,
      refresh: (containerId) => this.#watcher.refresh(containerId),
      assertLicensed: () => {
        if (this.#hostSession.lease === undefined) {
          throw new LeaseLostError('the lease of this host is not proved alive');
        }
      },
      withdraw: () => this.#writer.settled(withdrawMs),
    });
    const health = new HealthMonitor({
      network: networkName,
      clock,
      random,
      prober: deps.prober ?? containerProber(engine),
      onChange: touch,
    });
    this.#reconciler = new Reconciler({
      host,
      health,
      network: networkName,
      desired: this.#desired,
      observed: this.#observed,
      executor,
      clock,
      random,
      log,
      delivered: (desired) => this.#deliveries?.version(desired),
      context: () => this.#context(),
      onReport: (_id, key, report, desired) => {
        this.#writer.set(key, report, desired);
      },
      onInformed: () => {
        this.#writer.informed();
      },
      onUnavailable: () => {
        this.#watcher.suspect();
      },
    });
    this.#hostSession = new HostSession({
      store,
      clock,
      random,
      log,
      desired: this.#desired,
      writer: this.#writer,
      leaseTtlMs: options.leaseTtlMs ?? defaultLeaseTtlMs,
      hostRecord: () => this.#hostRecord(),
      onLicensed: () => {
        this.#reconciler.touchAll();
      },
    });
    const local: LocalInstances = { localInstance: (ip) => this.#observed.instanceAt(ip) };
    this.#networkKeeper = new NetworkKeeper({
      host,
      name: networkName,
      engine,
      network: deps.network,
      dns: deps.dns,
      local,
      clock,
      log,
      onChange: () => {
        this.#reconciler.touchAll();
        this.#hostSession.changed();
      },
    });
  }

  async run(signal: AbortSignal): Promise<void> {
    const { log } = this.#deps;
    this.#deps.network.onProblems(() => {
      this.#hostSession.changed();
    });
    const restart = { baseMs: 200, capMs: 5000 };
    try {
      await supervise(
        [
          { name: 'engine', run: (s) => this.#watcher.run(s), restart },
          { name: 'placements', run: (s) => this.#followPlacements(s), restart },
          { name: 'reconciler', run: (s) => this.#reconciler.run(s) },
          { name: 'reports', run: (s) => this.#writer.run(s), restart },
          { name: 'audit of reports', run: (s) => this.#auditReports(s), restart },
          { name: 'volumes', run: (s) => this.#volumes.run(s), restart },
          { name: 'network', run: (s) => this.#networkKeeper.run(s) },
          { name: 'session', run: (s) => this.#hostSession.run(s) },
          { name: 'session guard', run: (s) => this.#hostSession.guard(s) },
        ],
        { log, clock: this.#deps.clock },
        signal,
      );
    } finally {
      await this.#leave();
    }
  }

  async #leave(): Promise<void> {
    const { graceMs = defaultGraceMs } = this.#options;
    const timeout = AbortSignal.timeout(handOverMs);
    await this.#hostSession.handOver(graceMs, 'the agent was stopped on purpose', timeout);
    this.#deps.engine.close();
  }

  async #followPlacements(signal: AbortSignal): Promise<void> {
    for await (const batch of this.#deps.store.watch(this.#desired.prefix, {}, signal)) {
      const first = !this.#desired.known;
      this.#desired.apply(batch);
      // What runs but is not placed here any more appears in no change of a placement.
      if (first || batch.type === 'snapshot') this.#reconciler.touchAll();
    }
  }

  #auditReports(signal: AbortSignal): Promise<void> {
    const { clock, random, log } = this.#deps;
    const { auditMs = defaultAuditMs } = this.#options;
    return runPeriodically(
      { name: 'audit of reports', intervalMs: auditMs, clock, random, log },
      async (s) => {
        await this.#writer.audit(s);
        await this.#sweepFiles();
      },
      signal,
    );
  }

  /** Files of containers that are gone: their contents do not stay in memory. */
  async #sweepFiles(): Promise<void> {
    // What is not known may still be in use.
    if (!this.#desired.known || this.#engine === undefined) return;
    const placed = [...this.#desired.all()].map(({ id, specHash }) => ({
      placementId: id,
      specHash,
    }));
    await this.#deliveries?.sweep([...placed, ...this.#observed.all()]);
  }

  #onEngine(info: EngineInfo | undefined, problem: string): void {
    this.#engine = info;
    this.#interruptions.engine(info !== undefined);
    if (info !== undefined) this.#lastEngine = info;
    this.#engineProblem = problem;
    this.#networkKeeper.engineChanged(info !== undefined);
    this.#reconciler.touchAll();
    this.#hostSession.changed();
  }

  #context(): ReturnType<ConstructorParameters<typeof Reconciler>[0]['context']> {
    if (this.#engine === undefined) return undefined;
    const current = this.#networkKeeper.current;
    return {
      interrupted: (ended) => this.#interruptions.interrupted(ended),
      mayCreate: this.#hostSession.lease !== undefined,
      network: current && { name: this.#networkKeeper.name, gateway: current.gateway },
    };
  }

  #hostRecord(): HostRecord {
    const { hostName, machineID, address, metadata = {}, version } = this.#options;
    const { machine } = this.#deps;
    const problems: string[] = [];
    if (this.#engine === undefined) problems.push(`EngineUnavailable: ${this.#engineProblem}`);
    const network = this.#networkKeeper.current;
    if (network === undefined) {
      problems.push(`NetworkUnavailable: ${this.#networkKeeper.problem}`);
    }
    // Beyond this point nothing keeps instances from being placed here.
    const ready = problems.length === 0;
    problems.push(...this.#deps.network.problems());
    const seen = this.#lastEngine;
    return {
      name: hostName,
      machineID,
      address,
      metadata: { ...metadata },
      capacity: {
        cpuMillis: (seen?.cpus ?? machine.cpus) * 1000,
        memoryBytes: seen?.memoryBytes ?? machine.memoryBytes,
      },
      versions: {
        agent: version,
        docker: seen?.version ?? '',
        kernel: seen?.kernel ?? machine.kernel,
      },
      ...(network !== undefined && { subnet: network.subnet }),
      session: this.#session,
      startedAt: this.#startedAt,
      ready,
      problems,
      ...(this.#deliveries && { sealingKey: this.#deliveries.publicKey }),
    };
  }
}
