import { randomBytes } from 'node:crypto';
import type { KubeObject } from '../api/v1alpha1/meta.ts';
import { Backoff } from '../runtime/backoff.ts';
import { sleep, systemClock, type Clock } from '../runtime/clock.ts';
import { asError } from '../runtime/errors.ts';
import { BucketRateLimiter } from '../runtime/rate-limiter.ts';
import type { Logger } from '../telemetry/log.ts';
import type { KubeClient } from './client.ts';
import { isNotFound, KubeError } from './errors.ts';
import { coreEvents, type CoreEvent, type ObjectReference } from './resources.ts';
import { wholeSecondsTime } from './times.ts';

export interface EventRecorderOptions {
  /** Who reports, e.g. "nap-operator". */
  readonly component: string;
  /** Which one of them, e.g. a pod or machine name. */
  readonly instance: string;
  readonly log: Logger;
  /** Default: the machine's clock. */
  readonly clock?: Clock;
}

export type EventType = 'Normal' | 'Warning';

/** One distinct event that we have reported or are about to. */
interface Entry {
  readonly key: string;
  readonly event: Pick<CoreEvent, 'involvedObject' | 'type' | 'reason' | 'message'> & {
    readonly metadata: { readonly name: string; readonly namespace: string };
  };
  readonly firstAt: number;
  lastAt: number;
  count: number;
  /** How many of `count` the server knows. */
  sent: number;
}

/** The same event after this long is a new one. Servers drop events after an hour. */
const forgetAfterMs = 10 * 60_000;
/** Distinct events that are remembered; the longest unused go first. */
const mostEntries = 4096;
/** Of one object: so many at once, then one in 5 minutes (client-go's spam filter, tools/record). */
const objectBurst = 25;
const objectPerSecond = 1 / 300;
/** Of all objects, to spare the server. */
const overallBurst = 100;
const overallPerSecond = 10;
const mostTries = 5;
const longestMessage = 1024;

/**
 * Reports events on objects, for `kubectl describe` and `kubectl events`. Fire and forget: `record` never blocks and
 * never throws; what cannot be delivered is dropped and counted. The same event again only raises its count.
 */
export class EventRecorder {
  readonly #client: KubeClient;
  readonly #options: EventRecorderOptions;
  readonly #clock: Clock;
  /** In order of last use. */
  readonly #entries = new Map<string, Entry>();
  readonly #dirty = new Set<Entry>();
  readonly #objectLimits = new Map<string, BucketRateLimiter>();
  readonly #overall: BucketRateLimiter;
  readonly #stop = new AbortController();
  #sending: Promise<void> | undefined;
  #dropped = 0;

  constructor(client: KubeClient, options: EventRecorderOptions) {
    this.#client = client;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#overall = new BucketRateLimiter(this.#clock, overallPerSecond, overallBurst);
  }

  /** Events that were not delivered: too many of one object, or the server did not take them. */
  get dropped(): number {
    return this.#dropped;
  }

  /**
   * @param reason CamelCase, for machines: "FailedScheduling". @param message for people; at most 1,024 characters are kept.
   */
  record(
    object: KubeObject | ObjectReference,
    type: EventType,
    reason: string,
    message: string,
  ): void {
    if (this.#stop.signal.aborted) return;
    const about = referenceTo(object);
    const now = this.#clock.now();
    const key = JSON.stringify([
      about.kind,
      about.namespace,
      about.name,
      about.uid,
      type,
      reason,
      message,
    ]);
    const known = this.#entries.get(key);
    if (known !== undefined && now - known.lastAt < forgetAfterMs) {
      known.count++;
      known.lastAt = now;
      this.#remember(known);
    } else {
      if (!this.#allowed(about)) {
        this.#dropped++;
        return;
      }
      this.#remember(this.#entryFor(key, about, type, reason, message, now));
    }
    this.#kick();
  }

  /** Resolves when everything recorded so far was sent or dropped. */
  async flush(): Promise<void> {
    while (this.#sending !== undefined) await this.#sending;
  }

  /** Delivers what is waiting for at most `graceMs`, then stops; later events are ignored. */
  async close(graceMs = 1_000): Promise<void> {
    const cancel = this.#clock.schedule(() => {
      this.#stop.abort();
    }, graceMs);
    await this.flush();
    cancel();
    this.#stop.abort();
  }

  #kick(): void {
    this.#sending ??= this.#send().finally(() => {
      this.#sending = undefined;
      // Something may have come in after the last look.
      if (this.#dirty.size > 0) this.#kick();
    });
  }

  #remember(entry: Entry): void {
    this.#entries.delete(entry.key);
    this.#entries.set(entry.key, entry);
    this.#dirty.add(entry);
    if (this.#entries.size <= mostEntries) return;
    const [oldest] = this.#entries.keys();
    if (oldest !== undefined) this.#entries.delete(oldest);
  }

  #allowed(about: ObjectReference): boolean {
    const key = JSON.stringify([about.kind, about.namespace, about.name, about.uid]);
    let limit = this.#objectLimits.get(key);
    if (limit === undefined) {
      if (this.#objectLimits.size >= mostEntries) this.#objectLimits.clear();
      limit = new BucketRateLimiter(this.#clock, objectPerSecond, objectBurst);
    }
    // Used ones move to the end; a token taken on credit by a refused event would lock the object out for ever.
    this.#objectLimits.set(key, limit);
    return limit.tryTake();
  }

  #entryFor(
    key: string,
    about: ObjectReference,
    type: EventType,
    reason: string,
    message: string,
    now: number,
  ): Entry {
    const { component, instance } = this.#options;
    // Events of cluster-scoped objects live in "default"; that is where kubectl describe looks for them.
    const namespace = about.namespace ?? 'default';
    const name = `${about.name.slice(0, 230)}.${randomBytes(8).toString('hex')}`;
    const event = {
      metadata: { name, namespace },
      involvedObject: about,
      type,
      reason,
      message:
        message.length > longestMessage ? `${message.slice(0, longestMessage - 1)}…` : message,
      source: { component, host: instance },
      reportingComponent: component,
      reportingInstance: instance,
    };
    return { key, event, firstAt: now, lastAt: now, count: 1, sent: 0 };
  }

  /** Sends what is dirty, one by one, until nothing is. Never rejects. */
  async #send(): Promise<void> {
    const signal = this.#stop.signal;
    // Lets a burst of equal events, recorded in one go, become one request.
    await Promise.resolve();
    for (const entry of this.#dirty) {
      this.#dirty.delete(entry);
      const waitMs = this.#overall.when();
      if (waitMs > 0) await sleep(this.#clock, waitMs, signal).catch(() => undefined);
      await this.#deliver(entry, signal);
    }
  }

  async #deliver(entry: Entry, signal: AbortSignal): Promise<void> {
    let backoff = new Backoff({ baseMs: 500, capMs: 5_000 });
    while (!signal.aborted) {
      try {
        const count = entry.count;
        await this.#put(entry, signal);
        entry.sent = count;
        return;
      } catch (thrown) {
        backoff = backoff.next();
        const hopeless = thrown instanceof KubeError && !thrown.retryable;
        // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- it may abort meanwhile
        if (hopeless || backoff.attempt === mostTries || signal.aborted) {
          this.#options.log.warn(
            { err: asError(thrown), reason: entry.event.reason },
            'dropped an event that could not be delivered',
          );
          break;
        }
        await sleep(this.#clock, backoff.delayMs, signal).catch(() => undefined);
      }
    }
    this.#dropped++;
    this.#entries.delete(entry.key);
  }

  async #put(entry: Entry, signal: AbortSignal): Promise<void> {
    const { count } = entry;
    const lastTimestamp = wholeSecondsTime(entry.lastAt);
    if (entry.sent > 0) {
      try {
        const body = { count, lastTimestamp };
        await this.#client.patch(coreEvents, entry.event.metadata, { type: 'merge', body }, signal);
        return;
      } catch (error) {
        // The server has forgotten it: events live for an hour only.
        if (!isNotFound(error)) throw error;
      }
    }
    const firstTimestamp = wholeSecondsTime(entry.firstAt);
    const event = { ...entry.event, count, firstTimestamp, lastTimestamp };
    try {
      await this.#client.create(coreEvents, event, signal);
    } catch (error) {
      // An earlier try got through although its answer did not.
      if (!(error instanceof KubeError && error.reason === 'AlreadyExists')) throw error;
    }
  }
}

function referenceTo(object: KubeObject | ObjectReference): ObjectReference {
  if (!('metadata' in object)) return object;
  const { name, namespace, uid, resourceVersion } = object.metadata;
  return {
    apiVersion: object.apiVersion,
    kind: object.kind,
    name,
    ...(namespace !== undefined && { namespace }),
    ...(uid !== undefined && { uid }),
    ...(resourceVersion !== undefined && { resourceVersion }),
  };
}
