import {
  CompactedError,
  UnavailableError,
  type Condition,
  type Entry,
  type Store,
} from '../../registry/store.ts';
import { ApiError, expired, internalError, unavailable } from '../errors/api-error.ts';
import type { KubeObject } from '../objects/object.ts';
import type { Resource } from '../resources/resource.ts';
import { collectionPrefix, objectKey, storagePrefix } from './keys.ts';
import { decodeEntry, encodeObject, withRevision, type StoredObject } from './stored-object.ts';
import type { WatchCache } from './watch-cache.ts';

/** A consistent list, or one page of it. */
export interface ObjectListing {
  readonly items: readonly StoredObject[];
  readonly revision: bigint;
  /** Key after which the next page starts; undefined when this is the last one. */
  readonly next: string | undefined;
}

export type WriteResult =
  | { readonly written: true; readonly stored: StoredObject }
  /** Somebody else changed the object (or its namespace) in between. */
  | { readonly written: false };

/** How long a request waits for the store before it is told that the store is away. */
const storeTimeoutMs = 10_000;

/**
 * Objects of all kinds in the store. Reads are linearizable. All failures come out as ApiError: 503
 * when the store is away, 410 when a revision is compacted.
 */
export class ObjectStore {
  readonly #store: Store;
  readonly #cache: WatchCache;
  readonly #timeout: (ms: number) => AbortSignal;

  constructor(store: Store, cache: WatchCache, timeout = (ms: number) => AbortSignal.timeout(ms)) {
    this.#store = store;
    this.#cache = cache;
    this.#timeout = timeout;
  }

  async get(
    resource: Resource,
    namespace: string | undefined,
    name: string,
  ): Promise<StoredObject | undefined> {
    const key = objectKey(resource, namespace, name);
    const entry = await this.#guard((signal) => this.#store.get(key, signal));
    return entry === undefined ? undefined : this.#decode(resource, entry);
  }

  /** A page of at most `limit` objects in key order, as of `revision` (default: now). */
  async list(
    resource: Resource,
    namespace: string | undefined,
    page: { readonly limit?: number; readonly after?: string; readonly revision?: bigint } = {},
  ): Promise<ObjectListing> {
    const prefix = collectionPrefix(resource, namespace);
    const listing = await this.#guard((signal) =>
      this.#store.list(
        prefix,
        {
          ...(page.limit === undefined ? {} : { limit: page.limit }),
          ...(page.after === undefined ? {} : { after: page.after }),
          ...(page.revision === undefined ? {} : { revision: page.revision }),
        },
        signal,
      ),
    );
    const items: StoredObject[] = [];
    for (const entry of listing.entries) {
      const stored = this.#decode(resource, entry);
      if (stored !== undefined) items.push(stored);
    }
    return {
      items,
      revision: page.revision ?? listing.revision,
      next: listing.more ? listing.entries.at(-1)?.key : undefined,
    };
  }

  /** The store's revision now. */
  async revision(): Promise<bigint> {
    const listing = await this.#guard((signal) =>
      this.#store.list(`${storagePrefix}core/namespaces/`, { limit: 1 }, signal),
    );
    return listing.revision;
  }

  /** Writes a new object. `namespace`, when given, must still be as it was read. */
  create(resource: Resource, object: KubeObject, namespace?: StoredObject): Promise<WriteResult> {
    const key = objectKey(resource, object.metadata.namespace, object.metadata.name ?? '');
    const conditions: Condition[] = [{ type: 'absent', key }];
    if (namespace !== undefined) {
      conditions.push({ type: 'unchanged', key: namespace.key, modRevision: namespace.revision });
    }
    return this.#put(key, conditions, object);
  }

  /** Replaces `stored` by `object`, unless it has changed since it was read. */
  update(stored: StoredObject, object: KubeObject): Promise<WriteResult> {
    const condition = unchanged(stored);
    return this.#put(stored.key, [condition], object);
  }

  /** Removes `stored`, unless it has changed since. Gives the revision of the deletion. */
  async delete(stored: StoredObject): Promise<bigint | undefined> {
    const result = await this.#guard((signal) =>
      this.#store.commit([unchanged(stored)], [{ type: 'delete', key: stored.key }], signal),
    );
    return result.committed ? result.revision : undefined;
  }

  async #put(key: string, conditions: Condition[], object: KubeObject): Promise<WriteResult> {
    const value = encodeObject(object);
    const result = await this.#guard((signal) =>
      this.#store.commit(conditions, [{ type: 'put', key, value }], signal),
    );
    if (!result.committed) return { written: false };
    const { revision } = result;
    return { written: true, stored: { key, revision, object: withRevision(object, revision) } };
  }

  #decode(resource: Resource, entry: Entry): StoredObject | undefined {
    const cached = this.#cache.get(resource.storage, entry.key);
    if (cached?.revision === entry.modRevision) return cached;
    return decodeEntry(entry, resource.compiled);
  }

  async #guard<T>(action: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const signal = this.#timeout(storeTimeoutMs);
    try {
      return await action(signal);
    } catch (error) {
      throw asApiError(error, signal.aborted);
    }
  }
}

function unchanged(stored: StoredObject): Condition {
  return { type: 'unchanged', key: stored.key, modRevision: stored.revision };
}

/** Failures of the store in the words of the API. */
function asApiError(error: unknown, timedOut: boolean): unknown {
  if (error instanceof ApiError) return error;
  if (timedOut || error instanceof UnavailableError) return unavailable('the store is unavailable');
  if (error instanceof CompactedError) {
    return expired('The resourceVersion for the provided list is too old.');
  }
  if (error instanceof Error && error.name === 'StoreRefusedError') {
    return internalError(`the store refused the request: ${error.message}`);
  }
  return error;
}
