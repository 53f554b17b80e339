import type { Clock } from '../runtime/clock.ts';
import type { Logger } from '../telemetry/log.ts';
import {
  RecordCache,
  type BrokenRecord,
  type CacheChange,
  type CachedRecord,
} from './record-cache.ts';
import type { RecordKind } from './records/index.ts';
import type { Revision, Store, WatchBatch } from './store.ts';

/** What a RecordWatch reads from. */
export type RecordSource = Pick<Store, 'watch' | 'list'>;

export interface RecordWatchOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** Follow only this part of the family: one host's records, one record's path. Default: `kind.prefix`. */
  readonly prefix?: string;
  /** Called after each batch that changed something, and after every snapshot. Must not throw. */
  readonly onChange?: (change: CacheChange) => void;
  /** Called once for each unreadable version of a record, besides a log line. For a counter. */
  readonly onBroken?: (broken: BrokenRecord) => void;
}

/**
 * The records of one family as they are in the store, kept up to date for as long as `run` runs. Static
 * stability: while the store cannot be reached the last known records stay, and `staleMs` tells since when
 * they may be out of date.
 */
export class RecordWatch<Key, Value> {
  readonly #store: RecordSource;
  readonly #kind: RecordKind<Key, Value>;
  readonly #options: RecordWatchOptions;
  readonly #cache: RecordCache<Key, Value>;
  readonly #waiting = new Set<() => void>();
  readonly #listeners = new Set<(change: CacheChange) => void>();
  #isSynced = false;
  /** Monotonic time; undefined while connected. */
  #staleSince: number | undefined;

  constructor(store: RecordSource, kind: RecordKind<Key, Value>, options: RecordWatchOptions) {
    this.#store = store;
    this.#kind = kind;
    this.#options = options;
    this.#staleSince = options.clock.monotonic();
    this.#cache = new RecordCache(kind, (broken) => {
      this.#reportBroken(broken);
    });
    if (options.onChange !== undefined) this.#listeners.add(options.onChange);
  }

  /** By path; live. */
  get records(): ReadonlyMap<string, CachedRecord<Key, Value>> {
    return this.#cache.records;
  }

  /** Records that are there but unreadable, by path; live. */
  get broken(): ReadonlyMap<string, BrokenRecord> {
    return this.#cache.broken;
  }

  get(key: Key): CachedRecord<Key, Value> | undefined {
    return this.#cache.get(key);
  }

  /** Whether the records have been read at least once. */
  get synced(): boolean {
    return this.#isSynced;
  }

  /** Every change up to here is in `records`. */
  get revision(): Revision {
    return this.#cache.revision;
  }

  /** Milliseconds for which changes may have gone unseen; 0 while connected. */
  staleMs(): number {
    if (this.#staleSince === undefined) return 0;
    // Never 0 while disconnected: callers test for that.
    return Math.max(1, this.#options.clock.monotonic() - this.#staleSince);
  }

  /** Resolves when the records have been read for the first time; rejects when `signal` aborts before. */
  whenSynced(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      if (this.#isSynced) {
        resolve();
        return;
      }
      const ready = (): void => {
        signal?.removeEventListener('abort', abort);
        resolve();
      };
      const abort = (): void => {
        this.#waiting.delete(ready);
        const reason: unknown = signal?.reason;
        reject(reason instanceof Error ? reason : new Error('aborted'));
      };
      this.#waiting.add(ready);
      signal?.addEventListener('abort', abort, { once: true });
    });
  }

  /** Like `onChange`; the returned function ends it. */
  subscribe(listener: (change: CacheChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Follows the store until `signal` aborts. Rejects when the store is closed meanwhile. Call once. */
  async run(signal: AbortSignal): Promise<void> {
    const onConnection = (connected: boolean): void => {
      if (connected) this.#staleSince = undefined;
      else this.#staleSince ??= this.#options.clock.monotonic();
    };
    try {
      for await (const batch of this.#store.watch(this.#prefix, { onConnection }, signal)) {
        this.#take(batch);
        this.#isSynced = true;
        for (const ready of this.#waiting) ready();
        this.#waiting.clear();
      }
    } finally {
      onConnection(false);
    }
  }

  /**
   * Reads the records once more, so that everything written before this call is in `records` when it resolves. A watch
   * alone cannot tell: it may be a moment late. Call after `whenSynced`.
   */
  async catchUp(signal?: AbortSignal): Promise<void> {
    const { entries, revision } = await this.#store.list(this.#prefix, {}, signal);
    if (revision > this.#cache.revision) this.#take({ type: 'snapshot', entries, revision });
  }

  get #prefix(): string {
    return this.#options.prefix ?? this.#kind.prefix;
  }

  #take(batch: WatchBatch): void {
    const change = this.#cache.apply(batch);
    if (!change.resync && change.changed.size === 0) return;
    for (const listener of [...this.#listeners]) listener(change);
  }

  #reportBroken(broken: BrokenRecord): void {
    this.#options.log.warn(
      { path: broken.path, revision: String(broken.modRevision), problem: broken.problem },
      'a record in the registry is unreadable; it is left out',
    );
    this.#options.onBroken?.(broken);
  }
}
