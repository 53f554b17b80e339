/** Shape of an exponential backoff. */
export interface BackoffOptions {
  /** Upper bound of the first delay, in milliseconds. Default 800. */
  readonly baseMs?: number;
  /** Upper bound of every delay, in milliseconds. Default 30,000. */
  readonly capMs?: number;
  /** Uniform in [0, 1). Default Math.random. */
  readonly random?: () => number;
}

/**
 * Exponential backoff with full jitter: delay n is uniform in [0, min(cap, base * 2^n)). Full jitter spreads
 * many clients best after an outage (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015).
 *
 * Immutable: `next()` gives the successor, so a loop resets by going back to the value it started with.
 * A fresh Backoff has `delayMs` 0 (nothing has failed yet).
 */
export class Backoff {
  /** How many failures led here. */
  readonly attempt: number;
  /** How long to wait now, in milliseconds. */
  readonly delayMs: number;
  readonly #options: Required<BackoffOptions>;

  constructor(options: BackoffOptions = {}, attempt = 0) {
    const { baseMs = 800, capMs = 30_000, random = Math.random } = options;
    this.#options = { baseMs, capMs, random };
    this.attempt = attempt;
    this.delayMs = attempt === 0 ? 0 : random() * Math.min(capMs, baseMs * 2 ** (attempt - 1));
  }

  /** The state after one more failure. */
  next(): Backoff {
    return new Backoff(this.#options, this.attempt + 1);
  }

  /** The state after a success. */
  reset(): Backoff {
    return this.attempt === 0 ? this : new Backoff(this.#options);
  }
}
