import { compareKeys } from '../key-order.ts';
import {
  CompactedError,
  LeaseLostError,
  StoreRefusedError,
  type CommitResult,
  type Condition,
  type Entry,
  type Listing,
  type ListOptions,
  type Operation,
  type Revision,
  type StoreEvent,
} from '../store.ts';

/** All events of one revision, in the order of the transaction's operations. */
export interface Change {
  readonly revision: Revision;
  readonly events: readonly (StoreEvent & { readonly previous?: Entry })[];
}

/** What a key was from `revision` on; `entry` undefined: it was absent. */
interface Version {
  readonly revision: Revision;
  readonly entry: Entry | undefined;
}

/** etcd's default `--max-txn-ops`; one condition is kept for the store's own use (see etcd/txn.ts). */
export const maxOperations = 128;
export const maxConditions = 127;
/** etcd's default `--max-request-bytes`. */
const maxRequestBytes = 1.5 * 1024 * 1024;

/**
 * The server side of the in-process store: multi-version records with etcd's rules. Synchronous, knows
 * no time; leases are ids whose life somebody else decides on.
 */
export class MemoryDatabase {
  /** etcd's empty store is at revision 1, too. */
  #revision: Revision = 1n;
  #compacted: Revision = 0n;
  #changes: Change[] = [];
  readonly #versions = new Map<string, Version[]>();
  readonly #leases = new Map<string, Set<string>>();
  #sortedKeys: readonly string[] | undefined;
  #nextLease = 1;
  readonly #listeners = new Set<() => void>();

  get revision(): Revision {
    return this.#revision;
  }

  get compactRevision(): Revision {
    return this.#compacted;
  }

  get(key: string): Entry | undefined {
    return this.#versions.get(key)?.at(-1)?.entry;
  }

  list(prefix: string, options: ListOptions = {}): Listing {
    const revision = options.revision ?? this.#revision;
    if (revision > this.#revision) {
      throw new StoreRefusedError(`revision ${revision} is in the future`);
    }
    if (revision < this.#compacted) throw new CompactedError(this.#compacted);
    const limit = options.limit ?? Number.POSITIVE_INFINITY;
    const entries: Entry[] = [];
    for (const key of this.#keys()) {
      if (!key.startsWith(prefix)) continue;
      if (options.after !== undefined && compareKeys(key, options.after) <= 0) continue;
      const entry = this.#versions.get(key)?.findLast((v) => v.revision <= revision)?.entry;
      if (entry === undefined) continue;
      if (entries.length >= limit) return { entries, revision, more: true };
      entries.push(entry);
    }
    return { entries, revision, more: false };
  }

  commit(conditions: readonly Condition[], operations: readonly Operation[]): CommitResult {
    this.#validate(conditions, operations);
    if (!conditions.every((condition) => this.#holds(condition))) {
      const current = new Map(conditions.map(({ key }) => [key, this.get(key)]));
      return { committed: false, revision: this.#revision, current };
    }
    return { committed: true, revision: this.#apply(operations) };
  }

  /** Changes of `from` and later. CompactedError when some of them are gone. */
  changesSince(from: Revision): readonly Change[] {
    if (from <= this.#compacted) throw new CompactedError(this.#compacted);
    const first = this.#changes.findIndex((change) => change.revision >= from);
    return first === -1 ? [] : this.#changes.slice(first);
  }

  /** Forgets history: reads before `revision` and events of it and before fail from now on. */
  compact(revision: Revision): void {
    if (revision > this.#revision) throw new StoreRefusedError('revision is in the future');
    this.#compacted = revision > this.#compacted ? revision : this.#compacted;
    this.#changes = this.#changes.filter((change) => change.revision > this.#compacted);
    for (const [key, versions] of this.#versions) {
      const base = versions.findLastIndex((version) => version.revision <= this.#compacted);
      if (base > 0) versions.splice(0, base);
      if (versions.length === 1 && versions[0]?.entry === undefined) {
        this.#versions.delete(key);
        this.#sortedKeys = undefined;
      }
    }
    this.#notify();
  }

  createLease(): string {
    const id = String(this.#nextLease++);
    this.#leases.set(id, new Set());
    return id;
  }

  hasLease(id: string): boolean {
    return this.#leases.has(id);
  }

  /** Expiry and revocation are the same: all keys of the lease go in one revision. */
  dropLease(id: string): void {
    const keys = this.#leases.get(id);
    if (keys === undefined) return;
    this.#apply([...keys].sort(compareKeys).map((key) => ({ type: 'delete', key })));
    this.#leases.delete(id);
  }

  /** Calls `listener` after every change of the data or of the history; the returned function stops that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #validate(conditions: readonly Condition[], operations: readonly Operation[]): void {
    if (operations.length > maxOperations || conditions.length > maxConditions) {
      throw new StoreRefusedError('too many operations in one transaction');
    }
    if (new Set(operations.map(({ key }) => key)).size < operations.length) {
      throw new StoreRefusedError('duplicate key in one transaction');
    }
    if (operations.some(({ key }) => key === '')) throw new StoreRefusedError('key is empty');
    let bytes = 0;
    for (const op of operations) {
      bytes += Buffer.byteLength(op.key) + (op.type === 'put' ? Buffer.byteLength(op.value) : 0);
    }
    if (bytes > maxRequestBytes) throw new StoreRefusedError('request is too large');
  }

  #holds(condition: Condition): boolean {
    const entry = this.get(condition.key);
    if (condition.type === 'absent') return entry === undefined;
    if (condition.type === 'present') return entry !== undefined;
    return (entry?.modRevision ?? 0n) === condition.modRevision;
  }

  #apply(operations: readonly Operation[]): Revision {
    for (const op of operations) {
      if (op.type === 'put' && op.lease !== undefined && !this.#leases.has(op.lease)) {
        throw new LeaseLostError(`lease ${op.lease} is not known to the store`);
      }
    }
    const revision = this.#revision + 1n;
    const events: StoreEvent[] = [];
    for (const op of operations) {
      const previous = this.get(op.key);
      if (op.type === 'delete' && previous === undefined) continue;
      const entry = op.type === 'put' ? written(op, previous, revision) : undefined;
      if (previous?.lease !== undefined) this.#leases.get(previous.lease)?.delete(op.key);
      if (entry?.lease !== undefined) this.#leases.get(entry.lease)?.add(op.key);
      this.#record(op.key, { revision, entry });
      const before = previous === undefined ? {} : { previous };
      events.push(
        entry === undefined
          ? { type: 'delete', key: op.key, revision, ...before }
          : { type: 'put', entry, ...before },
      );
    }
    if (events.length === 0) return this.#revision;
    this.#revision = revision;
    this.#changes.push({ revision, events });
    this.#notify();
    return revision;
  }

  #record(key: string, version: Version): void {
    const versions = this.#versions.get(key);
    if (versions !== undefined) {
      versions.push(version);
      return;
    }
    this.#versions.set(key, [version]);
    this.#sortedKeys = undefined;
  }

  /** Every key that has a version in the history, in key order. */
  #keys(): readonly string[] {
    this.#sortedKeys ??= [...this.#versions.keys()].sort(compareKeys);
    return this.#sortedKeys;
  }

  #notify(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}

function written(
  op: Extract<Operation, { type: 'put' }>,
  previous: Entry | undefined,
  revision: Revision,
): Entry {
  return {
    key: op.key,
    value: op.value,
    createRevision: previous?.createRevision ?? revision,
    modRevision: revision,
    ...(op.lease === undefined ? {} : { lease: op.lease }),
  };
}
