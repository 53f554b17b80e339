import type { RecordKind } from './records/index.ts';
import type { Entry, Revision, StoreEvent, WatchBatch } from './store.ts';

/** One decoded record and where it stands. */
export interface CachedRecord<Key, Value> {
  readonly path: string;
  readonly key: Key;
  readonly value: Value;
  /** Revision of the write that `value` came from. */
  readonly modRevision: Revision;
  readonly lease?: string;
}

/** A record that is there but cannot be read. */
export interface BrokenRecord {
  readonly path: string;
  readonly modRevision: Revision;
  /** Why, for people. */
  readonly problem: string;
}

/** What a batch did to the cache. */
export interface CacheChange {
  /** Paths of records that appeared, changed, vanished, broke or were mended. */
  readonly changed: ReadonlySet<string>;
  readonly revision: Revision;
  /** After a snapshot: continuity was lost, so `changed` is a difference, not a history. */
  readonly resync: boolean;
}

/**
 * The present records of one family, decoded, kept up to date by the batches of a watch. No I/O.
 *
 * A broken record disturbs no other. If it was readable before, its last readable value stays
 * (nothing that runs is to be stopped because something could not be read); `broken` has it in any case, so that a caller can
 * tell "gone" from "unreadable".
 */
export class RecordCache<Key, Value> {
  readonly #kind: RecordKind<Key, Value>;
  readonly #onBroken: (broken: BrokenRecord) => void;
  readonly #records = new Map<string, CachedRecord<Key, Value>>();
  readonly #broken = new Map<string, BrokenRecord>();
  #revision: Revision = 0n;

  /** @param onBroken told once for each unreadable version of a record. */
  constructor(kind: RecordKind<Key, Value>, onBroken: (broken: BrokenRecord) => void) {
    this.#kind = kind;
    this.#onBroken = onBroken;
  }

  /** By path. */
  get records(): ReadonlyMap<string, CachedRecord<Key, Value>> {
    return this.#records;
  }

  /** By path. */
  get broken(): ReadonlyMap<string, BrokenRecord> {
    return this.#broken;
  }

  /** Every change up to here is in the cache. 0 before the first batch. */
  get revision(): Revision {
    return this.#revision;
  }

  get(key: Key): CachedRecord<Key, Value> | undefined {
    return this.#records.get(this.#kind.path(key));
  }

  apply(batch: WatchBatch): CacheChange {
    const changed = new Set<string>();
    if (batch.type === 'snapshot') {
      this.#replace(batch.entries, changed);
      this.#revision = batch.revision;
    } else {
      const events = batch.type === 'events' ? batch.events : [];
      // A listing may have told of them already.
      const fresh = events.filter((event) => revisionOf(event) > this.#revision);
      for (const event of fresh) this.#event(event, changed);
      if (batch.revision > this.#revision) this.#revision = batch.revision;
    }
    return { changed, revision: this.#revision, resync: batch.type === 'snapshot' };
  }

  #replace(entries: readonly Entry[], changed: Set<string>): void {
    const present = new Set(entries.map(({ key }) => key));
    for (const path of [...this.#records.keys(), ...this.#broken.keys()]) {
      if (!present.has(path)) this.#remove(path, changed);
    }
    for (const entry of entries) this.#put(entry, changed);
  }

  #event(event: StoreEvent, changed: Set<string>): void {
    if (event.type === 'put') this.#put(event.entry, changed);
    else this.#remove(event.key, changed);
  }

  #remove(path: string, changed: Set<string>): void {
    const had = this.#records.delete(path);
    if (this.#broken.delete(path) || had) changed.add(path);
  }

  #put(entry: Entry, changed: Set<string>): void {
    const path = entry.key;
    const known = this.#broken.get(path) ?? this.#records.get(path);
    if (known?.modRevision === entry.modRevision) return;
    changed.add(path);
    const key = this.#kind.parsePath(path);
    if (key === undefined) {
      this.#break(entry, `the path is not that of a ${this.#kind.name} record`);
      return;
    }
    let value: Value;
    try {
      value = this.#kind.decode(entry.value);
    } catch (error) {
      this.#break(entry, error instanceof Error ? error.message : String(error));
      return;
    }
    this.#broken.delete(path);
    this.#records.set(path, {
      path,
      key,
      value,
      modRevision: entry.modRevision,
      ...(entry.lease === undefined ? {} : { lease: entry.lease }),
    });
  }

  #break(entry: Entry, problem: string): void {
    const broken = { path: entry.key, modRevision: entry.modRevision, problem };
    this.#broken.set(entry.key, broken);
    this.#onBroken(broken);
  }
}

function revisionOf(event: StoreEvent): Revision {
  return event.type === 'put' ? event.entry.modRevision : event.revision;
}
