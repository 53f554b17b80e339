/**
 * A typed client over the API's plain paths. It uses undici itself and not client-node's generated classes: those
 * know only built-in kinds (custom ones come back as `any`), have no time-outs, hide error bodies in
 * strings, patch as JSON Patch unless told otherwise, and turn times into Dates in lists but not in watches.
 */
import { request } from 'undici';
import type { KubeObject, ObjectMeta } from '../api/v1alpha1/meta.ts';
import { sleep, systemClock, type Clock } from '../runtime/clock.ts';
import { deadline } from '../runtime/deadline.ts';
import { isListPage, isObject, unreadable } from './answers.ts';
import type { KubeConfig } from './config.ts';
import type { KubeError } from './errors.ts';
import {
  errorFromFailure,
  errorFromResponse,
  isGone,
  isNotFound,
  networkReason,
} from './errors.ts';
import { queryOf, single } from './http.ts';
import {
  apiVersionOf,
  collectionPath,
  objectPath,
  type ObjectName,
  type ResourceDefinition,
} from './resources.ts';
import { openWatch, type WatchOptions, type WatchStream } from './watch-stream.ts';

export interface KubeClientOptions {
  /** Longest time for one call, retries included, in milliseconds. Default 10,000. */
  readonly timeoutMs?: number;
  /** Who the API server records as the owner of the fields that we write. Default "nap". */
  readonly fieldManager?: string;
  /** Default: the machine's clock. */
  readonly clock?: Clock;
}

export interface ListOptions {
  /** Only this namespace. Default: all. */
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  /** Objects a page. Default 500. */
  readonly pageSize?: number;
}

export interface ObjectList<T> {
  readonly items: readonly T[];
  /** Start a watch here to see everything that came after the list. */
  readonly resourceVersion: string;
}

/** One operation of an RFC 6902 patch. */
export type JsonPatchOperation =
  | { readonly op: 'add' | 'replace' | 'test'; readonly path: string; readonly value: unknown }
  | { readonly op: 'remove'; readonly path: string };

/** A merge patch (RFC 7386: null removes) or a JSON patch (RFC 6902). */
export type Patch =
  | { readonly type: 'merge'; readonly body: Readonly<Record<string, unknown>> }
  | { readonly type: 'json'; readonly body: readonly JsonPatchOperation[] };

export interface ApplyOptions {
  /** Default: the client's. */
  readonly fieldManager?: string;
  /** Take over fields that others own instead of failing with a conflict. Default false. */
  readonly force?: boolean;
  readonly subresource?: 'status';
}

export interface DeleteOptions {
  readonly propagationPolicy?: 'Background' | 'Foreground' | 'Orphan';
  /** Delete only if the object still is this one; else a conflict. */
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string };
  readonly gracePeriodSeconds?: number;
}

/** An object to write: a whole one, or a literal with name, namespace and the fields that the caller means. */
export type Applied =
  | KubeObject
  | {
      readonly metadata: ObjectName & Partial<ObjectMeta>;
      readonly [field: string]: unknown;
    };

interface Call {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly query?: Readonly<Record<string, string | undefined>>;
  readonly contentType?: string;
  readonly body?: unknown;
}

const defaultPageSize = 500;
/** A list that keeps expiring between its pages is given up after this many starts. */
const listRestarts = 3;
/** Times that one call obeys a Retry-After before its error is given to the caller. */
const mostRetries = 3;

/** All methods reject with KubeError, or with the reason of `signal` when that aborts. Times stay strings. */
export class KubeClient {
  readonly config: KubeConfig;
  readonly #timeoutMs: number;
  readonly #fieldManager: string;
  readonly #clock: Clock;

  constructor(config: KubeConfig, options: KubeClientOptions = {}) {
    this.config = config;
    this.#timeoutMs = options.timeoutMs ?? 10_000;
    this.#fieldManager = options.fieldManager ?? 'nap';
    this.#clock = options.clock ?? systemClock;
  }

  get<T extends KubeObject>(
    resource: ResourceDefinition<T>,
    name: ObjectName,
    signal?: AbortSignal,
  ): Promise<T> {
    return this.#object({ method: 'GET', path: objectPath(resource, name) }, signal);
  }

  /** As `get`, but `undefined` when there is no such object. */
  async find<T extends KubeObject>(
    resource: ResourceDefinition<T>,
    name: ObjectName,
    signal?: AbortSignal,
  ): Promise<T | undefined> {
    try {
      return await this.get(resource, name, signal);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** Everything, read in pages of one consistent version. A list that expires between pages starts again. */
  async list<T extends KubeObject>(
    resource: ResourceDefinition<T>,
    options: ListOptions = {},
    signal?: AbortSignal,
  ): Promise<ObjectList<T>> {
    for (let start = 1; ; start++) {
      try {
        return await this.#listOnce(resource, options, signal);
      } catch (error) {
        if (!isGone(error) || start === listRestarts) throw error;
      }
    }
  }

  create<T extends KubeObject>(
    resource: ResourceDefinition<T>,
    object: Applied,
    signal?: AbortSignal,
  ): Promise<T> {
    const path = collectionPath(resource, object.metadata.namespace);
    return this.#write(resource, 'POST', path, object, signal);
  }

  /** Replaces the object. With metadata.resourceVersion: only if it is unchanged, else a conflict. */
  update<T extends KubeObject>(
    resource: ResourceDefinition<T>,
    object: Applied,
    signal?: AbortSignal,
  ): Promise<T> {
    return this.#write(resource, 'PUT', objectPath(resource, object.metadata), object, signal);
  }

  /** Replaces the status; the rest of `object` is ignored by the server. */
  updateStatus<T extends KubeObject>(
    resource: ResourceDefinition<T>,
    object: Applied,
    signal?: AbortSignal,
  ): Promise<T> {
    const path = objectPath(resource, object.metadata, 'status');
    return this.#write(resource, 'PUT', path, object, signal);
  }

  patch<T extends KubeObject>(
    resource: ResourceDefinition<T>,
    name: ObjectName,
    patch: Patch,
    signal?: AbortSignal,
  ): Promise<T> {
    return this.#patch(objectPath(resource, name), patch, signal);
  }

  patchStatus<T extends KubeObject>(
    resource: ResourceDefinition<T>,
    name: ObjectName,
    patch: Patch,
    signal?: AbortSignal,
  ): Promise<T> {
    return this.#patch(objectPath(resource, name, 'status'), patch, signal);
  }

  /**
   * Server-side apply: creates the object or makes the fields given here, and no others, ours. Fields that we
   * applied earlier and leave out now are removed.
   */
  apply<T extends KubeObject>(
    resource: ResourceDefinition<T>,
    object: Applied,
    options: ApplyOptions = {},
    signal?: AbortSignal,
  ): Promise<T> {
    const { fieldManager = this.#fieldManager, force = false, subresource } = options;
    return this.#object(
      {
        method: 'PATCH',
        path: objectPath(resource, object.metadata, subresource),
        query: { fieldManager, force: String(force) },
        contentType: 'application/apply-patch+yaml',
        body: { ...object, apiVersion: apiVersionOf(resource), kind: resource.kind },
      },
      signal,
    );
  }

  /** Asks for deletion. The object lives on while it has finalizers. */
  async delete(
    resource: ResourceDefinition,
    name: ObjectName,
    options: DeleteOptions = {},
    signal?: AbortSignal,
  ): Promise<void> {
    await this.#call(
      {
        method: 'DELETE',
        path: objectPath(resource, name),
        contentType: 'application/json',
        body: { apiVersion: 'v1', kind: 'DeleteOptions', ...options },
      },
      signal,
    );
  }

  /** Opens a watch; the caller reads and closes it. `Reflector` is what one usually wants. */
  async watch<T extends KubeObject>(
    resource: ResourceDefinition<T>,
    options: WatchOptions,
    signal: AbortSignal,
  ): Promise<WatchStream<T>> {
    return openWatch(this.config, resource, { clock: this.#clock, ...options }, signal);
  }

  /** GET of any path, e.g. "/version" or "/readyz"; the decoded JSON, or the text if it is not JSON. */
  raw(path: string, signal?: AbortSignal): Promise<unknown> {
    return this.#call({ method: 'GET', path }, signal);
  }

  async #listOnce<T extends KubeObject>(
    resource: ResourceDefinition<T>,
    options: ListOptions,
    signal: AbortSignal | undefined,
  ): Promise<ObjectList<T>> {
    const items: T[] = [];
    let resourceVersion: string | undefined;
    let token: string | undefined;
    do {
      const path = collectionPath(resource, options.namespace);
      const page = await this.#call(
        {
          method: 'GET',
          path,
          query: {
            limit: String(options.pageSize ?? defaultPageSize),
            continue: token,
            labelSelector: options.labelSelector,
            fieldSelector: options.fieldSelector,
          },
        },
        signal,
      );
      if (!isListPage<T>(page)) throw unreadable(`GET ${path}`, 'list');
      // Built-in kinds come without apiVersion and kind inside lists.
      const defaults = { apiVersion: apiVersionOf(resource), kind: resource.kind };
      for (const item of page.items) items.push({ ...defaults, ...item });
      resourceVersion ??= page.metadata.resourceVersion;
      token = page.metadata.continue === '' ? undefined : page.metadata.continue;
    } while (token !== undefined);
    return { items, resourceVersion };
  }

  #patch<T extends KubeObject>(
    path: string,
    patch: Patch,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    const contentType =
      patch.type === 'merge' ? 'application/merge-patch+json' : 'application/json-patch+json';
    return this.#object(
      {
        method: 'PATCH',
        path,
        query: { fieldManager: this.#fieldManager },
        contentType,
        body: patch.body,
      },
      signal,
    );
  }

  #write<T extends KubeObject>(
    resource: ResourceDefinition,
    method: 'POST' | 'PUT',
    path: string,
    object: Applied,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    return this.#object(
      {
        method,
        path,
        query: { fieldManager: this.#fieldManager },
        contentType: 'application/json',
        body: { apiVersion: apiVersionOf(resource), kind: resource.kind, ...object },
      },
      signal,
    );
  }

  /** A call that is answered with an object; that it is one of the right kind is the server's promise. */
  async #object<T extends KubeObject>(call: Call, signal: AbortSignal | undefined): Promise<T> {
    const answer = await this.#call(call, signal);
    if (!isObject(answer)) throw unreadable(`${call.method} ${call.path}`, 'object');
    return answer as T;
  }

  /** One call with its deadline and retries. */
  async #call(call: Call, signal: AbortSignal | undefined): Promise<unknown> {
    const what = `${call.method} ${call.path}`;
    const limit = deadline(this.#clock, this.#timeoutMs, what, signal);
    const startedAt = this.#clock.monotonic();
    try {
      for (let attempt = 0; ; attempt++) {
        try {
          return await this.#send(call, what, limit.signal);
        } catch (thrown) {
          signal?.throwIfAborted();
          const error = errorFromFailure(what, limit.signal.aborted ? limit.signal.reason : thrown);
          const waitMs = this.#retryIn(call, error, attempt);
          const leftMs = this.#timeoutMs - (this.#clock.monotonic() - startedAt);
          if (waitMs === undefined || waitMs >= leftMs) throw error;
          await sleep(this.#clock, waitMs, limit.signal);
        }
      }
    } finally {
      limit.dispose();
    }
  }

  /**
   * When to send the call again, if at all: when the server says so (any 429 or 5xx with Retry-After, as client-go
   * does), once after a 401 (a token may have been renewed), and once for a read whose connection broke (a kept-alive
   * connection that the server had just closed).
   */
  #retryIn(call: Call, error: KubeError, attempt: number): number | undefined {
    if (error.code === 429 || error.code >= 500) {
      return attempt < mostRetries ? error.retryAfterMs : undefined;
    }
    if (attempt > 0) return undefined;
    if (error.code === 401) {
      this.config.forgetCredentials();
      return 0;
    }
    if (error.reason !== networkReason) return undefined;
    this.config.forgetCredentials();
    return call.method === 'GET' ? 0 : undefined;
  }

  async #send(call: Call, what: string, signal: AbortSignal): Promise<unknown> {
    const connection = await this.config.connection();
    const response = await request(`${connection.server}${call.path}${queryOf(call.query)}`, {
      method: call.method,
      dispatcher: connection.calls,
      headers: {
        accept: 'application/json',
        'user-agent': this.#fieldManager,
        ...(call.contentType !== undefined && { 'content-type': call.contentType }),
        ...connection.headers,
      },
      body: call.body === undefined ? null : JSON.stringify(call.body),
      signal,
    });
    const text = await response.body.text();
    if (response.statusCode >= 300) {
      const retryAfter = response.headers['retry-after'];
      throw errorFromResponse(what, response.statusCode, text, single(retryAfter));
    }
    return single(response.headers['content-type'])?.startsWith('application/json')
      ? JSON.parse(text)
      : text;
  }
}
