import { serviceRecords, type ServiceRecord } from '../../registry/records/service.ts';
import type { RunRecord } from '../../registry/records/run.ts';
import { decide } from '../../registry/decide.ts';
import type { Operation, Revision, Store } from '../../registry/store.ts';
import { serviceId, type ServiceIdentity } from '../../api/v1alpha1/names.ts';
import type { Clock } from '../../runtime/clock.ts';
import { Timers } from '../../runtime/timers.ts';
import { Trigger } from '../../runtime/trigger.ts';
import type { ClusterState } from '../../scheduler/index.ts';
import type { Logger } from '../../telemetry/log.ts';
import type { HostHealth } from '../host/health.ts';
import type { ServiceWish } from '../service/desired.ts';
import type { ServiceDirectory } from '../service/directory.ts';
import { allocate, type Change, type Intent, type Unplaced } from './allocate.ts';
import { batches } from './batch.ts';
import { MoveBrake, type Held } from './brake.ts';
import type { InstanceBook, PlacementBook } from './book.ts';
import { deliver, isUndelivered } from './delivery.ts';
import type { HomeSources } from './homes.ts';
import { heldBack, underOrder, type Order } from './order.ts';
import { OrderBook } from './order-book.ts';
import { planBlocked, planRemoval } from './plan.ts';
import type { RollState } from './roll.ts';
import type { Step } from './step.ts';
import { Outlook } from './outlook.ts';
import type { Readiness } from './readiness.ts';
import type { InstanceState, Placed } from './types.ts';
import { PlacementRulesKeeper } from './rules.ts';
import { RunBook, type CachedRuns } from './runs.ts';
import { ServiceRecordBook, type CachedServices } from './service-records.ts';
import type { MeshPortBook } from '../mesh-port-book.ts';
import type { VirtualIpBook } from '../virtual-ip-book.ts';
import type { VolumeRecords } from './types.ts';
import { volumeChanges } from './volumes.ts';

/** What the last pass over a service left open. */
export interface Outcome {
  readonly unplaced?: Unplaced;
  readonly roll?: RollState;
  /** Instances of lost hosts that are held back, with the reason. */
  readonly held?: Held;
  /** What other services have to come to first: "db to be healthy"; or why nothing of it may run. */
  readonly order?: Pick<Order, 'waitsFor' | 'stopped'>;
}

/** What one pass finds out about a service before anything is written. */
interface Open {
  readonly roll?: RollState;
  readonly held?: Outcome['held'];
  readonly order?: Outcome['order'];
  /** There is more to do at once. */
  readonly again?: boolean;
  /** There is more to do after this time. */
  readonly wakeInMs?: number;
  /** Of a oneshot: what is known of its run from now on. */
  readonly runRecord?: RunRecord;
}

/** Told what was decided; must not throw. */
export interface PlacementObserver {
  /** Decisions about one service were written. */
  decided(key: string, changes: readonly Change[]): void;
  /** The outcome for a service may have changed, or what is placed of it. */
  touched(key: string): void;
  /** The record of a service was written: it may have another virtual IP. */
  recorded(key: string): void;
  passed?(services: number, changes: number, durationMs: number): void;
}

export interface PlacementLoopOptions {
  readonly store: Store;
  /** Of the term; asked when something is written. */
  readonly epoch: () => Revision;
  readonly directory: ServiceDirectory;
  readonly book: PlacementBook;
  readonly instances: InstanceBook;
  readonly readiness: Readiness;
  readonly health: HostHealth;
  readonly state: ClusterState;
  /** Present service records, by path. */
  readonly serviceRecords: CachedServices;
  /** Gives out virtual IPs. */
  readonly virtualIps: VirtualIpBook;
  /** Present run records, by path. Default: none. */
  readonly runRecords?: CachedRuns;
  /** Gives out the ports that every host answers on. */
  readonly meshPorts: MeshPortBook;
  /** Present volume records, by path. Default: none, and none are written. */
  readonly volumeRecords?: VolumeRecords;
  /** Public key of a host that deliveries are sealed for. Default: no host has one. */
  readonly sealingKey?: (host: string) => string | undefined;
  /** Present home records, by path. Default: instances are bound to no host by their volumes. */
  readonly homeRecords?: HomeSources['homes'];
  /** The emptying of this host may wait no longer. Default: never. */
  readonly drainIsOver?: (host: string) => boolean;
  /** Somebody speaks of the host: its Host object, or its agent. Default: yes. */
  readonly isKnown?: (host: string) => boolean;
  /** Asks the API server itself whether no Service object has this identity. Rejects when it cannot be told. */
  readonly confirmGone: (identity: ServiceIdentity, signal: AbortSignal) => Promise<boolean>;
  readonly observer: PlacementObserver;
  readonly clock: Clock;
  readonly log: Logger;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly newId: () => string;
  /** Moves per second while many hosts are lost at once. Default 1. */
  readonly brakedMovesPerSecond?: number;
  /** Shortest time between two tries of what found no host. Default 100 ms. */
  readonly retryGapMs?: number;
}

/** How long to wait before asking again about a Service that the API server could not tell of, or that came late. */
const confirmAgainMs = 5_000;
/** How long a refused change waits for the watch to show what was in its way. */
const conflictRetryMs = 50;

/**
 * Gives every instance a host. The only writer of placements and service records: all of them go through `epoch`, so a
 * former leader's pass cannot interfere. A pass looks only at services that something happened to, and at those that
 * wait for room when room appears. When the outcome of a write is unknown, `run` rejects: the next term's epoch makes
 * sure that the write cannot come late.
 */
export class PlacementLoop {
  readonly #options: PlacementLoopOptions;
  readonly #order: OrderBook;
  readonly #outlook: Outlook;
  readonly #trigger = new Trigger();
  #dirty = new Set<string>();
  /** Services that wait for room on some host. */
  readonly #waiting = new Set<string>();
  /** Services whose update waits for instances. */
  readonly #rolling = new Set<string>();
  /** Services with an instance that waits for another one to be gone. */
  readonly #watching = new Set<string>();
  readonly #outcomes = new Map<string, Outcome>();
  /** What the last pass over each service acted upon. */
  readonly #actedUpon = new Map<string, ServiceWish['want']>();
  /** Services of which the API server is being asked whether they are gone, and those of which it said so. */
  readonly #asking = new Set<string>();
  readonly #gone = new Set<string>();
  readonly #timers: Timers;
  readonly #records: ServiceRecordBook;
  readonly #brake: MoveBrake;
  /** What rules mean for what is placed. */
  readonly rules: PlacementRulesKeeper;
  /** How far oneshots have come. */
  readonly runs: RunBook;
  #lastRetry = -Infinity;

  constructor(options: PlacementLoopOptions) {
    this.#options = options;
    const { state, book, directory, health, clock, volumeRecords, homeRecords } = options;
    this.#timers = new Timers(clock);
    this.#outlook = new Outlook({
      ...options,
      timers: this.#timers,
      mark: (key) => {
        this.mark(key);
      },
      lacksRoom: (key) => this.#waiting.has(key),
      isRolling: (key) => this.#rolling.has(key),
    });
    const standing = (host: string) => health.standing(host, clock.monotonic());
    this.rules = new PlacementRulesKeeper({
      state,
      book,
      wantOf: (key) => directory.get(key)?.want,
      services: () => directory.keys(),
      standing,
      ...(options.drainIsOver === undefined ? {} : { drainIsOver: options.drainIsOver }),
      ...(options.isKnown === undefined ? {} : { isKnown: options.isKnown }),
      ...(volumeRecords === undefined || homeRecords === undefined
        ? {}
        : { homes: { homes: homeRecords, volumes: volumeRecords, standing } }),
    });
    this.#records = new ServiceRecordBook(
      options.serviceRecords,
      options.virtualIps,
      options.meshPorts,
      (paths) => {
        for (const path of paths) this.#markPath(path);
      },
    );
    this.runs = new RunBook({
      book,
      instances: options.instances,
      records: options.runRecords ?? new Map(),
      clock,
    });
    this.#order = new OrderBook({
      book,
      instances: options.instances,
      wantOf: (key) => directory.get(key)?.want,
      stateOf: (key, placed) => this.#outlook.stateOf(key, placed),
      isHeld: (key) => {
        const want = directory.get(key)?.want;
        const isBlocked = want?.type === 'run' && want.blocked !== undefined;
        return isBlocked || this.#waiting.has(key);
      },
      isSettled: (key) =>
        this.#actedUpon.get(key) === directory.get(key)?.want && !this.#rolling.has(key),
      runOf: (key) => {
        const wish = directory.get(key);
        if (wish?.want.type !== 'run') return undefined;
        return this.runs.facts(key, wish.identity, wish.want);
      },
    });
    this.#brake = new MoveBrake(
      health,
      (host) => book.servicesOn(host).length > 0,
      options.brakedMovesPerSecond ?? 1,
      clock.monotonic(),
    );
  }

  /** Asks for a look at a service, by serviceId. Cheap. */
  mark(key: string): void {
    this.#dirty.add(key);
    this.#trigger.fire();
  }

  /** An instance of the service changed its state. */
  instanceChanged(key: string): void {
    const looks = [this.#rolling, this.#watching].some((set) => set.has(key));
    if (looks || this.runs.isActive(key)) this.mark(key);
    for (const other of this.#order.concernedBy(key)) this.mark(other);
  }

  /**
   * A service record changed in the registry. What is not as we wrote it is written again.
   * @param record undefined: gone or unreadable
   */
  serviceRecordChanged(key: string, record: ServiceRecord | undefined): void {
    if (this.#records.changed(key, record)) this.mark(key);
  }

  /** There may be room now where there was none. */
  roomAppeared(): void {
    for (const path of this.#options.meshPorts.waiting()) this.#markPath(path);
    if (this.#waiting.size === 0) return;
    const { clock, retryGapMs = 100 } = this.#options;
    const dueIn = this.#lastRetry + retryGapMs - clock.monotonic();
    if (dueIn > 0) {
      this.#timers.keep('room', dueIn, () => {
        this.roomAppeared();
      });
      return;
    }
    this.#lastRetry = clock.monotonic();
    for (const key of this.#waiting) this.mark(key);
  }

  /** Looks at everything there is: at the start, and now and then. */
  markAll(): void {
    const { directory, book } = this.#options;
    for (const key of directory.keys()) this.mark(key);
    for (const [key] of book.services()) this.mark(key);
    const { serviceRecords, runRecords = new Map() as CachedRuns } = this.#options;
    for (const record of serviceRecords.values()) this.mark(serviceId(record.key));
    for (const record of runRecords.values()) this.mark(serviceId(record.key));
  }

  /** The record of a service, as last written or read. */
  recordOf(identity: ServiceIdentity): ServiceRecord | undefined {
    return this.#records.recordOf(identity);
  }

  /** What the last pass over the service acted upon; undefined: none yet. */
  actedUpon(key: string): ServiceWish['want'] | undefined {
    return this.#actedUpon.get(key);
  }

  /** How a placed instance of the service stands. */
  stateOf(key: string, placed: Placed): InstanceState {
    return this.#outlook.stateOf(key, placed);
  }

  outcome(key: string): Outcome {
    return this.#outcomes.get(key) ?? {};
  }

  /** Runs until `signal` aborts. Rejects with NotLeaderError, UnavailableError or whatever else a write failed with. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    try {
      while (!signal.aborted) {
        if (this.#dirty.size === 0) await this.#trigger.wait(clock, 60_000, signal);
        // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- it may abort during the wait
        if (signal.aborted) return;
        this.#trigger.clear();
        if (this.#dirty.size > 0) await this.#pass(signal);
      }
    } finally {
      this.#timers.cancelAll();
    }
  }

  async #pass(signal: AbortSignal): Promise<void> {
    const { clock, state, book, instances, newId, random, observer } = this.#options;
    const startedAt = clock.monotonic();
    const keys = [...this.#dirty];
    this.#dirty = new Set();
    const wants = new Map(keys.map((key) => [key, this.#options.directory.get(key)?.want]));
    const intents: Intent[] = [];
    const open = new Map<string, Open>();
    for (const [key, want] of wants) {
      // What cannot be read says nothing: what it said before holds.
      if (want?.type === 'invalid') continue;
      const run = want?.type === 'run' ? want : undefined;
      this.rules.heed(key, run);
      this.#order.heed(key, this.#options.directory.get(key)?.identity, run);
    }
    for (const key of keys) {
      const intent = this.#intend(key, open, signal);
      if (intent !== undefined) intents.push(intent);
    }
    const { changes, unplaced, unfinished } = allocate(intents, {
      state,
      book,
      instances,
      newId,
      now: new Date(clock.now()).toISOString(),
      seed: Math.floor(random() * 2 ** 31),
      homeOf: (intent, ordinal) => this.rules.homeOf(intent, ordinal),
    });
    const { sealingKey, volumeRecords } = this.#options;
    const delivered = deliver(intents, changes, book, (host) => sealingKey?.(host));
    const volumes = volumeChanges(intents, delivered, { book, state, records: volumeRecords });
    const records = this.#recordChanges(intents, open);
    await this.#write(
      [
        ...records,
        ...volumes.map(bookkeeping),
        ...this.rules.homeChanges(intents, delivered).map(bookkeeping),
        ...delivered,
      ],
      signal,
    );
    const changed = new Set([...records, ...changes].map(({ key }) => key));
    for (const [key, want] of wants) {
      if (want === undefined) this.#forget(key);
      else {
        const wasSettled = this.#actedUpon.get(key) === want && !this.#rolling.has(key);
        if (unfinished.has(key)) this.mark(key);
        else this.#actedUpon.set(key, want);
        this.#conclude(key, unplaced.get(key), open.get(key) ?? {});
        if (wasSettled === !this.#rolling.has(key) && !changed.has(key)) continue;
      }
      for (const other of this.#order.concernedBy(key)) this.mark(other);
    }
    observer.passed?.(keys.length, changes.length, clock.monotonic() - startedAt);
  }

  /** What to do for one service, or undefined when nothing can or need be done now. */
  #intend(key: string, open: Map<string, Open>, signal: AbortSignal): Intent | undefined {
    const { directory, book } = this.#options;
    const wish = directory.get(key);
    if (wish === undefined) return this.#orphan(key, signal);
    this.#gone.delete(key);
    const { identity, want } = wish;
    const placed = book.ofService(key);
    if (want.type === 'invalid') return undefined;
    if (want.type === 'remove') return { key, identity, steps: planRemoval(placed) };
    if (want.blocked !== undefined) {
      return { key, identity, run: want, steps: planBlocked(want.instances.replicas, placed) };
    }
    const order = this.#order.orderOf(key);
    const run = order === undefined ? want : underOrder(want, order);
    const view = {
      ...this.#outlook.view(key),
      undelivered: (p: Placed) => isUndelivered(p, want.bundle, this.#options.sealingKey?.(p.host)),
    };
    const once =
      run.instances.oneshot === undefined
        ? undefined
        : this.runs.plan(
            key,
            identity,
            run,
            this.rules.view(key, run, view),
            order?.waitsFor !== undefined || order?.stopped !== undefined,
          );
    const free = once ?? this.rules.plan(key, run, view);
    const plan = order === undefined ? { ...free, waits: false } : heldBack(free, order);
    const braked = this.#brake.apply(plan.steps, this.#options.clock.monotonic());
    const { steps } = braked;
    const held = braked.held ?? plan.fenced;
    if (plan.watches === true) this.#watching.add(key);
    else this.#watching.delete(key);
    open.set(key, {
      ...(plan.again === true ? { again: true } : {}),
      ...(plan.roll === undefined ? {} : { roll: plan.roll }),
      ...(held === undefined ? {} : { held }),
      ...(order !== undefined && (plan.waits || order.stopped !== undefined) ? { order } : {}),
      ...(once?.wakeInMs === undefined ? {} : { wakeInMs: once.wakeInMs }),
      ...(once?.record === undefined ? {} : { runRecord: once.record }),
    });
    return { key, identity, run, steps };
  }

  /** Records of a service without an object: they go when the API server itself says that there is none. */
  #orphan(key: string, signal: AbortSignal): Intent | undefined {
    const identity =
      this.#options.book.identityOf(key) ??
      this.#records.identityOf(key) ??
      this.runs.identityOf(key);
    if (identity === undefined) return undefined;
    if (this.#gone.delete(key)) {
      return { key, identity, steps: planRemoval(this.#options.book.ofService(key)) };
    }
    if (!this.#asking.has(key)) void this.#ask(key, identity, signal);
    return undefined;
  }

  /** Beside the passes, so that a slow API server holds nothing up. Never rejects. */
  async #ask(key: string, identity: ServiceIdentity, signal: AbortSignal): Promise<void> {
    this.#asking.add(key);
    try {
      if (await this.#options.confirmGone(identity, signal)) {
        this.#gone.add(key);
        this.mark(key);
        return;
      }
    } catch (error) {
      if (signal.aborted) return;
      this.#options.log.warn(
        { err: error, service: key },
        'cannot tell whether a service still exists; its instances are kept',
      );
    } finally {
      this.#asking.delete(key);
    }
    if (!signal.aborted) this.#markAfter(key, confirmAgainMs);
  }

  /** Records of services, and of their runs, that have to be written or removed: those of one service together. */
  #recordChanges(intents: readonly Intent[], open: ReadonlyMap<string, Open>): Change[] {
    return intents.flatMap((intent) => {
      const { key } = intent;
      const record = this.#records.change(intent);
      const operations = [record, this.#runChange(intent, open.get(key))];
      const writes = operations.filter((operation) => operation !== undefined);
      if (writes.length === 0) return [];
      const change = { key, step: recordStep, conditions: [], operations: writes, touched: [] };
      if (record === undefined) return [change];
      const written = (): void => {
        if (intent.run?.addressed !== true) this.#released(record.key);
        this.#options.observer.recorded(key);
      };
      return [{ ...change, written }];
    });
  }

  #runChange({ key, identity, run }: Intent, open: Open | undefined): Operation | undefined {
    // One that is blocked, or waits for others, is left as it is known.
    const isOneshot = run?.instances.oneshot !== undefined;
    if (isOneshot && open?.runRecord === undefined) return undefined;
    return this.runs.change(key, identity, open?.runRecord);
  }

  #markPath(path: string): void {
    const key = serviceRecords.parsePath(path);
    if (key !== undefined) this.mark(serviceId(key));
  }

  /** An address is free that no host is told of any more. */
  #released(path: string): void {
    for (const waiting of this.#options.virtualIps.released(path)) this.#markPath(waiting);
  }

  async #write(changes: readonly Change[], signal: AbortSignal): Promise<void> {
    const { store, epoch, book, readiness, observer, log } = this.#options;
    const done = new Map<string, Change[]>();
    for (const batch of batches(changes)) {
      const conditions = batch.flatMap((change) => change.conditions);
      const operations = batch.flatMap((change) => change.operations);
      const result = await decide(store, epoch(), conditions, operations, signal);
      if (!result.committed) {
        log.warn(
          { services: [...new Set(batch.map((change) => change.key))] },
          'a record changed under a decision; deciding again',
        );
        for (const change of batch) {
          book.restore(change.touched);
          this.#records.forget(change.key);
          this.runs.forget(change.key);
          this.#markAfter(change.key, conflictRetryMs);
        }
        continue;
      }
      for (const change of batch) {
        change.written?.();
        if (change.deleted !== undefined) {
          book.delete(change.deleted, result.revision, true);
          readiness.forget(change.deleted);
        }
        if (change.put !== undefined) {
          book.put(change.put.key, change.put.path, result.revision, change.put.record);
        }
        if (change.step === recordStep) continue;
        const list = done.get(change.key);
        if (list === undefined) done.set(change.key, [change]);
        else list.push(change);
      }
    }
    for (const [key, list] of done) {
      for (const { step, host } of list) {
        log.debug({ service: key, step: step.type, reason: step.reason, host }, 'decided');
      }
      observer.decided(key, list);
      for (const follower of this.rules.followersOf(key)) this.mark(follower);
    }
    if ([...done.values()].flat().some(({ deleted }) => deleted !== undefined)) this.roomAppeared();
  }

  #conclude(key: string, unplaced: Unplaced | undefined, open: Open): void {
    if (open.again === true) this.mark(key);
    if (unplaced === undefined) this.#waiting.delete(key);
    else this.#waiting.add(key);
    if (open.roll === undefined) this.#rolling.delete(key);
    else if (!this.#rolling.has(key)) {
      this.#rolling.add(key);
      // The pass that began the update did not ask to be woken when something settles.
      this.mark(key);
    }
    if (open.held !== undefined) this.#markAfter(key, this.#brake.pauseMs);
    if (open.wakeInMs !== undefined) {
      // Instead of the timer of the last pass.
      this.#timers.replace(`run ${key}`, open.wakeInMs, () => {
        this.mark(key);
      });
    }
    const { roll, held, order } = open;
    if (unplaced === undefined && !roll && !held && !order) {
      this.#outcomes.delete(key);
    } else {
      this.#outcomes.set(key, {
        ...(unplaced === undefined ? {} : { unplaced }),
        ...(roll === undefined ? {} : { roll }),
        ...(held === undefined ? {} : { held }),
        ...(order === undefined ? {} : { order }),
      });
    }
    this.#options.observer.touched(key);
  }

  /** Nobody asks for the service any more. */
  #forget(key: string): void {
    for (const memory of [this.#outcomes, this.#actedUpon]) memory.delete(key);
    for (const book of [this.#records, this.runs]) book.forget(key);
    for (const set of [this.#waiting, this.#rolling, this.#watching]) set.delete(key);
  }

  #markAfter(key: string, delayMs: number): void {
    this.#timers.keep(`service ${key}`, delayMs, () => {
      this.mark(key);
    });
  }
}

/** Stands in a change for the writing of a service record. */
const recordStep: Step = { type: 'create', ordinal: 0, reason: 'ScaledUp' };

/** A write that is no decision about an instance. */
function bookkeeping(of: { readonly key: string; readonly operation: Operation }): Change {
  const { key, operation } = of;
  return { key, step: recordStep, conditions: [], operations: [operation], touched: [] };
}
