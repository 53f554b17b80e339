import type { Clock } from '../../src/runtime/clock.ts';

interface Timer {
  readonly at: number;
  readonly sequence: number;
  readonly callback: () => void;
}

/** A clock that stands still until `advance` moves it; due timers fire in order of time, then of creation. */
export class VirtualClock implements Clock {
  #time: number;
  #sequence = 0;
  #timers: Timer[] = [];

  /** @param startMs what `now()` and `monotonic()` say at first. */
  constructor(startMs = 0) {
    this.#time = startMs;
  }

  /** Whole milliseconds, as of Date.now(): what is left until a moment never gets too small to pass. */
  now(): number {
    return Math.floor(this.#time);
  }

  monotonic(): number {
    return this.#time;
  }

  schedule(callback: () => void, delayMs: number): () => void {
    const timer = { at: this.#time + Math.max(0, delayMs), sequence: this.#sequence++, callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** Number of timers that have not fired and were not cancelled. */
  get pending(): number {
    return this.#timers.length;
  }

  /** Moves time forward by `ms`, firing what falls due and letting promises settle in between. */
  async advance(ms: number): Promise<void> {
    const end = this.#time + ms;
    await settle();
    for (;;) {
      const next = this.#timers
        .filter((timer) => timer.at <= end)
        .sort((a, b) => a.at - b.at || a.sequence - b.sequence)[0];
      if (next === undefined) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.#time = Math.max(this.#time, next.at);
      next.callback();
      await settle();
    }
    this.#time = end;
    await settle();
  }
}

/** Lets every promise callback that is already due run. */
async function settle(): Promise<void> {
  for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve));
}
