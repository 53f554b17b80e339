import type { Clock } from './clock.ts';

/** Decides how long a failing key has to wait (client-go util/workqueue, default_rate_limiters.go). */
export interface RateLimiter {
  /** Counts one more failure of `key` and returns how long to wait, in milliseconds. */
  when(key: string): number;
  /** Forgets the failures of `key`: call after a success. */
  forget(key: string): void;
  /** Failures of `key` since it was last forgotten. */
  retries(key: string): number;
}

/** Doubles the delay of each key with each of its failures: base, 2 base, 4 base … cap. */
export class ExponentialRateLimiter implements RateLimiter {
  readonly #failures = new Map<string, number>();
  readonly #baseMs: number;
  readonly #capMs: number;

  /** @param baseMs default 5 ms; @param capMs default 60 s. */
  constructor(baseMs = 5, capMs = 60_000) {
    this.#baseMs = baseMs;
    this.#capMs = capMs;
  }

  when(key: string): number {
    const failures = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failures + 1);
    return Math.min(this.#capMs, this.#baseMs * 2 ** failures);
  }

  forget(key: string): void {
    this.#failures.delete(key);
  }

  retries(key: string): number {
    return this.#failures.get(key) ?? 0;
  }
}

/**
 * One token bucket for all keys, so that ten thousand keys that fail together do not retry together.
 * Takes tokens on credit, as Go's rate.Limiter.Reserve does: the wait is when the token will be there.
 */
export class BucketRateLimiter implements RateLimiter {
  readonly #clock: Clock;
  readonly #perMs: number;
  readonly #burst: number;
  #tokens: number;
  #updatedAt: number;

  /** @param perSecond default 10; @param burst default 100 (client-go's defaults). */
  constructor(clock: Clock, perSecond = 10, burst = 100) {
    this.#clock = clock;
    this.#perMs = perSecond / 1000;
    this.#burst = burst;
    this.#tokens = burst;
    this.#updatedAt = clock.monotonic();
  }

  when(): number {
    this.#refill();
    this.#tokens -= 1;
    return this.#tokens >= 0 ? 0 : -this.#tokens / this.#perMs;
  }

  /** Takes `count` tokens if they are there now; never on credit. */
  tryTake(count = 1): boolean {
    this.#refill();
    if (this.#tokens < count) return false;
    this.#tokens -= count;
    return true;
  }

  #refill(): void {
    const now = this.#clock.monotonic();
    this.#tokens = Math.min(this.#burst, this.#tokens + (now - this.#updatedAt) * this.#perMs);
    this.#updatedAt = now;
  }

  forget(): void {
    // The bucket knows no keys.
  }

  retries(): number {
    return 0;
  }
}

/** The longest wait that any of several limiters asks for. */
export class MaxRateLimiter implements RateLimiter {
  readonly #limiters: readonly RateLimiter[];

  constructor(...limiters: readonly RateLimiter[]) {
    this.#limiters = limiters;
  }

  when(key: string): number {
    return Math.max(0, ...this.#limiters.map((limiter) => limiter.when(key)));
  }

  forget(key: string): void {
    for (const limiter of this.#limiters) limiter.forget(key);
  }

  retries(key: string): number {
    return Math.max(0, ...this.#limiters.map((limiter) => limiter.retries(key)));
  }
}

/** What controllers use: per key 5 ms … 60 s, and 10 retries per second (burst 100) over all keys. */
export function defaultRateLimiter(clock: Clock): RateLimiter {
  return new MaxRateLimiter(new ExponentialRateLimiter(), new BucketRateLimiter(clock));
}
