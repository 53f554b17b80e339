import type { KubeObject } from '../api/v1alpha1/meta.ts';
import { asError } from '../runtime/errors.ts';
import type { Logger } from '../telemetry/log.ts';
import type { KubeClient } from './client.ts';
import type { KubeError } from './errors.ts';
import { Reflector, type ReflectorOptions } from './reflector.ts';
import type { ResourceDefinition } from './resources.ts';
import { keyOf, ObjectStore, type IndexFunction, type ReadonlyObjectStore } from './store.ts';

/** A change of the cache; the cache already has it. Several changes of an object may come as one. */
export type Change<T> =
  | { readonly type: 'added'; readonly key: string; readonly object: T }
  | { readonly type: 'updated'; readonly key: string; readonly object: T; readonly previous: T }
  /** `object` is the last state that was seen. */
  | { readonly type: 'deleted'; readonly key: string; readonly object: T };

/** Should only put keys into queues. What it throws is logged, and harms nobody else. */
export type ChangeHandler<T> = (change: Change<T>) => void;

export interface InformerOptions<T> extends ReflectorOptions {
  /** Named index functions for `store.byIndex`. */
  readonly indexes?: Readonly<Record<string, IndexFunction<T>>>;
}

/** A local copy of a collection, kept up to date, with handlers that hear of each change. */
export class Informer<T extends KubeObject> {
  readonly #store: ObjectStore<T>;
  readonly #reflector: Reflector<T>;
  readonly #handlers: ChangeHandler<T>[] = [];
  readonly #log: Logger;
  readonly #syncWaiters = new Set<() => void>();
  #listed = false;

  constructor(client: KubeClient, resource: ResourceDefinition<T>, options: InformerOptions<T>) {
    this.#store = new ObjectStore(options.indexes);
    this.#log = options.log;
    this.#reflector = new Reflector(
      client,
      resource,
      {
        replace: (objects) => {
          this.#replace(objects);
        },
        set: (object) => {
          this.#set(object);
        },
        remove: (object) => {
          this.#remove(object);
        },
      },
      options,
    );
  }

  /** Path of the collection, for logs and readiness. */
  get name(): string {
    return this.#reflector.name;
  }

  get store(): ReadonlyObjectStore<T> {
    return this.#store;
  }

  /** Whether the cache was filled once, and the server has not refused us since. An outage does not unset it. */
  get hasSynced(): boolean {
    return this.#reflector.hasSynced;
  }

  /** What keeps it from the server now; `undefined` when all is well. */
  get problem(): KubeError | undefined {
    return this.#reflector.problem;
  }

  /** Monotonic time of the last answer or event. */
  get lastActivity(): number {
    return this.#reflector.lastActivity;
  }

  /** Calls `handler` for every change from now on, and for every object that is in the cache as added. */
  onChange(handler: ChangeHandler<T>): void {
    this.#handlers.push(handler);
    for (const object of this.#store.list()) {
      this.#tell([handler], { type: 'added', key: keyOf(object), object });
    }
  }

  /** Runs until `signal` aborts. Never rejects. */
  run(signal: AbortSignal): Promise<void> {
    return this.#reflector.run(signal);
  }

  /** Resolves when the cache was filled for the first time; rejects with the signal's reason when that aborts. */
  async waitForSync(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#listed) return;
    await new Promise<void>((resolve) => {
      const settle = (): void => {
        this.#syncWaiters.delete(settle);
        signal.removeEventListener('abort', settle);
        resolve();
      };
      this.#syncWaiters.add(settle);
      signal.addEventListener('abort', settle, { once: true });
    });
    signal.throwIfAborted();
  }

  #replace(objects: readonly T[]): void {
    const gone = new Set(this.#store.keys());
    for (const object of objects) {
      gone.delete(keyOf(object));
      this.#set(object);
    }
    for (const key of gone) this.#delete(key);
    this.#listed = true;
    for (const settle of [...this.#syncWaiters]) settle();
  }

  #set(object: T): void {
    const key = keyOf(object);
    const previous = this.#store.set(object);
    if (previous === undefined) this.#tell(this.#handlers, { type: 'added', key, object });
    else if (previous.metadata.resourceVersion !== object.metadata.resourceVersion) {
      this.#tell(this.#handlers, { type: 'updated', key, object, previous });
    }
  }

  #remove(object: T): void {
    // The event has the last state, which may be newer than ours.
    const key = keyOf(object);
    if (this.#store.delete(key) === undefined) return;
    this.#tell(this.#handlers, { type: 'deleted', key, object });
  }

  #delete(key: string): void {
    const object = this.#store.delete(key);
    if (object !== undefined) this.#tell(this.#handlers, { type: 'deleted', key, object });
  }

  #tell(handlers: readonly ChangeHandler<T>[], change: Change<T>): void {
    for (const handler of handlers) {
      try {
        handler(change);
      } catch (thrown) {
        this.#log.error(
          { err: asError(thrown), reflector: this.name, key: change.key },
          'a change handler threw; it must only enqueue',
        );
      }
    }
  }
}
