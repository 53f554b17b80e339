import { serviceId, type ServiceIdentity } from '../api/v1alpha1/names.ts';
import { routerIdentity } from '../api/v1alpha1/router.ts';
import { keyOf } from '../kube/store.ts';
import { defaultVirtualRange, parseVirtualRange } from '../network/virtual-ip/virtual-range.ts';
import { serviceRecords } from '../registry/records/service.ts';
import { removedHostRecords } from '../registry/records/removed-host.ts';
import { decide } from '../registry/decide.ts';
import { NotLeaderError, type Leadership } from '../registry/leadership.ts';
import type { Revision } from '../registry/store.ts';
import { isAborted, whenAborted } from '../runtime/aborted.ts';
import { sleep } from '../runtime/clock.ts';
import { linkSignals } from '../runtime/linked-signal.ts';
import { supervise, type Task } from '../runtime/supervise.ts';
import { ClusterState } from '../scheduler/index.ts';
import { instanceNews } from './announce-instances.ts';
import { announceDecisions } from './announce.ts';
import { makeControllers, type Controllers } from './controllers.ts';
import { ContentFeed } from './content/feed.ts';
import { HostHealth } from './host/health.ts';
import { HostKeeper } from './host/keeper.ts';
import { KubeFeed } from './kube-feed.ts';
import {
  defaultClaimTtlMs,
  defaultNamespace,
  type OperatorDeps,
  type OperatorOptions,
} from './operator-options.ts';
import { InstanceBook, PlacementBook } from './placement/book.ts';
import { PlacementLoop } from './placement/loop.ts';
import { Rebalancer } from './placement/rebalancer.ts';
import { Readiness } from './placement/readiness.ts';
import { RegistryFeed } from './registry-feed.ts';
import { MeshPortBook } from './mesh-port-book.ts';
import type { RouteLoop } from './routes/loop.ts';
import { makeRouteLoops, type RouteLoops } from './routes/make-loops.ts';
import { keepRouterService, type RouterOptions } from './routes/router-service.ts';
import { ServiceDirectory } from './service/directory.ts';
import { isServiceGone } from './service/gone.ts';
import { linkTargetOf } from './service/link-target.ts';
import { VirtualIpBook } from './virtual-ip-book.ts';
import { Candidacy } from './election/candidacy.ts';
import { probeRegistry } from './election/registry-probe.ts';
import { LeaderNote } from '../kube/leader-note.ts';

/** Gets the leadership when it is free and `mayLead` resolves; rejects when `signal` aborts. */
export type Claim = (
  mayLead: (signal: AbortSignal) => Promise<void>,
  signal: AbortSignal,
) => Promise<Leadership>;

const routerId = serviceId(routerIdentity);

/**
 * One term, from candidate to the end of its leadership. A candidate fills its caches and books and keeps them so, and
 * knows which hosts vanish while it watches; then it claims the leadership, makes sure that it has seen all that its
 * predecessor decided, and decides at once. Nothing of an earlier term lives on, so a term that ends badly can simply be
 * followed by another one.
 */
export class Term {
  readonly #deps: OperatorDeps;
  readonly #options: OperatorOptions;
  #leadership: Leadership | undefined;
  readonly #state = new ClusterState();
  readonly #book = new PlacementBook(this.#state);
  readonly #instances = new InstanceBook();
  readonly #contents: ContentFeed;
  readonly #directory: ServiceDirectory;
  readonly #readiness: Readiness;
  readonly #virtualIps: VirtualIpBook;
  readonly #meshPorts: MeshPortBook;
  readonly #health: HostHealth;
  readonly #keeper: HostKeeper;
  readonly #loop: PlacementLoop;
  readonly #rebalancer: Rebalancer;
  readonly #routes: RouteLoop;
  readonly #routeLoops: RouteLoops;
  readonly #registry: RegistryFeed;
  readonly #kube: KubeFeed;
  readonly #candidacy: Candidacy;
  readonly #note: LeaderNote;
  readonly #controllers: Controllers;
  readonly #onDeciding: () => void;

  /** @param onDeciding called when it leads and the loops begin. */
  constructor(options: OperatorOptions, outside: OperatorDeps, onDeciding: () => void) {
    this.#onDeciding = onDeciding;
    this.#options = options;
    const deps: OperatorDeps = {
      ...outside,
      // A candidate sees what happens, too; who leads tells of it.
      events: {
        record: (...event) => {
          if (this.#leadership !== undefined) outside.events.record(...event);
        },
      },
    };
    this.#deps = deps;
    const { clock, log, client, store } = deps;
    this.#contents = new ContentFeed(
      client,
      { log, clock, ...(deps.reflector && { observer: deps.reflector }) },
      (users) => {
        for (const user of users) {
          const key = this.#directory.refresh(user);
          if (key === undefined) continue;
          this.#mark(key);
          this.#controllers.service.enqueue(user);
        }
      },
    );
    this.#directory = new ServiceDirectory(
      {
        name: (user, namespace, refs) => {
          this.#contents.name(user, namespace, refs);
        },
        lookup: (namespace, ref) => this.#contents.lookup(namespace, ref),
      },
      (identity) =>
        linkTargetOf(
          this.#directory.get(serviceId(identity)),
          this.#loop.recordOf(identity),
          this.#virtualIps.problemOf(serviceRecords.path(identity))?.message,
        ),
    );
    this.#virtualIps = new VirtualIpBook(
      parseVirtualRange(options.virtualRange ?? defaultVirtualRange),
    );
    this.#meshPorts = new MeshPortBook(this.#state, this.#book);
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
          this.#routerTouched(host);
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
          this.#mark(key);
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
        this.#routerTouched(host);
        this.#controllers.host.enqueue(host);
      },
      lost: (host) => {
        this.#hostLost(host);
      },
      remember: (host, session) => {
        void this.#rememberRemoved(host, session);
      },
    });
    const confirmGone = (identity: ServiceIdentity, signal: AbortSignal): Promise<boolean> =>
      isServiceGone(client, identity, signal);
    this.#loop = new PlacementLoop({
      store,
      epoch: () => this.#epoch(),
      directory: this.#directory,
      book: this.#book,
      instances: this.#instances,
      readiness: this.#readiness,
      health: this.#health,
      state: this.#state,
      serviceRecords: this.#registry.serviceRecords,
      virtualIps: this.#virtualIps,
      meshPorts: this.#meshPorts,
      volumeRecords: this.#registry.volumeRecords,
      homeRecords: this.#registry.homeRecords,
      runRecords: this.#registry.runRecords,
      drainIsOver: (host) => this.#keeper.drainIsOver(host),
      isKnown: (host) => this.#keeper.isKnown(host),
      sealingKey: (host) => this.#keeper.record(host)?.sealingKey,
      confirmGone,
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
        recorded: (key) => {
          this.#touchService(key);
          for (const user of this.#directory.refreshLinked(key)) {
            this.#loop.mark(user);
            this.#touchService(user);
          }
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
    this.#routeLoops = makeRouteLoops(options, {
      ...{ store, client, events: deps.events, clock, log, random: deps.random, confirmGone },
      epoch: () => this.#epoch(),
      directory: this.#directory,
      routerHosts: () => this.#book.ofService(routerId).map(({ host }) => host),
      isPresent: (host) => this.#health.standing(host, clock.monotonic()) === 'present',
      sealingKey: (host) => this.#keeper.record(host)?.sealingKey,
      touched: (key) => {
        this.#touchService(key);
      },
    });
    this.#routes = this.#routeLoops.routes;
    this.#controllers = makeControllers({
      ...deps,
      epoch: () => this.#epoch(),
      kube: this.#kube,
      volumeRecords: this.#registry.volumeRecords,
      directory: this.#directory,
      state: this.#state,
      book: this.#book,
      instances: this.#instances,
      health: this.#health,
      keeper: this.#keeper,
      loop: this.#loop,
      rebalancer: this.#rebalancer,
      routes: this.#routes,
      virtualIps: this.#virtualIps,
      meshPorts: this.#meshPorts,
    });
    this.#candidacy = new Candidacy({
      store,
      operator: options.identity,
      leaseTtlMs: options.claimTtlMs ?? defaultClaimTtlMs,
      clock,
      log,
      patienceMs: options.apiPatienceMs ?? 15_000,
      onYield: () => {
        if (this.#leadership === undefined || this.#leadership.lost.aborted) return;
        log.warn('the API server does not answer, and another operator can reach it: yielding');
        void this.#leadership.resign();
      },
    });
    this.#note = new LeaderNote(client, {
      namespace: options.namespace ?? defaultNamespace,
      name: 'nap-operator',
      identity: options.identity,
      ...(options.noteEveryMs === undefined ? {} : { everyMs: options.noteEveryMs }),
      onAnswer: (answers) => {
        this.#candidacy.apiAnswers(answers);
      },
      clock,
      log,
    });
  }

  /** Runs until `signal` aborts, or rejects with what ended the term early. */
  async run(claim: Claim, signal: AbortSignal): Promise<void> {
    const over = new AbortController();
    const stop = linkSignals(signal, over.signal);
    this.#kube.subscribe();
    const end = (reason: unknown): void => {
      over.abort(reason);
    };
    try {
      await supervise(
        this.#tasks(claim, end),
        { log: this.#deps.log, clock: this.#deps.clock },
        stop.signal,
      );
      if (!signal.aborted) throw over.signal.reason;
    } finally {
      end(new Error('the term is over'));
      stop.unlink();
      this.#keeper.stop();
      await this.#leadership?.resign();
    }
  }

  #tasks(claim: Claim, end: (reason: unknown) => void): Task[] {
    const { router } = this.#options;
    const { project, service, host } = this.#controllers;
    let begin: () => void = () => undefined;
    const begun = new Promise<void>((resolve) => {
      begin = resolve;
    });
    const leading = (name: string, run: (signal: AbortSignal) => Promise<void>): Task => ({
      name,
      run: async (signal) => {
        await Promise.race([begun, whenAborted(signal)]);
        if (!signal.aborted) await run(signal);
      },
    });
    return [
      ...this.#registry.tasks(),
      ...this.#routeLoops.watches,
      ...this.#kube.tasks(),
      this.#contents.task(),
      {
        name: 'term',
        run: async (signal) => {
          await Promise.all([
            this.#registry.whenSynced(signal),
            this.#routeLoops.whenSynced(signal),
            this.#kube.whenSynced(signal),
          ]);
          this.#candidacy.ready();
          this.#deps.log.info('caches filled; ready to lead');
          const leadership = await claim((until) => this.#candidacy.mayLead(until), signal);
          await this.#lead(leadership, end, signal);
          begin();
          await this.#resync(signal);
        },
      },
      {
        name: 'registry probe',
        run: (signal) =>
          probeRegistry(
            {
              ...this.#deps,
              isCurrent: () => this.#registry.staleMs() === 0,
              onAnswer: (answers) => {
                this.#keeper.registryAnswers(answers);
              },
            },
            signal,
          ),
      },
      { name: 'leader note', run: (signal) => this.#note.run(signal) },
      ...this.#candidacy.tasks(),
      leading('placement loop', (signal) => this.#loop.run(signal)),
      ...this.#routeLoops.loops.map((each) => leading(each.name, (signal) => each.run(signal))),
      ...(router === undefined
        ? []
        : [leading('routers', (signal) => this.#keepRouters(router, signal))]),
      leading('rebalancer', (signal) => this.#rebalancer.run(signal)),
      ...[project, service, host].map((controller) =>
        leading(`${controller.name} controller`, (signal) => controller.run(signal)),
      ),
    ];
  }

  async #lead(
    leadership: Leadership,
    end: (reason: unknown) => void,
    signal: AbortSignal,
  ): Promise<void> {
    this.#leadership = leadership;
    this.#note.lead();
    const { lost } = leadership;
    const lose = (): void => {
      end(lost.reason);
    };
    lost.addEventListener('abort', lose, { once: true });
    if (lost.aborted) lose();
    await this.#registry.catchUp(signal);
    signal.throwIfAborted();
    const { store, log, clock } = this.#deps;
    const records = [...this.#registry.serviceRecords.values()];
    this.#meshPorts.begin(records);
    await this.#virtualIps.begin(store, leadership.epoch, records, log, signal);
    // They were read before there was anything to look up.
    this.#directory.refreshAllLinked();
    this.#loop.markAll();
    // It may be the loss of its predecessor's own host, which nobody has told of yet.
    for (const host of this.#health.hosts()) {
      this.#controllers.host.enqueue(host);
      const isLost = this.#health.standing(host, clock.monotonic()) === 'lost';
      if (isLost && this.#book.servicesOn(host).length > 0) this.#hostLost(host);
    }
    this.#onDeciding();
    log.info({ epoch: String(leadership.epoch) }, 'deciding');
  }

  /** What every decision is conditional on. Only who leads has one. */
  #epoch(): Revision {
    if (this.#leadership === undefined) throw new NotLeaderError('only a candidate yet');
    return this.#leadership.epoch;
  }

  /** Everything is looked at now and then, in case a hint was lost. */
  async #resync(signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps;
    while (!signal.aborted) {
      await sleep(clock, this.#options.resyncMs ?? 300_000, signal).catch(() => undefined);
      if (isAborted(signal)) return;
      this.#loop.markAll();
      for (const key of this.#directory.keys()) this.#routes.mark(key);
      this.#routes.routersChanged();
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

  /** A service asks for something else. */
  #mark(key: string): void {
    this.#loop.mark(key);
    this.#routes.mark(key);
  }

  #keepRouters(router: RouterOptions, signal: AbortSignal): Promise<void> {
    const { client, clock, log } = this.#deps;
    return keepRouterService(router, { client, objects: this.#kube.services, clock, log }, signal);
  }

  /** The host has come, gone, or got another key. */
  #routerTouched(host: string): void {
    if (this.#book.ofService(routerId).some((placed) => placed.host === host)) {
      this.#routes.routersChanged();
    }
  }

  /** Hosts that are being emptied tell what is left on them, and why. */
  #touchDraining(key: string): void {
    for (const { host } of this.#book.ofService(key)) {
      if (this.#state.host(host)?.info?.draining === true) this.#controllers.host.enqueue(host);
    }
  }

  #touchService(key: string): void {
    if (key === routerId) this.#routes.routersChanged();
    const wish = this.#directory.get(key);
    if (wish !== undefined) this.#controllers.service.enqueue(keyOf(wish.object));
  }

  /** Never rejects. Until it is written, this operator alone knows. */
  async #rememberRemoved(host: string, session: string): Promise<void> {
    const { store, log } = this.#deps;
    if (this.#leadership === undefined) return;
    const key = removedHostRecords.path({ host });
    const value = removedHostRecords.encode({ session });
    try {
      await decide(store, this.#epoch(), [], [{ type: 'put', key, value }]);
      log.info({ host }, 'host taken out of the cluster until its agent is started anew');
    } catch (error) {
      log.warn({ err: error, host }, 'cannot write down that a host was taken out of the cluster');
    }
  }

  #hostLost(host: string): void {
    const { log, events } = this.#deps;
    if (this.#leadership === undefined) return;
    const services = this.#book.servicesOn(host).length;
    log.warn({ host, services }, 'host lost');
    const object = this.#kube.hosts.store.get({ name: host });
    if (object === undefined) return;
    const moved = services === 0 ? '' : `; instances of ${String(services)} services are moved`;
    events.record(object, 'Warning', 'Lost', `the agent does not answer any more${moved}`);
  }
}
