import { request } from 'undici';
import type { KubeObject } from '../api/v1alpha1/meta.ts';
import { systemClock, type Clock } from '../runtime/clock.ts';
import { DeadlineError } from '../runtime/deadline.ts';
import type { KubeConfig } from './config.ts';
import {
  errorFromFailure,
  errorFromResponse,
  errorFromStatus,
  isStatus,
  KubeError,
  networkReason,
  unreadableReason,
} from './errors.ts';
import { queryOf, single } from './http.ts';
import { apiVersionOf, collectionPath, type ResourceDefinition } from './resources.ts';

export interface WatchOptions {
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  /** Where to go on: the version of a list, of an event, or of a bookmark. */
  readonly resourceVersion: string;
  /** The server ends the watch in good order after this time. */
  readonly timeoutSeconds: number;
  /** No byte for this long means that the connection is dead. Default 70,000 ms: bookmarks come once a minute. */
  readonly livenessMs?: number;
  /** Default: the machine's clock. */
  readonly clock?: Clock;
}

export type WatchEvent<T> =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: T }
  /** Nothing happened up to this version. */
  | { readonly type: 'BOOKMARK'; readonly resourceVersion: string };

/** Ends quietly when the server closes in good order; throws KubeError for anything else. */
export type WatchStream<T> = AsyncIterable<WatchEvent<T>>;

/** A line longer than this is no object (etcd's limit for one is about 1.5 MB). */
const longestLine = 64 * 1024 * 1024;

/**
 * Opens a watch. Rejects with KubeError if the server refuses. The stream throws an ERROR event's Status,
 * a broken or silent connection, and an unreadable line, all as KubeError.
 */
export async function openWatch<T extends KubeObject>(
  config: KubeConfig,
  resource: ResourceDefinition<T>,
  options: WatchOptions,
  signal: AbortSignal,
): Promise<WatchStream<T>> {
  const { namespace, labelSelector, fieldSelector, resourceVersion, timeoutSeconds } = options;
  const { livenessMs = 70_000, clock = systemClock } = options;
  const path = collectionPath(resource, namespace);
  const what = `watch of ${path}`;
  const liveness = new Liveness(clock, livenessMs, what, signal);
  try {
    const connection = await config.connection();
    const query = queryOf({
      watch: 'true',
      allowWatchBookmarks: 'true',
      resourceVersion,
      timeoutSeconds: String(timeoutSeconds),
      labelSelector,
      fieldSelector,
    });
    const response = await request(`${connection.server}${path}${query}`, {
      dispatcher: connection.watches,
      headers: { accept: 'application/json', 'user-agent': 'nap', ...connection.headers },
      signal: liveness.signal,
    });
    liveness.feed();
    if (response.statusCode !== 200) {
      const body = await response.body.text();
      const retryAfter = single(response.headers['retry-after']);
      throw errorFromResponse(what, response.statusCode, body, retryAfter);
    }
    return readEvents<T>(response.body, resource, what, liveness, signal);
  } catch (thrown) {
    const failed = liveness.signal.aborted;
    liveness.dispose();
    signal.throwIfAborted();
    const error = errorFromFailure(what, failed ? liveness.signal.reason : thrown);
    if (error.code === 401 || error.reason === networkReason) config.forgetCredentials();
    throw error;
  }
}

async function* readEvents<T extends KubeObject>(
  body: AsyncIterable<Buffer>,
  resource: ResourceDefinition,
  what: string,
  liveness: Liveness,
  signal: AbortSignal,
): AsyncGenerator<WatchEvent<T>> {
  try {
    for await (const line of splitLines(body, what, liveness)) {
      yield decodeEvent<T>(line, resource, what);
    }
  } catch (thrown) {
    signal.throwIfAborted();
    throw errorFromFailure(what, liveness.signal.aborted ? liveness.signal.reason : thrown);
  } finally {
    liveness.dispose();
  }
}

/** Splits at newlines without ever joining a long line's chunks more than once. A cut-off last line is an error. */
async function* splitLines(
  body: AsyncIterable<Buffer>,
  what: string,
  liveness: Liveness,
): AsyncGenerator<string> {
  let parts: Buffer[] = [];
  let length = 0;
  for await (const chunk of body) {
    liveness.feed();
    let start = 0;
    for (let end; (end = chunk.indexOf(0x0a, start)) !== -1; start = end + 1) {
      parts.push(chunk.subarray(start, end));
      const line = Buffer.concat(parts).toString('utf8').trim();
      parts = [];
      length = 0;
      if (line !== '') yield line;
    }
    if (start < chunk.length) {
      parts.push(chunk.subarray(start));
      length += chunk.length - start;
      if (length > longestLine)
        throw new Error(`${what}: a line of more than ${longestLine} bytes`);
    }
  }
  const rest = Buffer.concat(parts).toString('utf8').trim();
  if (rest !== '') throw new Error('the connection ended in the middle of an event');
}

function decodeEvent<T extends KubeObject>(
  line: string,
  resource: ResourceDefinition,
  what: string,
): WatchEvent<T> {
  const event = parseEvent(line);
  const object = event?.object;
  if (event === undefined || typeof object !== 'object' || object === null) {
    throw unreadable(what, line);
  }
  if (event.type === 'ERROR') {
    throw isStatus(object) ? errorFromStatus(object) : unreadable(what, line);
  }
  const version = (object as Partial<KubeObject>).metadata?.resourceVersion;
  if (version === undefined) throw unreadable(what, line);
  if (event.type === 'BOOKMARK') return { type: 'BOOKMARK', resourceVersion: version };
  if (event.type === 'ADDED' || event.type === 'MODIFIED' || event.type === 'DELETED') {
    const defaults = { apiVersion: apiVersionOf(resource), kind: resource.kind };
    return { type: event.type, object: { ...defaults, ...object } as T };
  }
  throw unreadable(what, line);
}

function parseEvent(line: string): { type?: unknown; object?: unknown } | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

function unreadable(what: string, line: string): KubeError {
  return new KubeError({
    code: 0,
    reason: unreadableReason,
    message: `${what}: unreadable event: ${line.slice(0, 200)}`,
  });
}

/** Aborts its signal when it was not fed for a while, or when the parent aborts. */
class Liveness {
  readonly #controller = new AbortController();
  readonly #clock: Clock;
  readonly #limitMs: number;
  readonly #what: string;
  readonly #parent: AbortSignal;
  readonly #follow = (): void => {
    this.#controller.abort(this.#parent.reason);
  };
  #fedAt: number;
  #cancel: () => void = () => undefined;

  constructor(clock: Clock, limitMs: number, what: string, parent: AbortSignal) {
    this.#clock = clock;
    this.#limitMs = limitMs;
    this.#what = what;
    this.#parent = parent;
    this.#fedAt = clock.monotonic();
    if (parent.aborted) this.#follow();
    else parent.addEventListener('abort', this.#follow, { once: true });
    this.#arm(limitMs);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** A byte came. Cheap: the timer is not moved, it looks at the time when it fires. */
  feed(): void {
    this.#fedAt = this.#clock.monotonic();
  }

  dispose(): void {
    this.#cancel();
    this.#parent.removeEventListener('abort', this.#follow);
    // Ends the request if the reader left early; does nothing to one that has ended.
    this.#controller.abort(new Error(`${this.#what} was closed`));
  }

  #arm(delayMs: number): void {
    this.#cancel = this.#clock.schedule(() => {
      const leftMs = this.#fedAt + this.#limitMs - this.#clock.monotonic();
      if (leftMs > 0) this.#arm(leftMs);
      else {
        this.#controller.abort(new DeadlineError(`${this.#what}: no byte for ${this.#limitMs} ms`));
      }
    }, delayMs);
  }
}
