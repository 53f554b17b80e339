import { equalJson } from '../../api/json.ts';
import { serviceRecords, type ServiceRecord } from '../../registry/records/service.ts';
import type { CachedRecord } from '../../registry/record-cache.ts';
import { decide } from '../../registry/decide.ts';
import type { Operation, Revision, Store } from '../../registry/store.ts';
import { parseSeat, seatKey } from '../../api/v1alpha1/seat.ts';
import { serviceId, type ServiceIdentity } from '../../api/v1alpha1/names.ts';
import type { Clock } from '../../runtime/clock.ts';
import { Trigger } from '../../runtime/trigger.ts';
import type { ClusterState } from '../../scheduler/index.ts';
import type { Logger } from '../../telemetry/log.ts';
import type { HostHealth } from '../host/health.ts';
import type { ServiceWish } from '../service/desired.ts';
import type { ServiceDirectory } from '../service/directory.ts';
import { allocate, type Change, type Intent, type Unplaced } from './allocate.ts';
import { batches } from './batch.ts';
import type { InstanceBook, PlacementBook } from './book.ts';
import { deliver, isUndelivered } from './delivery.ts';
import type { HomeSources } from './homes.ts';
import { heldBack, underOrder, type Order } from './order.ts';
import { OrderBook } from './order-book.ts';
import { planBlocked, planRemoval, type RollState, type Step } from './plan.ts';
import { instanceState, troubleOf, type Readiness } from './readiness.ts';
import type { InstanceState, Placed, PlacementView } from './types.ts';
import { PlacementRulesKeeper } from './rules.ts';
import { volumeChanges, type VolumeRecords } from './volumes.ts';

/** What the last pass over a service left open. */
export interface Outcome {
  readonly unplaced?: Unplaced;
  readonly roll?: RollState;
  /** Instances of lost hosts that are held back, with the reason. */
  readonly held?: { readonly count: number; readonly message: string };
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
}

/** Told what was decided; must not throw. */
export interface PlacementObserver {
  /** Decisions about one service were written. */
  decided(key: string, changes: readonly Change[]): void;
  /** The outcome for a service may have changed, or what is placed of it. */
  touched(key: string): void;
  passed?(services: number, changes: number, durationMs: number): void;
}

export interface PlacementLoopOptions {
  readonly store: Store;
  readonly epoch: Revision;
  readonly directory: ServiceDirectory;
  readonly book: PlacementBook;
  readonly instances: InstanceBook;
  readonly readiness: Readiness;
  readonly health: HostHealth;
  readonly state: ClusterState;
  /** Present service records, by path. */
  readonly serviceRecords: ReadonlyMap<string, CachedRecord<ServiceIdentity, ServiceRecord>>;
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
  readonly #timers = new Map<string, () => void>();
  /** Service records as last written by us. */
  readonly #written = new Map<string, ServiceRecord | undefined>();
  /** What rules mean for what is placed. */
  readonly rules: PlacementRulesKeeper;
  #lastRetry = -Infinity;
  #moves: { tokens: number; at: number };

  constructor(options: PlacementLoopOptions) {
    this.#options = options;
    const { state, book, directory, health, clock, volumeRecords, homeRecords } = options;
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
    this.#order = new OrderBook({
      book,
      instances: options.instances,
      wantOf: (key) => directory.get(key)?.want,
      stateOf: (key, placed) => this.stateOf(key, placed),
      isSettled: (key) =>
        this.#actedUpon.get(key) === directory.get(key)?.want && !this.#rolling.has(key),
    });
    this.#moves = { tokens: 1, at: options.clock.monotonic() };
  }

  /** Asks for a look at a service, by serviceId. Cheap. */
  mark(key: string): void {
    this.#dirty.add(key);
    this.#trigger.fire();
  }

  /** An instance of the service changed its state. */
  instanceChanged(key: string): void {
    if (this.#rolling.has(key) || this.#watching.has(key)) this.mark(key);
    for (const other of this.#order.concernedBy(key)) this.mark(other);
  }

  /**
   * A service record changed in the registry. What is not as we wrote it is written again.
   * @param record undefined: gone or unreadable
   */
  serviceRecordChanged(key: string, record: ServiceRecord | undefined): void {
    if (this.#written.has(key) && equalJson(this.#written.get(key), record)) return;
    this.#written.set(key, record);
    this.mark(key);
  }

  /** There may be room now where there was none. */
  roomAppeared(): void {
    if (this.#waiting.size === 0) return;
    const { clock, retryGapMs = 100 } = this.#options;
    const dueIn = this.#lastRetry + retryGapMs - clock.monotonic();
    if (dueIn > 0) {
      this.#wakeAfter('room', dueIn, () => {
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
    for (const record of this.#options.serviceRecords.values()) this.mark(serviceId(record.key));
  }

  /** What the last pass over the service acted upon; undefined: none yet. */
  actedUpon(key: string): ServiceWish['want'] | undefined {
    return this.#actedUpon.get(key);
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
      for (const cancel of this.#timers.values()) cancel();
      this.#timers.clear();
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
    await this.#write(
      [
        ...this.#recordChanges(intents),
        ...volumes.map(bookkeeping),
        ...this.rules.homeChanges(intents, delivered).map(bookkeeping),
        ...delivered,
      ],
      signal,
    );
    const changed = new Set(changes.map(({ key }) => key));
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
    const free = this.rules.plan(key, run, {
      ...this.#view(key),
      undelivered: (p) => isUndelivered(p, want.bundle, this.#options.sealingKey?.(p.host)),
    });
    const plan = order === undefined ? { ...free, waits: false } : heldBack(free, order);
    const { steps, held } = this.#brake(plan.steps);
    if (plan.watches === true) this.#watching.add(key);
    else this.#watching.delete(key);
    open.set(key, {
      ...(plan.again === true ? { again: true } : {}),
      ...(plan.roll === undefined ? {} : { roll: plan.roll }),
      ...(held === undefined ? {} : { held }),
      ...(order !== undefined && (plan.waits || order.stopped !== undefined) ? { order } : {}),
    });
    return { key, identity, run, steps };
  }

  /** Records of a service without an object: they go when the API server itself says that there is none. */
  #orphan(key: string, signal: AbortSignal): Intent | undefined {
    const identity = this.#options.book.identityOf(key) ?? this.#recordOf(key)?.key;
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

  #view(key: string): PlacementView {
    const { instances, readiness, health, clock } = this.#options;
    const now = clock.monotonic();
    let leaving: ReadonlySet<number> | undefined;
    return {
      lacksRoom: this.#waiting.has(key),
      state: (placed) => this.stateOf(key, placed),
      host: (name) => health.standing(name, now),
      misfit: () => undefined,
      trouble: (placed) => {
        const settlesIn = readiness.settlesInMs(placed.path, placed.record?.id ?? '', now);
        return settlesIn !== undefined ? undefined : troubleOf(instances.of(key, placed));
      },
      rested: (placed) => (this.#settlesIn(key, placed, true) ?? 0) === 0,
      leaving: (ordinal) => {
        leaving ??= this.#leaving(key);
        return leaving.has(ordinal);
      },
    };
  }

  /** How a placed instance stands; and a wake-up for when it will have settled, if an update waits for that. */
  stateOf(key: string, placed: Placed): InstanceState {
    const record = this.#options.instances.of(key, placed);
    return instanceState(placed, record, this.#settlesIn(key, placed, false));
  }

  /** As Readiness says it by the service's own policy; sets a wake-up if an update waits for that. */
  #settlesIn(key: string, placed: Placed, rest: boolean): number | undefined {
    const { instances, readiness, directory, clock } = this.#options;
    const want = directory.get(key)?.want;
    const policy = want?.type === 'run' ? want.instances.update : undefined;
    const id = placed.record?.id ?? instances.of(key, placed)?.id ?? '';
    const settlesIn = readiness.settlesInMs(placed.path, id, clock.monotonic(), policy, rest);
    if (settlesIn !== undefined && settlesIn > 0 && this.#rolling.has(key)) {
      this.#wakeAfter(`settled ${placed.path}${rest ? ' and rested' : ''}`, settlesIn, () => {
        this.mark(key);
      });
    }
    return settlesIn;
  }

  /** Ordinals of which some host still has an instance that is not placed there any more. */
  #leaving(key: string): ReadonlySet<number> {
    const { book, instances } = this.#options;
    const here = new Set(
      book.ofService(key).map((p) => `${p.host}/${seatKey(p.ordinal, p.second === true)}`),
    );
    const ordinals = new Set<number>();
    for (const { key: at } of instances.ofService(key)) {
      const seat = parseSeat(at.ordinal);
      if (seat !== undefined && !here.has(`${at.host}/${at.ordinal}`)) ordinals.add(seat.ordinal);
    }
    return ordinals;
  }

  /** While many hosts are lost at once, lets moves away from lost hosts through one by one. */
  #brake(steps: readonly Step[]): { steps: readonly Step[]; held?: NonNullable<Outcome['held']> } {
    const { health, book, clock, brakedMovesPerSecond = 1 } = this.#options;
    if (!steps.some(isMove)) return { steps };
    const now = clock.monotonic();
    const brake = health.brake(now, (host) => book.servicesOn(host).length > 0);
    if (brake === undefined) return { steps };
    const refill = ((now - this.#moves.at) * brakedMovesPerSecond) / 1000;
    this.#moves = { tokens: Math.min(1, this.#moves.tokens + refill), at: now };
    let count = 0;
    const allowed = steps.filter((step) => {
      if (!isMove(step)) return true;
      if (this.#moves.tokens >= 1) {
        this.#moves.tokens -= 1;
        return true;
      }
      count++;
      return false;
    });
    if (count === 0) return { steps };
    const message = `${brake.message}; moving ${String(brakedMovesPerSecond)} instance per second`;
    return { steps: allowed, held: { count, message } };
  }

  /** Service records that have to be written or removed. */
  #recordChanges(intents: readonly Intent[]): Change[] {
    const changes: Change[] = [];
    for (const intent of intents) {
      const path = serviceRecords.path(intent.identity);
      const present = this.#written.has(intent.key)
        ? this.#written.get(intent.key)
        : this.#options.serviceRecords.get(path)?.value;
      const wanted = intent.run?.record;
      if (equalJson(present, wanted)) continue;
      const exists = present !== undefined || this.#options.serviceRecords.has(path);
      if (wanted === undefined && !exists) continue;
      changes.push({
        key: intent.key,
        step: recordStep,
        conditions: [],
        operations: [
          wanted === undefined
            ? { type: 'delete', key: path }
            : { type: 'put', key: path, value: serviceRecords.encode(wanted) },
        ],
        touched: [],
      });
      this.#written.set(intent.key, wanted);
    }
    return changes;
  }

  async #write(changes: readonly Change[], signal: AbortSignal): Promise<void> {
    const { store, epoch, book, observer, log } = this.#options;
    const done = new Map<string, Change[]>();
    for (const batch of batches(changes)) {
      const conditions = batch.flatMap((change) => change.conditions);
      const operations = batch.flatMap((change) => change.operations);
      const result = await decide(store, epoch, conditions, operations, signal);
      if (!result.committed) {
        log.warn(
          { services: [...new Set(batch.map((change) => change.key))] },
          'a record changed under a decision; deciding again',
        );
        for (const change of batch) {
          book.restore(change.touched);
          this.#written.delete(change.key);
          this.#markAfter(change.key, conflictRetryMs);
        }
        continue;
      }
      for (const change of batch) {
        if (change.deleted !== undefined) book.delete(change.deleted, result.revision, true);
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
    if (open.held !== undefined)
      this.#markAfter(key, 1_000 / (this.#options.brakedMovesPerSecond ?? 1));
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
    for (const memory of [this.#outcomes, this.#actedUpon, this.#written]) memory.delete(key);
    for (const set of [this.#waiting, this.#rolling, this.#watching]) set.delete(key);
  }

  #recordOf(key: string): CachedRecord<ServiceIdentity, ServiceRecord> | undefined {
    for (const record of this.#options.serviceRecords.values()) {
      if (serviceId(record.key) === key) return record;
    }
    return undefined;
  }

  #markAfter(key: string, delayMs: number): void {
    this.#wakeAfter(`service ${key}`, delayMs, () => {
      this.mark(key);
    });
  }

  /** One timer for each name; the one that is set first stays. */
  #wakeAfter(name: string, delayMs: number, wake: () => void): void {
    if (this.#timers.has(name)) return;
    const cancel = this.#options.clock.schedule(() => {
      this.#timers.delete(name);
      wake();
    }, delayMs);
    this.#timers.set(name, cancel);
  }
}

/** Stands in a change for the writing of a service record. */
const recordStep: Step = { type: 'create', ordinal: 0, reason: 'ScaledUp' };

/** A write that is no decision about an instance. */
function bookkeeping(of: { readonly key: string; readonly operation: Operation }): Change {
  const { key, operation } = of;
  return { key, step: recordStep, conditions: [], operations: [operation], touched: [] };
}

function isMove(step: Step): boolean {
  return step.type === 'replace' && step.reason === 'HostLost';
}
