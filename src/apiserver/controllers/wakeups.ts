import type { Clock } from '../../runtime/clock.ts';
import { deferred, type Deferred } from '../deferred.ts';

/** A set of keys that need attention: many wakes of one key before it is taken count once. */
export class Wakeups {
  readonly #clock: Clock;
  readonly #due = new Set<string>();
  readonly #later = new Map<string, () => void>();
  #waiting: Deferred<undefined> | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  wake(key: string): void {
    this.#later.get(key)?.();
    this.#later.delete(key);
    this.#due.add(key);
    this.#waiting?.resolve(undefined);
  }

  /** Wakes `key` after a delay, unless something wakes it before. */
  wakeAfter(key: string, delayMs: number): void {
    if (this.#due.has(key) || this.#later.has(key)) return;
    this.#later.set(
      key,
      this.#clock.schedule(() => {
        this.wake(key);
      }, delayMs),
    );
  }

  /** The next key, waiting for one; undefined when `signal` aborts. */
  async next(signal: AbortSignal): Promise<string | undefined> {
    const stop = (): void => {
      this.#waiting?.resolve(undefined);
    };
    signal.addEventListener('abort', stop, { once: true });
    try {
      for (;;) {
        if (signal.aborted) {
          for (const cancel of this.#later.values()) cancel();
          return undefined;
        }
        const [key] = this.#due;
        if (key !== undefined) {
          this.#due.delete(key);
          return key;
        }
        this.#waiting = deferred<undefined>();
        await this.#waiting.promise;
      }
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }
}
