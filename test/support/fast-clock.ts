import type { Clock } from '../../src/runtime/clock.ts';

/** A clock that runs `factor` times as fast as the machine's: for long waits against real sockets. */
export function fastClock(factor: number): Clock {
  return {
    now: () => Date.now(),
    monotonic: () => performance.now() * factor,
    schedule(callback, delayMs) {
      const timer = setTimeout(callback, delayMs / factor);
      return () => {
        clearTimeout(timer);
      };
    },
  };
}
