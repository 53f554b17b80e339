import {
  CompactedError,
  type Revision,
  type StoreEvent,
  type WatchBatch,
  type WatchOptions,
} from '../store.ts';
import type { Change, MemoryDatabase } from './database.ts';

/** The line between a watch and the database. */
export interface Connection {
  /** Aborts when the store is closed; its reason is what the watch throws. */
  readonly closed: AbortSignal;
  connected(): boolean;
  /** Calls `listener` when `connected()` changes; the returned function stops that. */
  onChange(listener: () => void): () => void;
}

/** Follows `prefix` in `database`: see Store.watch. */
export async function* watchDatabase(
  database: MemoryDatabase,
  prefix: string,
  options: WatchOptions,
  signal: AbortSignal,
  connection: Connection,
): AsyncGenerator<WatchBatch, void, undefined> {
  const bell = new Bell();
  const ring = (): void => {
    bell.ring();
  };
  const stop = [database.onChange(ring), connection.onChange(ring)];
  signal.addEventListener('abort', ring);
  connection.closed.addEventListener('abort', ring);
  let next: Revision | undefined = options.from;
  let announced: boolean | undefined;
  try {
    for (;;) {
      bell.reset();
      if (signal.aborted) return;
      connection.closed.throwIfAborted();
      const connected = connection.connected();
      if (connected !== announced) options.onConnection?.((announced = connected));
      const batch = connected ? read(database, prefix, options, next) : undefined;
      if (batch === undefined) {
        await bell.rung;
        continue;
      }
      next = batch.revision + 1n;
      yield batch;
    }
  } finally {
    for (const off of stop) off();
    signal.removeEventListener('abort', ring);
    connection.closed.removeEventListener('abort', ring);
  }
}

/** What is new at or after `next`, or undefined when nothing is. */
function read(
  database: MemoryDatabase,
  prefix: string,
  options: WatchOptions,
  next: Revision | undefined,
): WatchBatch | undefined {
  if (next === undefined) {
    const { entries, revision } = database.list(prefix);
    return { type: 'snapshot', entries, revision };
  }
  let changes: readonly Change[];
  try {
    changes = database.changesSince(next);
  } catch (error) {
    if (error instanceof CompactedError && options.from === undefined) {
      return read(database, prefix, options, undefined);
    }
    throw error;
  }
  const last = changes.at(-1);
  if (last === undefined) return undefined;
  const events = changes
    .flatMap((change) => change.events)
    .filter((event) => keyOf(event).startsWith(prefix))
    .map((event) => (options.withPrevious === true ? event : withoutPrevious(event)));
  return events.length === 0
    ? { type: 'progress', revision: last.revision }
    : { type: 'events', events, revision: last.revision };
}

function keyOf(event: StoreEvent): string {
  return event.type === 'put' ? event.entry.key : event.key;
}

function withoutPrevious(event: StoreEvent): StoreEvent {
  return event.type === 'put'
    ? { type: 'put', entry: event.entry }
    : { type: 'delete', key: event.key, revision: event.revision };
}

/** A wake-up that stays rung until `reset`. */
class Bell {
  rung: Promise<void> = Promise.resolve();
  #resolve: () => void = () => undefined;

  ring(): void {
    this.#resolve();
  }

  reset(): void {
    this.rung = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }
}
