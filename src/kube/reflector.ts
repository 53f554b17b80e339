/**
 * Keeps a local copy of a collection of the API server up to date, for ever: list, then watch, and
 * whatever goes wrong, go on from there. client-node's informer ends at the first 503, closes quiet watches
 * after 30 s, asks for no bookmarks and swallows errors inside a watch; this one is client-go's Reflector
 * (tools/cache/reflector.go) in its rules:
 *
 * - a list in pages replaces everything, so what vanished unseen is reported as deleted;
 * - a watch goes on from the last version seen in a list, event or bookmark; a clean end costs nothing;
 * - 410, as answer or inside the watch, means to list again; so do an unreadable event, a version from the
 *   future (the server's store was restored) and several failures in a row;
 * - silence for longer than bookmarks allow means that the connection is dead;
 * - overload (429, 5xx) is met with a backoff with full jitter, an unreachable server with short steady
 *   tries, so that its restart is noticed within a second or two, and a refusal (401, 403, 404) with slow ones;
 * - a full list about every ten minutes mends what nobody thought of.
 */
import type { KubeObject } from '../api/v1alpha1/meta.ts';
import { Backoff } from '../runtime/backoff.ts';
import { sleep, systemClock, type Clock } from '../runtime/clock.ts';
import { asError, retryAfterMsOf } from '../runtime/errors.ts';
import type { Logger } from '../telemetry/log.ts';
import type { KubeClient } from './client.ts';
import {
  isFutureVersion,
  isGone,
  isRefused,
  isUnreachable,
  KubeError,
  timeoutReason,
  unreadableReason,
} from './errors.ts';
import { collectionPath, type ResourceDefinition } from './resources.ts';
import type { WatchStream } from './watch-stream.ts';

/** Where a reflector puts what it sees. Must not throw. */
export interface ReflectorSink<T> {
  /** Everything there is. */
  replace(objects: readonly T[]): void;
  set(object: T): void;
  /** The object is gone; this is its last state. */
  remove(object: T): void;
}

/** Told what a reflector does; must not throw. `telemetry/metrics.ts` has the Prometheus one. */
export interface ReflectorObserver {
  listed(resource: string, objects: number): void;
  watchStarted(resource: string): void;
  failed(resource: string, reason: string): void;
  synced(resource: string, synced: boolean): void;
}

export interface ReflectorOptions {
  /** Only this namespace. Default: all. */
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  readonly log: Logger;
  /** Default: the machine's clock. */
  readonly clock?: Clock;
  /** Uniform in [0, 1). Default Math.random. */
  readonly random?: () => number;
  readonly observer?: ReflectorObserver;
  /** No byte for this long on a watch: reconnect. Default 70,000 ms. */
  readonly livenessMs?: number;
  /** Between two full lists, on average. Default 600,000 ms. */
  readonly relistMs?: number;
  /** Objects a page. Default 500. */
  readonly pageSize?: number;
}

const overload = { baseMs: 800, capMs: 30_000 };
const unreachable = { baseMs: 250, capMs: 2_000 };
/** Between tries at something that we may not do or that is not served; spread by half either way. */
const refusedMs = 10_000;
/** Watches that end sooner than this and bring nothing are a failure, or they would be reopened in a busy loop. */
const shortWatchMs = 1_000;
/** After so many failures in a row, trust nothing and list again. */
const failuresBeforeList = 5;
const watchSecondsMin = 300;
const watchSecondsMax = 600;

/** Feeds a sink from one collection; see the top of this file for its rules. */
export class Reflector<T extends KubeObject> {
  /** Path of the collection, for logs and metrics. */
  readonly name: string;
  readonly #client: KubeClient;
  readonly #resource: ResourceDefinition<T>;
  readonly #sink: ReflectorSink<T>;
  readonly #options: ReflectorOptions;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #log: Logger;

  /** Version to watch from; `undefined`: list first. */
  #version: string | undefined;
  #relistAt = 0;
  #synced = false;
  #problem: KubeError | undefined;
  #lastActivity: number;
  #failures = 0;
  #shortWatches = 0;
  #backoff: { readonly overload: Backoff; readonly unreachable: Backoff };

  constructor(
    client: KubeClient,
    resource: ResourceDefinition<T>,
    sink: ReflectorSink<T>,
    options: ReflectorOptions,
  ) {
    this.name = collectionPath(resource, options.namespace);
    this.#client = client;
    this.#resource = resource;
    this.#sink = sink;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#log = options.log.child({ reflector: this.name });
    this.#lastActivity = this.#clock.monotonic();
    this.#backoff = this.#freshBackoff();
  }

  /** Whether a full list has arrived, and the server has not refused us since. */
  get hasSynced(): boolean {
    return this.#synced;
  }

  /** What keeps it from the server now; `undefined` when all is well. */
  get problem(): KubeError | undefined {
    return this.#problem;
  }

  /** Monotonic time of the last answer or event. */
  get lastActivity(): number {
    return this.#lastActivity;
  }

  /** Runs until `signal` aborts. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        if (this.#version === undefined || this.#clock.monotonic() >= this.#relistAt) {
          await this.#list(signal);
        }
        await this.#watch(signal);
      } catch (thrown) {
        // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- it may abort meanwhile
        if (signal.aborted) return;
        const delayMs = this.#failed(thrown);
        await sleep(this.#clock, delayMs, signal).catch(() => undefined);
      }
    }
  }

  async #list(signal: AbortSignal): Promise<void> {
    const { namespace, labelSelector, fieldSelector, pageSize, relistMs = 600_000 } = this.#options;
    const { items, resourceVersion } = await this.#client.list(
      this.#resource,
      {
        ...(namespace !== undefined && { namespace }),
        ...(labelSelector !== undefined && { labelSelector }),
        ...(fieldSelector !== undefined && { fieldSelector }),
        ...(pageSize !== undefined && { pageSize }),
      },
      signal,
    );
    this.#sink.replace(items);
    this.#version = resourceVersion;
    this.#relistAt = this.#clock.monotonic() + relistMs * (0.75 + this.#random() / 2);
    this.#succeeded();
    this.#setSynced(true);
    this.#options.observer?.listed(this.name, items.length);
  }

  /** Follows changes until the server ends the watch in good order; throws otherwise. */
  async #watch(signal: AbortSignal): Promise<void> {
    const { namespace, labelSelector, fieldSelector, livenessMs } = this.#options;
    const startedAt = this.#clock.monotonic();
    const stream = await this.#client.watch(
      this.#resource,
      {
        resourceVersion: this.#version ?? '',
        timeoutSeconds: this.#watchSeconds(startedAt),
        clock: this.#clock,
        ...(livenessMs !== undefined && { livenessMs }),
        ...(namespace !== undefined && { namespace }),
        ...(labelSelector !== undefined && { labelSelector }),
        ...(fieldSelector !== undefined && { fieldSelector }),
      },
      signal,
    );
    this.#options.observer?.watchStarted(this.name);
    this.#problem = undefined;
    const events = await this.#follow(stream);
    if (events === 0 && this.#clock.monotonic() - startedAt < shortWatchMs) {
      // Once may be chance (a server that shuts down, a time-out of its own).
      if (++this.#shortWatches === 1) return;
      throw new KubeError({ code: 503, reason: 'ShortWatch', message: 'the watch ended at once' });
    }
    this.#succeeded();
  }

  /** Takes in the events of one watch; gives their number. */
  async #follow(stream: WatchStream<T>): Promise<number> {
    let events = 0;
    try {
      for await (const event of stream) {
        events++;
        this.#succeeded();
        if (event.type === 'BOOKMARK') {
          this.#version = event.resourceVersion;
          continue;
        }
        if (event.type === 'DELETED') this.#sink.remove(event.object);
        else this.#sink.set(event.object);
        this.#version = event.object.metadata.resourceVersion;
      }
    } catch (error) {
      // Either the connection is dead, or nothing happened and the server's store is one that makes no bookmarks
      // (etcd 3.4). A new watch tells which; only if that fails is anything wrong.
      if (!(error instanceof KubeError) || error.reason !== timeoutReason) throw error;
      this.#options.observer?.failed(this.name, error.reason);
      this.#log.debug({ err: error }, 'the watch went silent; opening a new one');
    }
    return events;
  }

  /** Random, so that the watches of many clients do not all end together; no later than the next full list. */
  #watchSeconds(now: number): number {
    const seconds = watchSecondsMin + this.#random() * (watchSecondsMax - watchSecondsMin);
    return Math.max(1, Math.ceil(Math.min(seconds, (this.#relistAt - now) / 1000)));
  }

  #succeeded(): void {
    this.#lastActivity = this.#clock.monotonic();
    this.#problem = undefined;
    this.#shortWatches = 0;
    if (this.#failures === 0) return;
    this.#failures = 0;
    this.#backoff = this.#freshBackoff();
  }

  /** Files a failure; returns how long to wait before the next try, in milliseconds. */
  #failed(thrown: unknown): number {
    this.#failures++;
    const reason = thrown instanceof KubeError ? thrown.reason : asError(thrown).name;
    this.#options.observer?.failed(this.name, reason);
    if (
      isGone(thrown) ||
      isFutureVersion(thrown) ||
      reason === unreadableReason ||
      this.#failures % failuresBeforeList === 0
    ) {
      this.#version = undefined;
    }
    if (isGone(thrown) && this.#failures === 1) {
      this.#log.info('the watch fell behind; listing again');
      return 0;
    }
    this.#problem =
      thrown instanceof KubeError
        ? thrown
        : new KubeError({ code: 0, reason, message: asError(thrown).message }, { cause: thrown });
    if (isRefused(thrown)) {
      this.#setSynced(false);
      // Only a full list makes it synced again: much may have passed us by.
      this.#version = undefined;
    }
    const delayMs = this.#delay(thrown);
    // Loud once per outage, quiet about the tries that follow.
    const level = this.#failures === 1 || isRefused(thrown) ? 'warn' : 'debug';
    this.#log[level](
      { err: asError(thrown), failures: this.#failures, retryInMs: Math.round(delayMs) },
      'cannot follow the API server',
    );
    return delayMs;
  }

  #delay(thrown: unknown): number {
    if (isRefused(thrown)) return refusedMs * (0.5 + this.#random());
    const kind = isUnreachable(thrown) ? 'unreachable' : 'overload';
    const next = this.#backoff[kind].next();
    this.#backoff = { ...this.#backoff, [kind]: next };
    return Math.max(next.delayMs, retryAfterMsOf(thrown));
  }

  #freshBackoff(): { readonly overload: Backoff; readonly unreachable: Backoff } {
    const random = this.#random;
    return {
      overload: new Backoff({ ...overload, random }),
      unreachable: new Backoff({ ...unreachable, random }),
    };
  }

  #setSynced(synced: boolean): void {
    this.#synced = synced;
    this.#options.observer?.synced(this.name, synced);
  }
}
