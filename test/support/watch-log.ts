import type {
  Entry,
  Store,
  StoreEvent,
  WatchBatch,
  WatchOptions,
} from '../../src/registry/store.ts';
import { eventually } from './eventually.ts';

/** Runs a watch in the background and keeps all that it yields. */
export class WatchLog {
  readonly batches: WatchBatch[] = [];
  /** What `onConnection` said, in order. */
  readonly connections: boolean[] = [];
  /** What the watch threw. */
  failure: unknown;
  ended = false;
  readonly #abort = new AbortController();
  readonly #done: Promise<void>;

  constructor(store: Store, prefix: string, options: WatchOptions = {}) {
    const onConnection = (connected: boolean): void => {
      this.connections.push(connected);
      options.onConnection?.(connected);
    };
    const watch = store.watch(prefix, { ...options, onConnection }, this.#abort.signal);
    this.#done = this.#run(watch);
  }

  get snapshots(): Extract<WatchBatch, { type: 'snapshot' }>[] {
    return this.batches.filter((b) => b.type === 'snapshot');
  }

  get events(): StoreEvent[] {
    return this.batches.flatMap((b) => (b.type === 'events' ? b.events : []));
  }

  /** What a receiver that follows the rules knows now. */
  get state(): ReadonlyMap<string, Entry> {
    const state = new Map<string, Entry>();
    for (const batch of this.batches) {
      if (batch.type === 'snapshot') {
        state.clear();
        for (const entry of batch.entries) state.set(entry.key, entry);
      } else if (batch.type === 'events') {
        for (const event of batch.events) {
          if (event.type === 'put') state.set(event.entry.key, event.entry);
          else state.delete(event.key);
        }
      }
    }
    return state;
  }

  /** Waits until `condition` holds. */
  async until(what: string, condition: (log: this) => boolean, withinMs = 5_000): Promise<void> {
    await eventually(
      `${what}; the watch ended with: ${String(this.failure)}`,
      () => condition(this),
      withinMs,
    );
  }

  /** Aborts the watch and waits until it has returned. */
  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#done;
  }

  async #run(watch: AsyncIterable<WatchBatch>): Promise<void> {
    try {
      for await (const batch of watch) this.batches.push(batch);
    } catch (error) {
      this.failure = error;
    }
    this.ended = true;
  }
}
