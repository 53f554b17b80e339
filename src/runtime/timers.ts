import type { Clock } from './clock.ts';

/** At most one timer for each name, all of which can be cancelled together. */
export class Timers {
  readonly #clock: Clock;
  readonly #cancels = new Map<string, () => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Calls `wake` once, `delayMs` from now; nothing happens if a timer of this name is set already. */
  keep(name: string, delayMs: number, wake: () => void): void {
    if (this.#cancels.has(name)) return;
    const cancel = this.#clock.schedule(() => {
      this.#cancels.delete(name);
      wake();
    }, delayMs);
    this.#cancels.set(name, cancel);
  }

  /** Calls `wake` once, `delayMs` from now, instead of what was set under this name. */
  replace(name: string, delayMs: number, wake: () => void): void {
    this.#cancels.get(name)?.();
    this.#cancels.delete(name);
    this.keep(name, delayMs, wake);
  }

  cancelAll(): void {
    for (const cancel of this.#cancels.values()) cancel();
    this.#cancels.clear();
  }
}
