import {
  instanceName,
  isDnsLabel,
  serviceId,
  type ServiceIdentity,
} from '../api/v1alpha1/names.ts';
import { hosts, projects, services } from '../kube/resources.ts';
import { keyOf } from '../kube/store.ts';
import { leaderPath } from '../registry/records/leader.ts';
import { removedHostRecords } from '../registry/records/removed-host.ts';
import { decide } from '../registry/decide.ts';
import type { Leadership } from '../registry/leadership.ts';
import { sleep } from '../runtime/clock.ts';
import { Controller, type ControllerOptions } from '../runtime/controller.ts';
import { deadline } from '../runtime/deadline.ts';
import { linkSignals } from '../runtime/linked-signal.ts';
import { supervise, type Task } from '../runtime/supervise.ts';
import { ClusterState } from '../scheduler/index.ts';
import { instanceNews } from './announce-instances.ts';
import { announceDecisions } from './announce.ts';
import { ContentFeed } from './content/feed.ts';
import { HostHealth } from './host/health.ts';
import { HostKeeper } from './host/keeper.ts';
import type { StuckInstance } from './host/drain.ts';
import { hostReconciler } from './host/reconcile.ts';
import { identityOf, objectNameOf } from './identity.ts';
import { KubeFeed } from './kube-feed.ts';
import type { OperatorDeps, OperatorOptions } from './operator.ts';
import { InstanceBook, PlacementBook } from './placement/book.ts';
import { PlacementLoop } from './placement/loop.ts';
import { Rebalancer } from './placement/rebalancer.ts';
import { Readiness } from './placement/readiness.ts';
import { VolumeBook } from './placement/volume-book.ts';
import { RevisionBook } from './project/revision-book.ts';
import { projectReconciler } from './project/reconcile.ts';
import { RegistryFeed } from './registry-feed.ts';
import { ServiceDirectory } from './service/directory.ts';
import type { FactSources } from './service/facts.ts';
import { serviceReconciler } from './service/reconcile.ts';
import { StatusWriter } from './status-writer.ts';

/** How often the operator asks the registry whether it is well, and how long it waits for the answer, milliseconds. */
const probeEveryMs = 1_000;
const probeTimeoutMs = 2_000;

/**
 * One term of leadership: caches, books and loops from nothing, for as long as `leadership` holds. Nothing of an earlier
 * term lives on, so a term that ends badly can simply be followed by another one.
 */
export class Term {
  readonly #deps: OperatorDeps;
  readonly #options: OperatorOptions;
  readonly #leadership: Leadership;
  readonly #state = new ClusterState();
  readonly #book = new PlacementBook(this.#state);
  readonly #instances = new InstanceBook();
  readonly #contents: ContentFeed;
  readonly #directory: ServiceDirectory;
  readonly #readiness: Readiness;
  readonly #health: HostHealth;
  readonly #keeper: HostKeeper;
  readonly #loop: PlacementLoop;
  readonly #rebalancer: Rebalancer;
  readonly #registry: RegistryFeed;
  readonly #kube: KubeFeed;
  readonly #controllers: {
    readonly project: Controller;
    readonly service: Controller;
    readonly host: Controller;
  };
  readonly #onReady: () => void;

  /** @param onReady called when all caches are filled and the loops begin. */
  constructor(
    options: OperatorOptions,
    deps: OperatorDeps,
    leadership: Leadership,
    onReady: () => void,
  ) {
    this.#onReady = onReady;
    this.#options = options;
    this.#deps = deps;
    this.#leadership = leadership;
    const { clock, log, client, store } = deps;
    this.#contents = new ContentFeed(
      client,
      { log, clock, ...(deps.reflector && { observer: deps.reflector }) },
      (users) => {
        for (const user of users) {
          const key = this.#directory.refresh(user);
          if (key === undefined) continue;
          this.#loop.mark(key);
          this.#controllers.service.enqueue(user);
        }
      },
    );
    this.#directory = new ServiceDirectory({
      name: (user, namespace, refs) => {
        this.#contents.name(user, namespace, refs);
      },
      lookup: (namespace, ref) => this.#contents.lookup(namespace, ref),
    });
    this.#readiness = new Readiness(options.updateMonitorMs ?? 2_000);
    this.#health = new HostHealth({
      ttlMs: options.hostTtlMs ?? 5_000,
      ...(options.massWindowMs === undefined ? {} : { massWindowMs: options.massWindowMs }),
    });
    this.#registry = new RegistryFeed(
      store,
      {
        book: this.#book,
        instances: this.#instances,
        readiness: this.#readiness,
        health: this.#health,
        keeper: () => this.#keeper,
        loop: () => this.#loop,
        touchService: (key) => {
          this.#touchService(key);
        },
        touchHost: (host) => {
          this.#controllers.host.enqueue(host);
        },
        instanceChanged: (key, before, after) => {
          const wish = this.#directory.get(serviceId(key));
          if (wish === undefined) return;
          for (const news of instanceNews(wish.identity, key, before, after)) {
            deps.events.record(wish.object, news.type, news.reason, news.message);
          }
        },
      },
      clock,
      log,
    );
    this.#kube = new KubeFeed(
      client,
      {
        directory: this.#directory,
        mark: (key) => {
          this.#loop.mark(key);
        },
        hostObject: (name, object) => {
          this.#keeper.object(name, object);
        },
        enqueueProject: (key) => {
          this.#controllers.project.enqueue(key);
        },
        enqueueService: (key) => {
          this.#controllers.service.enqueue(key);
        },
        enqueueHost: (key) => {
          this.#controllers.host.enqueue(key);
        },
      },
      { log, clock, ...(deps.reflector && { observer: deps.reflector }) },
    );
    this.#keeper = new HostKeeper({
      state: this.#state,
      book: this.#book,
      health: this.#health,
      clock,
      log,
      mark: (key) => {
        this.#loop.mark(key);
      },
      roomAppeared: () => {
        this.#loop.roomAppeared();
        for (const key of this.#loop.rules.globals()) this.#loop.mark(key);
      },
      touched: (host) => {
        this.#controllers.host.enqueue(host);
      },
      lost: (host) => {
        this.#hostLost(host);
      },
      remember: (host, session) => {
        void this.#rememberRemoved(host, session);
      },
    });
    this.#loop = new PlacementLoop({
      store,
      epoch: leadership.epoch,
      directory: this.#directory,
      book: this.#book,
      instances: this.#instances,
      readiness: this.#readiness,
      health: this.#health,
      state: this.#state,
      serviceRecords: this.#registry.serviceRecords,
      volumeRecords: this.#registry.volumeRecords,
      homeRecords: this.#registry.homeRecords,
      drainIsOver: (host) => this.#keeper.drainIsOver(host),
      isKnown: (host) => this.#keeper.isKnown(host),
      sealingKey: (host) => this.#keeper.record(host)?.sealingKey,
      confirmGone: (identity, signal) => this.#confirmGone(identity, signal),
      observer: {
        decided: (key, changes) => {
          const wish = this.#directory.get(key);
          if (wish !== undefined) announceDecisions(deps.events, wish, changes);
          for (const { step, host } of changes) {
            if (host !== undefined) this.#controllers.host.enqueue(host);
            if (step.type !== 'create') this.#controllers.host.enqueue(step.placed.host);
          }
        },
        touched: (key) => {
          this.#touchService(key);
          this.#touchDraining(key);
        },
        ...(deps.onPass === undefined ? {} : { passed: deps.onPass }),
      },
      clock,
      log: log.child({ loop: 'placement' }),
      random: deps.random,
      newId: deps.newId,
      ...(options.brakedMovesPerSecond === undefined
        ? {}
        : { brakedMovesPerSecond: options.brakedMovesPerSecond }),
    });
    this.#rebalancer = new Rebalancer({
      loop: this.#loop,
      directory: this.#directory,
      book: this.#book,
      state: this.#state,
      standing: (host) => this.#health.standing(host, clock.monotonic()),
      policyOf: (namespace, name) => {
        const spec = this.#kube.projects.store.get({ namespace, name })?.spec;
        if (spec?.rebalance === undefined) return undefined;
        return { isOn: spec.rebalance === 'on', moves: spec.rebalanceMoves ?? 1 };
      },
      changed: (namespace, name) => {
        this.#controllers.project.enqueue(`${namespace}/${name}`);
      },
      clock,
      ...(options.rebalanceEveryMs === undefined ? {} : { everyMs: options.rebalanceEveryMs }),
    });
    this.#controllers = this.#makeControllers();
  }

  /** Runs until `signal` aborts, or rejects with what ended the term early. */
  async run(signal: AbortSignal): Promise<void> {
    const over = new AbortController();
    const stop = linkSignals(signal, this.#leadership.lost, over.signal);
    this.#kube.subscribe();
    try {
      await supervise(this.#tasks(), { log: this.#deps.log, clock: this.#deps.clock }, stop.signal);
      if (!signal.aborted) throw this.#leadership.lost.reason;
    } finally {
      over.abort(new Error('the term is over'));
      this.#keeper.stop();
    }
  }

  #tasks(): Task[] {
    const { log } = this.#deps;
    const afterSync = (name: string, run: (signal: AbortSignal) => Promise<void>): Task => ({
      name,
      run: async (signal) => {
        await synced;
        await run(signal);
      },
    });
    let resolve: () => void = () => undefined;
    let reject: (error: unknown) => void = () => undefined;
    const synced = new Promise<void>((yes, no) => {
      resolve = yes;
      reject = no;
    });
    synced.catch(() => undefined);
    return [
      ...this.#registry.tasks(),
      ...this.#kube.tasks(),
      this.#contents.task(),
      {
        name: 'resync',
        run: async (signal) => {
          try {
            await this.#sync(signal);
          } catch (error) {
            reject(error);
            throw error;
          }
          this.#onReady();
          log.info({ epoch: String(this.#leadership.epoch) }, 'caches filled; deciding');
          resolve();
          await this.#resync(signal);
        },
      },
      afterSync('placement loop', (signal) => this.#loop.run(signal)),
      afterSync('rebalancer', (signal) => this.#rebalancer.run(signal)),
      afterSync('registry probe', (signal) => this.#probe(signal)),
      ...Object.values(this.#controllers).map((controller) =>
        afterSync(`${controller.name} controller`, (signal) => controller.run(signal)),
      ),
    ];
  }

  async #sync(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#registry.whenSynced(signal), this.#kube.whenSynced(signal)]);
    this.#keeper.registryAnswers(true);
    this.#loop.markAll();
  }

  /** Everything is looked at now and then, in case a hint was lost. */
  async #resync(signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps;
    while (!signal.aborted) {
      await sleep(clock, this.#options.resyncMs ?? 300_000, signal).catch(() => undefined);
      // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- it may abort during the sleep
      if (signal.aborted) return;
      this.#loop.markAll();
      this.#keeper.evaluate();
      for (const project of this.#kube.projects.store.list()) {
        this.#controllers.project.enqueue(keyOf(project));
      }
      for (const service of this.#kube.services.store.list()) {
        this.#controllers.service.enqueue(keyOf(service));
      }
      for (const host of this.#health.hosts()) this.#controllers.host.enqueue(host);
    }
  }

  /** Finds out whether the registry answers: hosts are only lost while it does. */
  async #probe(signal: AbortSignal): Promise<void> {
    const { clock, store, log } = this.#deps;
    let answered = true;
    while (!signal.aborted) {
      const limit = deadline(clock, probeTimeoutMs, 'the probe of the registry', signal);
      let answers = false;
      try {
        await store.get(leaderPath, limit.signal);
        answers = this.#registry.staleMs() === 0;
      } catch (error) {
        // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- it may abort during the read
        if (signal.aborted) return;
        log.debug({ err: error }, 'the registry does not answer');
      } finally {
        limit.dispose();
      }
      if (answers !== answered) {
        answered = answers;
        log.warn({ answers }, answers ? 'the registry answers again' : 'the registry is away');
      }
      this.#keeper.registryAnswers(answers);
      await sleep(clock, probeEveryMs, signal).catch(() => undefined);
    }
  }

  #makeControllers() {
    const { client, clock, log, events } = this.#deps;
    const { store: serviceObjects } = this.#kube.services;
    const make = (name: string, reconcile: ControllerOptions['reconcile']): Controller =>
      new Controller({
        name,
        reconcile,
        log,
        clock,
        ...(this.#deps.observer && { observer: this.#deps.observer }),
      });
    const volumes = new VolumeBook(
      this.#deps.store,
      this.#leadership.epoch,
      this.#registry.volumeRecords,
      log,
    );
    const sources: FactSources = {
      book: this.#book,
      instances: this.#instances,
      outcome: (key) => this.#loop.outcome(key),
      actedUpon: (key) => this.#loop.actedUpon(key),
      stateOf: (key, placed) => this.#loop.stateOf(key, placed),
      standing: (host) => this.#health.standing(host, clock.monotonic()),
      wanted: (key) => this.#loop.rules.wanted(key),
    };
    return {
      project: make(
        'project',
        projectReconciler({
          proposals: (namespace, name) => this.#rebalancer.proposals(namespace, name),
          client,
          objects: this.#kube.projects.store,
          services: serviceObjects,
          revisions: new RevisionBook(this.#deps.store, this.#leadership.epoch, log),
          volumes,
          status: new StatusWriter(client, projects, clock),
          events,
          clock,
        }),
      ),
      service: make(
        'service',
        serviceReconciler({
          ...sources,
          client,
          objects: serviceObjects,
          directory: this.#directory,
          volumes,
          status: new StatusWriter(client, services, clock),
          events,
          clock,
        }),
      ),
      host: make(
        'host',
        hostReconciler({
          client,
          objects: this.#kube.hosts.store,
          keeper: this.#keeper,
          health: this.#health,
          state: this.#state,
          book: this.#book,
          status: new StatusWriter(client, hosts, clock),
          clock,
          events,
          stuckOn: (host) => this.#stuckOn(host),
        }),
      ),
    };
  }

  /** Hosts that are being emptied tell what is left on them, and why. */
  #touchDraining(key: string): void {
    for (const { host } of this.#book.ofService(key)) {
      if (this.#state.host(host)?.info?.draining === true) this.#controllers.host.enqueue(host);
    }
  }

  #touchService(key: string): void {
    const wish = this.#directory.get(key);
    if (wish !== undefined) this.#controllers.service.enqueue(keyOf(wish.object));
  }

  /** What still is on a host that is being emptied, with what keeps it there. */
  #stuckOn(host: string): StuckInstance[] {
    return this.#book.servicesOn(host).flatMap((key) => {
      const wish = this.#directory.get(key);
      const outcome = this.#loop.outcome(key);
      return this.#book.ofService(key).flatMap((placed) => {
        if (placed.host !== host || wish === undefined) return [];
        const { identity, want } = wish;
        const anchor =
          want.type === 'run' ? this.#loop.rules.anchorOf(identity, want, placed) : undefined;
        const stays =
          outcome.unplaced !== undefined &&
          (outcome.unplaced.staying > 0 || outcome.unplaced.evicted !== undefined);
        const why =
          anchor ??
          (stays ? outcome.unplaced.explanation : undefined) ??
          (outcome.roll?.state === 'waiting' ? undefined : outcome.roll?.message) ??
          (want.type === 'invalid' ? `its spec is invalid: ${want.message}` : undefined);
        const name = instanceName({ ...identity, ordinal: String(placed.ordinal) });
        return [{ name: `${identity.namespace}/${name}`, ...(why === undefined ? {} : { why }) }];
      });
    });
  }

  /** Never rejects. Until it is written, this operator alone knows. */
  async #rememberRemoved(host: string, session: string): Promise<void> {
    const { store, log } = this.#deps;
    const key = removedHostRecords.path({ host });
    const value = removedHostRecords.encode({ session });
    try {
      await decide(store, this.#leadership.epoch, [], [{ type: 'put', key, value }]);
      log.info({ host }, 'host taken out of the cluster until its agent is started anew');
    } catch (error) {
      log.warn({ err: error, host }, 'cannot write down that a host was taken out of the cluster');
    }
  }

  #hostLost(host: string): void {
    const { log, events } = this.#deps;
    const services = this.#book.servicesOn(host).length;
    log.warn({ host, services }, 'host lost');
    const object = this.#kube.hosts.store.get({ name: host });
    if (object === undefined) return;
    events.record(
      object,
      'Warning',
      'Lost',
      services === 0
        ? 'the agent does not answer any more'
        : `the agent does not answer any more; instances of ${String(services)} services are moved`,
    );
  }

  async #confirmGone(identity: ServiceIdentity, signal: AbortSignal): Promise<boolean> {
    const { namespace } = identity;
    const name = objectNameOf(identity);
    // No object can be called so; the record was written by hand.
    if (!isDnsLabel(namespace) || !isDnsLabel(name)) return true;
    const found = await this.#deps.client.find(services, { namespace, name }, signal);
    return found === undefined || serviceId(identityOf(found.metadata)) !== serviceId(identity);
  }
}
