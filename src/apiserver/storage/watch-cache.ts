import type { Clock } from '../../runtime/clock.ts';
import type { Logger } from '../../telemetry/log.ts';
import type { Entry, Store, StoreEvent } from '../../registry/store.ts';
import { deferred } from '../deferred.ts';
import { expired } from '../errors/api-error.ts';
import type { CompiledSchema } from '../schema/types.ts';
import { storageOfKey, storagePrefix } from './keys.ts';
import { decodeEntry, withRevision, type StoredObject } from './stored-object.ts';

/** A change of one object. */
export interface ObjectEvent {
  readonly revision: bigint;
  /** State after the change; undefined for a deletion. */
  readonly current: StoredObject | undefined;
  /** State before the change; undefined for a creation. */
  readonly previous: StoredObject | undefined;
}

/** Receives events in revision order; `end` is called once when no more can be delivered without a gap. */
export interface Subscriber {
  event(event: ObjectEvent): void;
  end(why: 'gap' | 'unavailable' | 'closed'): void;
}

/** The events of one kind that a late watcher can still get. */
interface History {
  /** Every event after this revision is in `events`. */
  since: bigint;
  events: ObjectEvent[];
  /** Stored size of what `events` refers to. */
  bytes: number;
}

/** How many past events are kept for each kind, and how much stored text they may stand for. */
const historyEvents = 4096;
const historyBytes = 16 * 1024 * 1024;

export interface WatchCacheOptions {
  readonly store: Store;
  readonly log: Logger;
  readonly clock: Clock;
  /** Schema of the objects under a storage folder; undefined for folders that nobody serves. */
  readonly schemaOf: (storage: string) => CompiledSchema | undefined;
}

/**
 * All objects in memory, fed by one watch on the store, with a window of past events for each kind.
 * Many clients may then watch at the cost of one. Reads that must be current go to the store instead.
 */
export class WatchCache {
  readonly #options: WatchCacheOptions;
  readonly #objects = new Map<string, Map<string, StoredObject>>();
  readonly #sizes = new Map<string, number>();
  readonly #histories = new Map<string, History>();
  readonly #subscribers = new Map<string, Set<Subscriber>>();
  readonly #followers = new Set<(event: ObjectEvent) => void>();
  readonly #resets = new Set<() => void>();
  #revision = 0n;
  #start = 0n;
  #ready = deferred<undefined>();
  #filled = false;

  constructor(options: WatchCacheOptions) {
    this.#options = options;
  }

  /** Every change up to this revision has been delivered. */
  get revision(): bigint {
    return this.#revision;
  }

  get filled(): boolean {
    return this.#filled;
  }

  /** Resolves when the first snapshot is in. */
  ready(): Promise<undefined> {
    return this.#ready.promise;
  }

  /** Follows the store until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    for await (const batch of this.#options.store.watch(storagePrefix, {}, signal)) {
      if (batch.type === 'snapshot') this.#reset(batch.entries, batch.revision);
      else {
        if (batch.type === 'events') for (const event of batch.events) this.#apply(event);
        if (batch.revision > this.#revision) this.#revision = batch.revision;
      }
    }
    this.endAll('closed');
  }

  /** One object as last seen. */
  get(storage: string, key: string): StoredObject | undefined {
    return this.#objects.get(storage)?.get(key);
  }

  /** All objects of a kind whose key starts with `prefix`, in no order. */
  *list(storage: string, prefix: string): Generator<StoredObject> {
    for (const stored of this.#objects.get(storage)?.values() ?? []) {
      if (stored.key.startsWith(prefix)) yield stored;
    }
  }

  /** Every object of every kind. */
  *everything(): Generator<StoredObject> {
    for (const objects of this.#objects.values()) yield* objects.values();
  }

  /**
   * Delivers every event after `since` to `subscriber`, at once where they are known already.
   * The returned function ends it. Throws 410 when events after `since` are no longer known.
   */
  subscribe(storage: string, since: bigint, subscriber: Subscriber): () => void {
    const history = this.#histories.get(storage);
    const oldest = history?.since ?? this.#start;
    if (since < oldest) throw expired(`too old resource version: ${since} (${oldest})`);
    for (const event of history?.events ?? []) if (event.revision > since) subscriber.event(event);
    const live: Subscriber = {
      event: (event) => {
        if (event.revision > since) subscriber.event(event);
      },
      end: (why) => {
        subscriber.end(why);
      },
    };
    let subscribers = this.#subscribers.get(storage);
    if (subscribers === undefined) this.#subscribers.set(storage, (subscribers = new Set()));
    subscribers.add(live);
    return () => subscribers.delete(live);
  }

  /** Calls `follower` for every event of every kind, and `reset` when all may have changed. */
  follow(follower: (event: ObjectEvent) => void, reset: () => void): void {
    this.#followers.add(follower);
    this.#resets.add(reset);
  }

  /** Ends every subscription: events may be missing, or the store is away. */
  endAll(why: 'gap' | 'unavailable' | 'closed'): void {
    for (const subscribers of this.#subscribers.values()) {
      const all = [...subscribers];
      subscribers.clear();
      for (const subscriber of all) subscriber.end(why);
    }
  }

  #reset(entries: readonly Entry[], revision: bigint): void {
    const first = !this.#filled;
    this.#objects.clear();
    this.#sizes.clear();
    this.#histories.clear();
    for (const entry of entries) {
      const storage = storageOfKey(entry.key);
      const stored = storage === undefined ? undefined : this.#decode(storage, entry);
      if (storage === undefined || stored === undefined) continue;
      this.#folder(storage).set(entry.key, stored);
      this.#sizes.set(entry.key, entry.value.length);
    }
    this.#revision = revision;
    this.#start = revision;
    this.#filled = true;
    if (!first) {
      this.#options.log.warn(
        { revision: revision.toString() },
        'watch on the store lost continuity; all watches end',
      );
      this.endAll('gap');
    }
    for (const reset of this.#resets) reset();
    this.#ready.resolve(undefined);
  }

  #apply(event: StoreEvent): void {
    const key = event.type === 'put' ? event.entry.key : event.key;
    const revision = event.type === 'put' ? event.entry.modRevision : event.revision;
    const storage = storageOfKey(key);
    if (storage === undefined) return;
    const objects = this.#folder(storage);
    const previous = objects.get(key);
    const current = event.type === 'put' ? this.#decode(storage, event.entry) : undefined;
    if (current === undefined) objects.delete(key);
    else objects.set(key, current);
    const bytes =
      (event.type === 'put' ? event.entry.value.length : 0) + (this.#sizes.get(key) ?? 0);
    if (event.type === 'put') this.#sizes.set(key, event.entry.value.length);
    else this.#sizes.delete(key);
    if (previous === undefined && current === undefined) return;
    this.#deliver(storage, { revision, current, previous }, bytes);
  }

  #deliver(storage: string, event: ObjectEvent, bytes: number): void {
    let history = this.#histories.get(storage);
    if (history === undefined) {
      history = { since: this.#start, events: [], bytes: 0 };
      this.#histories.set(storage, history);
    }
    history.events.push(event);
    history.bytes += bytes;
    if (history.events.length > historyEvents || history.bytes > historyBytes) forgetHalf(history);
    for (const subscriber of [...(this.#subscribers.get(storage) ?? [])]) subscriber.event(event);
    for (const follower of this.#followers) follower(event);
  }

  #decode(storage: string, entry: Entry): StoredObject | undefined {
    const schema = this.#options.schemaOf(storage);
    if (schema === undefined) return undefined;
    const stored = decodeEntry(entry, schema);
    if (stored === undefined) {
      this.#options.log.warn(
        { key: entry.key },
        'record in the store is not a Kubernetes object; ignored',
      );
    }
    return stored;
  }

  #folder(storage: string): Map<string, StoredObject> {
    let objects = this.#objects.get(storage);
    if (objects === undefined) {
      objects = new Map<string, StoredObject>();
      this.#objects.set(storage, objects);
    }
    return objects;
  }
}

/** Drops the older half; all events of one revision stay together. */
function forgetHalf(history: History): void {
  const middle = history.events[Math.floor(history.events.length / 2)];
  if (middle === undefined) return;
  history.events = history.events.filter((event) => event.revision > middle.revision);
  history.since = middle.revision;
  history.bytes = Math.floor(history.bytes / 2);
}

/** What a watcher is shown of a deleted object: its last state with the revision of the deletion. */
export function deletedState(event: ObjectEvent): StoredObject | undefined {
  const { previous } = event;
  if (previous === undefined) return undefined;
  return { ...previous, object: withRevision(previous.object, event.revision) };
}
