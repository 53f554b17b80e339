import { setMaxListeners } from 'node:events';
import { systemClock, type Clock } from '../../runtime/clock.ts';
import {
  StoreRefusedError,
  UnavailableError,
  type CommitResult,
  type Condition,
  type Entry,
  type Lease,
  type Listing,
  type ListOptions,
  type Operation,
  type Store,
  type WatchBatch,
  type WatchOptions,
} from '../store.ts';
import { MemoryDatabase } from './database.ts';
import { MemoryLease } from './lease.ts';
import { watchDatabase } from './watch.ts';

export interface MemoryStoreOptions {
  /** Shared by all stores that shall see the same records. Default: an empty one of its own. */
  readonly database?: MemoryDatabase;
  /** Decides on the life of leases. Default: the machine's clock. */
  readonly clock?: Clock;
}

/**
 * The Store contract inside one process, with etcd's rules: history, compaction, leases, watches. A
 * test double with switches for faults, one connection per object: give several of them one
 * `database` to play several processes.
 */
export class MemoryStore implements Store {
  readonly database: MemoryDatabase;
  readonly #clock: Clock;
  readonly #closed = new AbortController();
  readonly #leases = new Set<MemoryLease>();
  readonly #connectionListeners = new Set<() => void>();
  #failure: Error | undefined;
  #connected = true;
  #loseAnswers = 0;

  /** Called before each commit is applied: the place to let somebody else win a race. */
  beforeCommit:
    | ((conditions: readonly Condition[], operations: readonly Operation[]) => void | Promise<void>)
    | undefined;

  constructor(options: MemoryStoreOptions = {}) {
    this.database = options.database ?? new MemoryDatabase();
    this.#clock = options.clock ?? systemClock;
    setMaxListeners(0, this.#closed.signal);
  }

  /** From now on every call rejects with `error`; watches and renewals go on. `undefined` ends that. */
  failWith(error: Error | undefined): void {
    this.#failure = error;
  }

  /** The line is cut: calls reject with UnavailableError, watches stand still, leases are not renewed. */
  disconnect(): void {
    this.#connected = false;
    for (const listener of [...this.#connectionListeners]) listener();
  }

  /** Undoes `disconnect()`: watches continue where they stood. */
  reconnect(): void {
    this.#connected = true;
    for (const listener of [...this.#connectionListeners]) listener();
  }

  /** The next `count` commits are applied, but their callers get UnavailableError. */
  loseAnswers(count: number): void {
    this.#loseAnswers = count;
  }

  /** Forgets history up to `revision` (default: all of it). Watches that are behind get a fresh snapshot. */
  compact(revision = this.database.revision): void {
    this.database.compact(revision);
  }

  async get(key: string, signal?: AbortSignal): Promise<Entry | undefined> {
    await this.#enter(signal);
    return this.database.get(key);
  }

  async list(prefix: string, options: ListOptions = {}, signal?: AbortSignal): Promise<Listing> {
    await this.#enter(signal);
    return this.database.list(prefix, options);
  }

  async commit(
    conditions: readonly Condition[],
    operations: readonly Operation[],
    signal?: AbortSignal,
  ): Promise<CommitResult> {
    await this.#enter(signal);
    await this.beforeCommit?.(conditions, operations);
    const result = this.database.commit(conditions, operations);
    if (this.#loseAnswers > 0) {
      this.#loseAnswers--;
      throw new UnavailableError('the answer was lost');
    }
    return result;
  }

  watch(prefix: string, options: WatchOptions, signal: AbortSignal): AsyncIterable<WatchBatch> {
    return watchDatabase(this.database, prefix, options, signal, {
      closed: this.#closed.signal,
      connected: () => this.#connected,
      onChange: (listener) => {
        this.#connectionListeners.add(listener);
        return () => this.#connectionListeners.delete(listener);
      },
    });
  }

  async grantLease(ttlMs: number, signal?: AbortSignal): Promise<Lease> {
    await this.#enter(signal);
    const ttl = Math.max(2000, Math.ceil(ttlMs / 1000) * 1000);
    const lease = new MemoryLease(this.database, ttl, this.#clock, () => this.#connected);
    this.#leases.add(lease);
    lease.lost.addEventListener('abort', () => this.#leases.delete(lease), { once: true });
    return lease;
  }

  close(): Promise<void> {
    this.#closed.abort(new StoreRefusedError('the store is closed'));
    for (const lease of [...this.#leases]) lease.abandon();
    return Promise.resolve();
  }

  /** Answers come in a later turn of the event loop, as they would from a network. */
  async #enter(signal: AbortSignal | undefined): Promise<void> {
    this.#closed.signal.throwIfAborted();
    signal?.throwIfAborted();
    await Promise.resolve();
    if (this.#failure !== undefined) throw this.#failure;
    if (!this.#connected) throw new UnavailableError('the store cannot be reached');
  }
}
