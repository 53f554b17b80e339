import { systemClock, type Clock } from './clock.ts';
import { defaultRateLimiter, type RateLimiter } from './rate-limiter.ts';

export interface WorkqueueOptions {
  /** Default: the machine's clock. */
  readonly clock?: Clock;
  /** Default: defaultRateLimiter. */
  readonly rateLimiter?: RateLimiter;
}

/** setTimeout's limit is a little under 25 days; nothing needs to wait longer than a day for its next look. */
const maxDelayMs = 24 * 60 * 60 * 1000;

/**
 * A queue of keys for level-triggered workers: client-go's workqueue (util/workqueue/queue.go).
 *
 * - A key is in the queue at most once, however often it is added: a burst of changes costs one pass.
 * - A key is never given to two workers at a time. Added while a worker has it, it is queued
 *   again when that worker calls `done`, so a change during a pass is never lost.
 * - Keys come out in the order in which they were first added.
 *
 * How it works: `queue` is the order, `dirty` holds every key that needs a pass, `processing` every key that a
 * worker has. A key that is dirty and not processing is in `queue` exactly once.
 */
export class Workqueue {
  readonly #clock: Clock;
  readonly #rateLimiter: RateLimiter;
  /** Keys to hand out, from index `#head` on: an array with a moving head is an O(1) FIFO. */
  #queue: string[] = [];
  #head = 0;
  readonly #dirty = new Set<string>();
  readonly #processing = new Set<string>();
  readonly #delayed = new Map<string, { readonly at: number; readonly cancel: () => void }>();
  readonly #waiting = new Set<(key: string | undefined) => void>();
  #shutDown = false;

  constructor(options: WorkqueueOptions = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#rateLimiter = options.rateLimiter ?? defaultRateLimiter(this.#clock);
  }

  /** Keys that are ready to be taken. */
  get length(): number {
    return this.#queue.length - this.#head;
  }

  /** Keys that wait for a delay to pass. */
  get delayed(): number {
    return this.#delayed.size;
  }

  /** Keys that workers have now. */
  get processing(): number {
    return this.#processing.size;
  }

  /** Asks for a pass over `key` as soon as possible. Does nothing after shutDown. */
  add(key: string): void {
    if (this.#shutDown || this.#dirty.has(key)) return;
    this.#dirty.add(key);
    if (!this.#processing.has(key)) this.#push(key);
  }

  /** Asks for a pass in `delayMs`. Of several delayed adds of one key the earliest counts. */
  addAfter(key: string, delayMs: number): void {
    if (this.#shutDown) return;
    if (!(delayMs > 0)) {
      this.add(key);
      return;
    }
    const delay = Math.min(delayMs, maxDelayMs);
    const at = this.#clock.monotonic() + delay;
    const earlier = this.#delayed.get(key);
    if (earlier !== undefined) {
      if (earlier.at <= at) return;
      earlier.cancel();
    }
    const cancel = this.#clock.schedule(() => {
      this.#delayed.delete(key);
      this.add(key);
    }, delay);
    this.#delayed.set(key, { at, cancel });
  }

  /** Asks for a pass after a failure: waits as long as the rate limiter says, and at least `leastMs`. */
  addRateLimited(key: string, leastMs = 0): void {
    if (this.#shutDown) return;
    this.addAfter(key, Math.max(leastMs, this.#rateLimiter.when(key)));
  }

  /** Forgets the failures of `key`: call after a success, or its next failure waits long. */
  forget(key: string): void {
    this.#rateLimiter.forget(key);
  }

  /** Failures of `key` since it was last forgotten. */
  retries(key: string): number {
    return this.#rateLimiter.retries(key);
  }

  /**
   * Waits for a key. The taker must call `done(key)` when its pass is over, whatever came of it.
   * `undefined`: the queue was shut down and is empty, or `signal` has aborted.
   */
  take(signal?: AbortSignal): Promise<string | undefined> {
    if (signal?.aborted) return Promise.resolve(undefined);
    const key = this.#shift();
    if (key !== undefined || this.#shutDown) return Promise.resolve(key);
    return new Promise((resolve) => {
      const settle = (taken: string | undefined): void => {
        this.#waiting.delete(settle);
        signal?.removeEventListener('abort', abort);
        resolve(taken);
      };
      const abort = (): void => {
        settle(undefined);
      };
      signal?.addEventListener('abort', abort, { once: true });
      this.#waiting.add(settle);
    });
  }

  /** Gives back a key that was taken. If it was added in the meantime, it is queued again. */
  done(key: string): void {
    if (!this.#processing.delete(key)) return;
    if (this.#dirty.has(key)) this.#push(key);
  }

  /** Takes no more keys and drops the delayed ones. Those queued can still be taken; then takers get `undefined`. */
  shutDown(): void {
    this.#shutDown = true;
    for (const { cancel } of this.#delayed.values()) cancel();
    this.#delayed.clear();
    for (const settle of [...this.#waiting]) settle(undefined);
  }

  #push(key: string): void {
    this.#queue.push(key);
    const [settle] = this.#waiting;
    if (settle !== undefined) settle(this.#shift());
  }

  #shift(): string | undefined {
    const key = this.#queue[this.#head];
    if (key === undefined) return undefined;
    this.#head++;
    if (this.#head > 1024 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
    this.#dirty.delete(key);
    this.#processing.add(key);
    return key;
  }
}
