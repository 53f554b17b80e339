import type { Clock } from './clock.ts';

/**
 * A hint that something may have changed. Any number of `fire` calls before the next `wait` are one hint;
 * a hint given while nobody waits is kept. One waiter at a time.
 */
export class Trigger {
  #fired = false;
  #wake: (() => void) | undefined;

  /** Gives the hint. Cheap, never throws. */
  fire(): void {
    this.#fired = true;
    this.#wake?.();
  }

  /** Takes back a hint that nobody has acted on: a pass that starts now sees what it hinted at. */
  clear(): void {
    this.#fired = false;
  }

  /** Resolves at the next hint (at once if there is one), after `timeoutMs`, or when `signal` aborts. Never rejects. */
  async wait(clock: Clock, timeoutMs: number, signal: AbortSignal): Promise<void> {
    if (!this.#fired && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const settle = (): void => {
          cancel();
          signal.removeEventListener('abort', settle);
          this.#wake = undefined;
          resolve();
        };
        const cancel = clock.schedule(settle, timeoutMs);
        signal.addEventListener('abort', settle, { once: true });
        this.#wake = settle;
      });
    }
    this.#fired = false;
  }
}
