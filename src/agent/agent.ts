import type { HostRecord } from '../registry/records/index.ts';
import { LeaseLostError } from '../registry/store.ts';
import { sleep } from '../runtime/clock.ts';
import { runPeriodically } from '../runtime/periodic.ts';
import { supervise } from '../runtime/supervise.ts';
import { DesiredState } from './desired.ts';
import type { EngineInfo } from './docker/engine.ts';
import { EngineWatcher } from './engine-watcher.ts';
import { Acknowledger } from './drain/acknowledger.ts';
import { Drainer } from './drain/drainer.ts';
import { openConnections } from './drain/open-connections.ts';
import { drainPolicy } from './drain/policy.ts';
import { Senders } from './drain/senders.ts';
import { Executor } from './executor.ts';
import { HealthMonitor } from './health/monitor.ts';
import { containerProber } from './health/probe.ts';
import { Deliveries } from './files/deliveries.ts';
import { HostAddresses } from './addresses/host-addresses.ts';
import { HostSession } from './host-session.ts';
import { NetworkKeeper } from './network-keeper.ts';
import { ObservedState } from './observed.ts';
import {
  defaultNetworkName,
  type AgentDeps,
  type AgentOptions,
  type LocalInstances,
} from './options.ts';
import { Reconciler } from './reconciler.ts';
import { agentRouterKeeper, isRouter } from './router/agent-router.ts';
import type { RouterKeeper } from './router/router-keeper.ts';
import { Interruptions } from './restart/interruptions.ts';
import { RecordWriter } from './record-writer.ts';
import { Licence } from './licence.ts';
import { holdAlone } from './single-agent.ts';
import { TemplateKeeper } from './templates/template-keeper.ts';
import { VolumeKeeper } from './volume-keeper.ts';

const defaultLeaseTtlMs = 5000;
const defaultGraceMs = 60_000;
/** What is stopped without being drained leaves the names first, unless the registry takes longer than this. */
const withdrawMs = 500;
const defaultAuditMs = 30_000;
/** How often the end of the licence is noted for the next agent. */
const licenceNoteMs = 1_000;
/** A planned stop may take this long to leave its note. */
const handOverMs = 5000;

/** What an agent tells those who watch over its process. */
export interface AgentState {
  /** Why nothing can be placed on this host now; empty: nothing hinders it. */
  hindrances: () => readonly string[];
}

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
  state?: AgentState,
): Promise<void> {
  const release = options.exclusive === undefined ? undefined : await holdAlone(options.exclusive);
  try {
    const agent = new Agent(options, deps);
    if (state !== undefined) state.hindrances = () => agent.hindrances();
    await agent.run(signal);
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
  readonly #templates: TemplateKeeper | undefined;
  readonly #volumes: VolumeKeeper;
  readonly #router: RouterKeeper | undefined;
  readonly #addresses: HostAddresses | undefined;
  readonly #reconciler: Reconciler;
  readonly #hostSession: HostSession;
  readonly #networkKeeper: NetworkKeeper;
  readonly #interruptions: Interruptions;
  readonly #licence: Licence;
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
      this.#addresses?.note(id, this.#observed);
      this.#reconciler.touch(id, key);
      if (isRouter(key)) this.#router?.changed();
    };
    this.#addresses =
      deps.addresses &&
      new HostAddresses({
        ...{ host, ...deps.addresses, store, clock, log },
        licensed: () => this.#hostSession.lease !== undefined,
      });
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
    this.#templates = this.#templateKeeper(touch);
    this.#deliveries =
      deps.files &&
      new Deliveries({
        ...{ host, store, engine, files: deps.files.store, key: deps.files.key },
        ...(this.#templates && { templates: this.#templates }),
      });
    this.#volumes = new VolumeKeeper({ host, store, engine, clock, log });
    this.#licence = new Licence({
      remainingMs: () => this.#hostSession.lease?.remainingMs() ?? 0,
      sinceBootMs: deps.sinceBootMs ?? (() => clock.monotonic()),
      ...(deps.licence && { note: deps.licence }),
      onEnd: () => {
        this.#reconciler.touchAll();
      },
      schedule: (callback, delayMs) => clock.schedule(callback, delayMs),
    });
    this.#router = agentRouterKeeper(
      options,
      deps,
      { desired: this.#desired, observed: this.#observed },
      {
        onProblems: () => {
          this.#hostSession.changed();
        },
        onAnswered: (tokens) => {
          this.#writer.setAnswered(tokens);
        },
      },
    );
    const executor = new Executor({
      ...(this.#addresses && { addresses: this.#addresses.pool }),
      network: networkName,
      cpus: deps.machine.cpus,
      ...(this.#deliveries && { deliveries: this.#deliveries }),
      volumes: this.#volumes,
      host,
      engine,
      observed: this.#observed,
      clock,
      refresh: (containerId) => this.#watcher.refresh(containerId),
      assertLicensed: () => {
        if (this.#hostSession.lease === undefined) {
          throw new LeaseLostError('the lease of this host is not proved alive');
        }
      },
      withdraw: () => this.#writer.settled(withdrawMs),
      drainer: this.#drainer(),
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
      ...(this.#templates && { templates: this.#templates }),
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
        this.#addresses?.licensed();
        this.#reconciler.touchAll();
      },
      onUnlicensed: () => {
        this.#reconciler.touchAll();
      },
      onHandedOver: async (graceMs) => {
        if (this.#hasFenced()) await this.#licence.leave(graceMs);
      },
    });
    const local: LocalInstances = {
      localInstance: (ip) =>
        this.#observed.instanceAt(ip) ?? deps.addresses?.book.holderOf(ip)?.owner,
    };
    this.#networkKeeper = new NetworkKeeper({
      host,
      name: networkName,
      engine,
      network: deps.network,
      dns: deps.dns,
      local,
      clock,
      log,
      auditMs: options.auditMs ?? defaultAuditMs,
      ...(deps.audits && { audits: deps.audits }),
      onChange: () => {
        this.#addresses?.place(this.#networkKeeper.current);
        this.#reconciler.touchAll();
        this.#hostSession.changed();
      },
    });
  }

  #drainer(): Drainer {
    const { store, engine, services, clock, log } = this.#deps;
    const host = this.#options.hostName;
    return new Drainer({
      withdrawals: this.#writer,
      senders:
        services &&
        new Senders({
          host,
          store,
          dataPlane: services.dataPlane,
          clock,
          log,
          ask: (note) => {
            this.#writer.setDrain(note);
          },
        }),
      policy: (key) => drainPolicy(services, key),
      connections: async (containerId) => {
        const { pid } = await engine.inspect(containerId);
        return pid === undefined ? 0 : openConnections(pid);
      },
      clock,
      log,
    });
  }

  #acknowledge(services: NonNullable<AgentDeps['services']>, signal: AbortSignal): Promise<void> {
    const { store, clock, log } = this.#deps;
    return new Acknowledger({
      host: this.#options.hostName,
      store,
      dataPlane: services.dataPlane,
      clock,
      log,
      publish: (revision) => {
        this.#writer.setApplied(revision);
      },
    }).run(signal);
  }

  hindrances(): readonly string[] {
    const unproved = this.#hostSession.lease === undefined;
    return [...(unproved ? ['RegistryUnavailable: no lease is held'] : []), ...this.#unready()];
  }

  async run(signal: AbortSignal): Promise<void> {
    const { log, services } = this.#deps;
    const templates = this.#templates;
    this.#deps.network.onProblems(() => {
      this.#hostSession.changed();
    });
    this.#deps.audits?.onChange(() => {
      this.#hostSession.changed();
    });
    const restart = { baseMs: 200, capMs: 5000 };
    await this.#licence.carryOver();
    const router = this.#router;
    try {
      await supervise(
        [
          { name: 'engine', run: (s) => this.#watcher.run(s), restart },
          { name: 'placements', run: (s) => this.#followPlacements(s), restart },
          { name: 'reconciler', run: (s) => this.#reconciler.run(s) },
          { name: 'reports', run: (s) => this.#writer.run(s), restart },
          { name: 'audit of reports', run: (s) => this.#auditReports(s), restart },
          { name: 'volumes', run: (s) => this.#volumes.run(s), restart },
          { name: 'licence', run: (s) => this.#noteLicence(s), restart },
          ...(router === undefined
            ? []
            : [{ name: 'router', run: (s: AbortSignal) => router.run(s), restart }]),
          { name: 'network', run: (s) => this.#networkKeeper.run(s) },
          ...(services === undefined
            ? []
            : [
                { name: 'services', run: (s: AbortSignal) => services.run(s), restart },
                {
                  name: 'answers to drains',
                  run: (s: AbortSignal) => this.#acknowledge(services, s),
                  restart,
                },
              ]),
          ...(templates === undefined
            ? []
            : [{ name: 'templates', run: (s: AbortSignal) => templates.run(s), restart }]),
          ...(this.#addresses?.tasks() ?? []),
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

  #hasFenced(): boolean {
    for (const container of this.#observed.all()) if (container.fenced) return true;
    return false;
  }

  async #stopFenced(): Promise<void> {
    const { engine, log } = this.#deps;
    const fenced = [...this.#observed.all()].filter((c) => c.fenced && c.state === 'running');
    await Promise.all(
      fenced.map(async ({ id, key, stopGraceMs }) => {
        log.warn({ ...key }, 'stopping a fenced instance: the agent ends without a lease');
        await engine.stop(id, stopGraceMs ?? 10_000).catch((error: unknown) => {
          log.error({ err: error, ...key }, 'cannot stop a fenced instance');
        });
      }),
    );
  }

  /** Costs nothing on hosts without fenced instances. */
  async #noteLicence(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (this.#hasFenced()) await this.#licence.note();
      await sleep(this.#deps.clock, licenceNoteMs, signal).catch(() => undefined);
    }
  }

  async #leave(): Promise<void> {
    this.#licence.stop();
    await this.#deps.lastKnown?.flush();
    const { graceMs = defaultGraceMs } = this.#options;
    const timeout = AbortSignal.timeout(handOverMs);
    const why = 'the agent was stopped on purpose';
    const announced = await this.#hostSession.handOver(graceMs, why, timeout);
    // Nobody would be there to stop it in time.
    if (!announced) await this.#stopFenced();
    this.#deps.engine.close();
  }

  async #followPlacements(signal: AbortSignal): Promise<void> {
    const { store, lastKnown } = this.#deps;
    const { prefix } = this.#desired;
    const remembered = this.#desired.known ? undefined : await lastKnown?.read(prefix);
    if (remembered !== undefined) {
      this.#desired.remember(remembered);
      this.#reconciler.touchAll();
    }
    for await (const batch of store.watch(prefix, {}, signal)) {
      lastKnown?.note(prefix, batch);
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

  #templateKeeper(onChange: Reconciler['touch']): TemplateKeeper | undefined {
    const { files, services, engine, clock, random, log } = this.#deps;
    if (files?.templates === undefined || services === undefined) return undefined;
    const { hostName: name, address, machineID, metadata = {} } = this.#options;
    return new TemplateKeeper({
      host: { name, address, machineID, metadata },
      feed: services,
      store: files.templates,
      engine,
      containers: () => this.#observed.all(),
      refresh: (containerId) => this.#watcher.refresh(containerId),
      network: () => this.#networkKeeper.joined,
      delivered: async (desired) => this.#deliveries?.ofConfigs(desired),
      clock,
      random,
      log,
      onChange,
    });
  }

  #onEngine(info: EngineInfo | undefined, problem: string): void {
    this.#engine = info;
    this.#interruptions.engine(info !== undefined);
    if (info !== undefined) {
      this.#lastEngine = info;
      // It has listed what it has.
      this.#addresses?.complete();
    }
    this.#engineProblem = problem;
    this.#networkKeeper.engineChanged(info !== undefined);
    this.#reconciler.touchAll();
    this.#hostSession.changed();
  }

  #context(): ReturnType<ConstructorParameters<typeof Reconciler>[0]['context']> {
    if (this.#engine === undefined) return undefined;
    return {
      interrupted: (ended) => this.#interruptions.interrupted(ended),
      mayCreate: this.#hostSession.lease !== undefined,
      licensed: this.#licence.held(),
      network: this.#networkKeeper.joined,
    };
  }

  /** What this host lacks to run instances. */
  #unready(): readonly string[] {
    const lacks: string[] = [];
    if (this.#engine === undefined) lacks.push(`EngineUnavailable: ${this.#engineProblem}`);
    const { current, problem } = this.#networkKeeper;
    if (current === undefined) lacks.push(`NetworkUnavailable: ${problem}`);
    return lacks;
  }

  #hostRecord(): HostRecord {
    const { hostName, machineID, address, metadata = {}, version } = this.#options;
    const { machine } = this.#deps;
    const unready = this.#unready();
    const network = this.#networkKeeper.current;
    const troubles = this.#deps.network.problems();
    const problems = [...unready, ...troubles, ...(this.#router?.problems() ?? [])];
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
      ready: unready.length === 0,
      problems,
      network: {
        problems: [...(network === undefined ? [this.#networkKeeper.problem] : []), ...troubles],
        repaired: [...(this.#deps.audits?.recent() ?? [])],
      },
      ...(this.#deliveries && { sealingKey: this.#deliveries.publicKey }),
    };
  }
}
