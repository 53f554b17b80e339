import type { Bonds } from '../../api/v1alpha1/bonds.ts';
import { serviceId, type ServiceIdentity } from '../../api/v1alpha1/names.ts';
import type { ServiceWish } from '../service/desired.ts';
import type { InstanceBook, PlacementBook } from './book.ts';
import { orderOf, type Neighbour, type Order } from './order.ts';
import type { RunFacts } from './runs.ts';
import type { InstanceState, Placed } from './types.ts';

type Run = Extract<ServiceWish['want'], { type: 'run' }>;

/** Where an OrderBook gets its knowledge. */
export interface OrderSources {
  readonly book: PlacementBook;
  readonly instances: InstanceBook;
  readonly wantOf: (key: string) => ServiceWish['want'] | undefined;
  readonly stateOf: (key: string, placed: Placed) => InstanceState;
  /** Whether the service's latest spec is acted upon and no update is under way. */
  readonly isSettled: (key: string) => boolean;
  /** Whether what is missing of the service cannot be made now: there is no room, or a config is missing. */
  readonly isHeld: (key: string) => boolean;
  /** How the run of a oneshot stands; undefined for what runs for ever. */
  readonly runOf: (key: string) => RunFacts | undefined;
}

/** Which services are bound to which, and what that means for each at this moment. */
export class OrderBook {
  readonly #from: OrderSources;
  readonly #heeded = new Map<
    string,
    { readonly bonds: Bonds; readonly others: ReadonlySet<string> }
  >();
  /** Service → those that have to look again when it changes. */
  readonly #concerned = new Map<string, Set<string>>();
  /** Service → those that exclude it. */
  readonly #excludedBy = new Map<string, Set<string>>();

  constructor(from: OrderSources) {
    this.#from = from;
  }

  /** Takes note of a service's bonds. @param run undefined: it is not to run any more */
  heed(key: string, identity: ServiceIdentity | undefined, run: Run | undefined): void {
    const before = this.#heeded.get(key);
    if (run !== undefined && before?.bonds === run.bonds) return;
    if (before !== undefined) {
      for (const other of before.others) {
        this.#concerned.get(other)?.delete(key);
        this.#excludedBy.get(other)?.delete(key);
      }
      this.#heeded.delete(key);
    }
    const bonds = run?.bonds;
    if (bonds === undefined || identity === undefined) return;
    const keyOf = (service: string): string => serviceId({ ...identity, service });
    const conflicts = (bonds.conflictsWith ?? []).map(keyOf);
    const others = new Set([
      ...Object.keys(bonds.dependsOn ?? {}).map(keyOf),
      ...[bonds.requires, bonds.wants, bonds.bindsTo, bonds.partOf]
        .flatMap((names) => names ?? [])
        .map(keyOf),
      ...conflicts,
    ]);
    this.#heeded.set(key, { bonds, others });
    for (const other of others) add(this.#concerned, other, key);
    for (const other of conflicts) add(this.#excludedBy, other, key);
  }

  /** Services that need a look when this one has changed in any way. */
  concernedBy(key: string): Iterable<string> {
    const own = this.#heeded.get(key)?.bonds.conflictsWith ?? [];
    const prefix = key.slice(0, key.lastIndexOf('/') + 1);
    return [...(this.#concerned.get(key) ?? []), ...own.map((service) => prefix + service)];
  }

  /** What the bonds of a service allow; undefined for one without any. */
  orderOf(key: string, visiting: ReadonlySet<string> = new Set()): Order | undefined {
    const bonds = this.#heeded.get(key)?.bonds;
    const excluding = [...(this.#excludedBy.get(key) ?? [])];
    if (bonds === undefined && excluding.length === 0) return undefined;
    const prefix = key.slice(0, key.lastIndexOf('/') + 1);
    const path = new Set([...visiting, key]);
    return orderOf(
      bonds ?? {},
      excluding.map((other) => other.slice(prefix.length)),
      (service) => this.#neighbour(prefix + service, path),
    );
  }

  #neighbour(key: string, visiting: ReadonlySet<string>): Neighbour {
    const { book, instances, wantOf, stateOf, isSettled, isHeld, runOf } = this.#from;
    const want = wantOf(key);
    const run = runOf(key);
    const placed = book.ofService(key);
    const asked = want?.type === 'run' ? want.instances.replicas : 0;
    // What is stopped by its own bonds is as good as scaled to 0.
    const order = visiting.has(key) ? undefined : this.orderOf(key, visiting);
    const isStopped = order?.stopped !== undefined;
    const replicas = isStopped ? 0 : asked;
    const counts = { running: 0, ready: 0, done: 0, failed: 0 };
    for (const p of placed) {
      if (p.ordinal > replicas || p.record?.beside === true) continue;
      const state = stateOf(key, p);
      const record = instances.of(key, p);
      // A data-only container is ready without ever running.
      const isUp = record?.phase === 'Running' || record?.ready === true;
      if (isUp && record.id === p.record?.id) counts.running++;
      if (state === 'ready' || state === 'settling') counts.ready++;
      if (state === 'done') counts.done++;
      if (state === 'failed') counts.failed++;
    }
    if (run !== undefined) {
      counts.done = run.succeeded.size;
      counts.failed = run.verdict.type === 'failed' ? replicas : run.failed.size;
    }
    const remains = want?.type === 'run' && want.instances.oneshot?.remains === true;
    if (remains) counts.ready = counts.done;
    // What has ended is only a container that does not run.
    const existing = placed.filter((p) => p.record?.finished !== true).length;
    const reported = instances
      .ofService(key)
      .filter(({ record }) => run === undefined || record.phase !== 'Exited').length;
    const first = placed.find((p) => p.ordinal === 1 && p.record?.beside !== true);
    return {
      exists: want?.type === 'run',
      replicas,
      settled: isSettled(key),
      held: isHeld(key) || order?.hopeless === true,
      ...counts,
      existing: Math.max(existing, reported),
      ...(run === undefined ? {} : { alive: existing + (remains ? counts.done : 0) }),
      token: first?.record?.id,
    };
  }
}

function add(map: Map<string, Set<string>>, key: string, value: string): void {
  const set = map.get(key);
  if (set === undefined) map.set(key, new Set([value]));
  else set.add(value);
}
