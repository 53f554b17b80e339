/**
 * The contract between nap and the place where it keeps records: an ordered key-value store with
 * revisions, conditional transactions, leases and loss-free watches. `etcd/` is the real one,
 * `memory/` behaves the same inside one process; both pass the same test suite.
 */

/** A point in the store's history. Grows by one with every committed transaction that writes; never reused. */
export type Revision = bigint;

/** One key as it stood at some revision. */
export interface Entry {
  readonly key: string;
  readonly value: string;
  /** Revision in which the key was created (since it was last absent). */
  readonly createRevision: Revision;
  /** Revision of the last write to the key. */
  readonly modRevision: Revision;
  /** Id of the lease that the key rides on, if any. */
  readonly lease?: string;
}

/** What must hold for a transaction to write. All conditions of a transaction must hold. */
export type Condition =
  | { readonly type: 'absent'; readonly key: string }
  | { readonly type: 'present'; readonly key: string }
  | { readonly type: 'unchanged'; readonly key: string; readonly modRevision: Revision };

/** One write of a transaction. A key may appear in at most one operation of a transaction. */
export type Operation =
  | { readonly type: 'put'; readonly key: string; readonly value: string; readonly lease?: string }
  | { readonly type: 'delete'; readonly key: string };

export type CommitResult =
  /** All operations were applied, together, at `revision`. */
  | { readonly committed: true; readonly revision: Revision }
  /**
   * Nothing was applied. `current` has the present state of every key named in a condition (`undefined`
   * for an absent key): the caller sees who won.
   */
  | {
      readonly committed: false;
      readonly revision: Revision;
      readonly current: ReadonlyMap<string, Entry | undefined>;
    };

/** A change as a watch reports it. */
export type StoreEvent =
  | { readonly type: 'put'; readonly entry: Entry; readonly previous?: Entry }
  /** `revision` is that of the deletion; `previous` the last state, when the store still knows it. */
  | {
      readonly type: 'delete';
      readonly key: string;
      readonly revision: Revision;
      readonly previous?: Entry;
    };

/**
 * What a watch yields. The first batch is a snapshot (unless `from` was given). A later snapshot
 * means that continuity was lost (compaction, long outage): the receiver replaces all it
 * knew. Events arrive in revision order, each exactly once between two snapshots, and all events
 * of one revision arrive in one batch. `progress` says that every change up to `revision` was delivered.
 */
export type WatchBatch =
  | { readonly type: 'snapshot'; readonly entries: readonly Entry[]; readonly revision: Revision }
  | { readonly type: 'events'; readonly events: readonly StoreEvent[]; readonly revision: Revision }
  | { readonly type: 'progress'; readonly revision: Revision };

export interface WatchOptions {
  /**
   * Start with the events of this revision, without a snapshot. Such a watch never yields a snapshot: it
   * throws CompactedError when the events that come next are gone, at the start or after an outage.
   */
  readonly from?: Revision;
  /** Ask for `previous` in events (costs the server a read for each). Default false. */
  readonly withPrevious?: boolean;
  /**
   * Told whenever the connection behind the watch comes up (true) or breaks (false). While it is
   * down, what the receiver knows may be out of date. Must not throw.
   */
  readonly onConnection?: (connected: boolean) => void;
}

export interface ListOptions {
  /** Read as of this revision. CompactedError when it is gone. Default: now. */
  readonly revision?: Revision;
  /** At most this many entries, in key order. Default: all (read in pages). */
  readonly limit?: number;
  /** Only keys after this one. */
  readonly after?: string;
}

export interface Listing {
  /** In ascending key order (byte order). */
  readonly entries: readonly Entry[];
  /** The revision at which the listing was read. */
  readonly revision: Revision;
  /** Whether `limit` cut entries off. */
  readonly more: boolean;
}

/**
 * A lease held by this process. Keys written with its id vanish when it expires.
 * The holder is warned before the server forgets it: `lost` aborts at
 * (send time of the last acknowledged renewal) + TTL − margin, by the local monotonic clock.
 */
export interface Lease {
  readonly id: string;
  readonly ttlMs: number;
  /** Aborts when the lease can no longer be proved alive, or was released. Never un-aborts: take a new lease. */
  readonly lost: AbortSignal;
  /** Milliseconds for which the lease is still proved alive; 0 once lost. */
  remainingMs(): number;
  /** Throws LeaseLostError unless the lease is proved alive. Call before every action that it licenses. */
  assertAlive(): void;
  /** Stops renewing and revokes it on the server at once (best effort): its keys go. */
  release(signal?: AbortSignal): Promise<void>;
  /** Stops renewing without revoking: its keys live until the TTL has run out (used by a planned restart). */
  abandon(): void;
}

export interface Store {
  get(key: string, signal?: AbortSignal): Promise<Entry | undefined>;
  /** Every key that starts with `prefix`. */
  list(prefix: string, options?: ListOptions, signal?: AbortSignal): Promise<Listing>;
  /**
   * Applies all operations or none. A retry after a broken connection is resolved by re-reading, so
   * `committed: false` means that somebody else changed a condition. Throws UnavailableError when
   * the outcome cannot be learned, LeaseLostError when an operation names a lease that is gone. At most
   * 128 operations (etcd's default `--max-txn-ops`) and 127 conditions. `unchanged` with modRevision 0
   * is the same as `absent`.
   */
  commit(
    conditions: readonly Condition[],
    operations: readonly Operation[],
    signal?: AbortSignal,
  ): Promise<CommitResult>;
  /**
   * Follows every key under `prefix` until `signal` aborts (then it returns quietly). Reconnects by
   * itself for ever, with backoff.
   */
  watch(prefix: string, options: WatchOptions, signal: AbortSignal): AsyncIterable<WatchBatch>;
  /** Takes a lease of `ttlMs` (whole seconds, at least 2 s) and keeps it alive. */
  grantLease(ttlMs: number, signal?: AbortSignal): Promise<Lease>;
  /** Lets go of all connections. Leases that are still held are abandoned. */
  close(): Promise<void>;
}

/** The store could not be reached, or did not answer in time. Retrying is right; the outcome of a write is unknown. */
export class UnavailableError extends Error {
  override readonly name = 'UnavailableError';
  readonly retryable = true;
}

/** The revision asked for has been compacted away. Take a fresh snapshot. */
export class CompactedError extends Error {
  override readonly name = 'CompactedError';
  readonly retryable = false;
  readonly compactRevision: Revision;
  constructor(compactRevision: Revision) {
    super(`revision compacted; the oldest one is ${compactRevision}`);
    this.compactRevision = compactRevision;
  }
}

/** The lease is lost or can no longer be proved alive. Whoever acted under it must stop. */
export class LeaseLostError extends Error {
  override readonly name = 'LeaseLostError';
  readonly retryable = false;
}

/** The store refused the request for good (too large, out of space, permission). */
export class StoreRefusedError extends Error {
  override readonly name = 'StoreRefusedError';
  readonly retryable = false;
}
