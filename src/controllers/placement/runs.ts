import { equalJson } from '../../api/json.ts';
import { serviceId, type ServiceIdentity } from '../../api/v1alpha1/names.ts';
import type { CachedRecord } from '../../registry/record-cache.ts';
import { runRecords, type RunRecord } from '../../registry/records/run.ts';
import type { Operation } from '../../registry/store.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { ServiceWish } from '../service/desired.ts';
import type { InstanceBook, PlacementBook } from './book.ts';
import { parseOrdinals } from './ordinals.ts';
import { planRun, type RunPlan } from './run-plan.ts';
import { verdictOf, type Verdict } from './run-state.ts';
import type { PlacementView } from './types.ts';

type Run = Extract<ServiceWish['want'], { type: 'run' }>;

/** Run records as the registry has them, by path. */
export type CachedRuns = ReadonlyMap<string, CachedRecord<ServiceIdentity, RunRecord>>;

/** How the present run of a oneshot stands, for whoever wants to know. */
export interface RunFacts {
  readonly verdict: Verdict;
  /** Absent: it has not begun, or was made elsewhere. */
  readonly record?: RunRecord;
  /** Numbers of the instances that have succeeded. */
  readonly succeeded: ReadonlySet<number>;
  /** Numbers of those that have failed and have not succeeded since. */
  readonly failed: ReadonlySet<number>;
}

export interface RunSources {
  readonly book: PlacementBook;
  readonly instances: InstanceBook;
  readonly records: CachedRuns;
  readonly clock: Clock;
}

/** What is known of the runs of oneshots: the registry's records, and what this operator has written since. */
export class RunBook {
  readonly #from: RunSources;
  /** As last written by us; undefined: removed. */
  readonly #written = new Map<string, RunRecord | undefined>();
  readonly #active = new Set<string>();

  constructor(from: RunSources) {
    this.#from = from;
  }

  /** The plan for a service that runs to its end. @param waits others have to come first */
  plan(
    key: string,
    identity: ServiceIdentity,
    run: Run,
    view: PlacementView,
    waits: boolean,
  ): RunPlan {
    const { book, instances, clock } = this.#from;
    const { oneshot } = run.instances;
    if (oneshot === undefined) throw new TypeError(`${key} is no oneshot`);
    const plan = planRun(run.instances, oneshot, book.ofService(key), {
      ...view,
      reported: (placed) => instances.of(key, placed),
      record: this.#recordOf(key, identity),
      waits,
      nowMs: clock.now(),
    });
    if (plan.verdict.type === 'running') this.#active.add(key);
    else this.#active.delete(key);
    return plan;
  }

  /** Whether what agents say of its instances may be their end. */
  isActive(key: string): boolean {
    return this.#active.has(key);
  }

  /** What to write so that the record is this one; undefined: that there is none. */
  change(
    key: string,
    identity: ServiceIdentity,
    wanted: RunRecord | undefined,
  ): Operation | undefined {
    const path = runRecords.path(identity);
    const present = this.#recordOf(key, identity);
    if (wanted === undefined) {
      if (present === undefined && !this.#from.records.has(path)) return undefined;
      if (this.#written.has(key) && present === undefined) return undefined;
      this.#written.set(key, undefined);
      return { type: 'delete', key: path };
    }
    if (equalJson(present, wanted)) return undefined;
    this.#written.set(key, wanted);
    return { type: 'put', key: path, value: runRecords.encode(wanted) };
  }

  /** A write was refused, or nobody asks for the service any more: what the registry says counts. */
  forget(key: string): void {
    this.#written.delete(key);
    this.#active.delete(key);
  }

  /** How the present run of a service stands; undefined for one that does not run to its end. */
  facts(key: string, identity: ServiceIdentity, run: Run): RunFacts | undefined {
    const { oneshot, replicas, uid } = run.instances;
    if (oneshot === undefined) return undefined;
    if (oneshot.ran) {
      const all = Array.from({ length: replicas }, (_, index) => index + 1);
      return { verdict: { type: 'complete' }, succeeded: new Set(all), failed: new Set() };
    }
    const record = this.#recordOf(key, identity);
    // Of one that is blocked it cannot be told which run it would be; the last one is what there is.
    const isPresent = record?.run === oneshot.run || run.blocked !== undefined;
    if (record?.uid !== uid || !isPresent) {
      const verdict: Verdict = replicas === 0 ? { type: 'complete' } : { type: 'running' };
      return { verdict, succeeded: new Set(), failed: new Set() };
    }
    const succeeded = new Set([...parseOrdinals(record.succeeded)].filter((o) => o <= replicas));
    const failed = new Set(
      record.failures
        .map(({ ordinal }) => ordinal)
        .filter((o) => o <= replicas && !succeeded.has(o)),
    );
    const verdict = verdictOf(record, oneshot, replicas, this.#from.clock.now());
    return { verdict, record, succeeded, failed };
  }

  /** Of a service that nothing else is known of. */
  identityOf(key: string): ServiceIdentity | undefined {
    for (const record of this.#from.records.values()) {
      if (serviceId(record.key) === key) return record.key;
    }
    return undefined;
  }

  #recordOf(key: string, identity: ServiceIdentity): RunRecord | undefined {
    return this.#written.has(key)
      ? this.#written.get(key)
      : this.#from.records.get(runRecords.path(identity))?.value;
  }
}
