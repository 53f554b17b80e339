/**
 * Time as a dependency: loops, backoffs and leases take a `Clock`, so that their tests run in virtual time.
 */
export interface Clock {
  /** Wall-clock time, milliseconds since the Unix epoch. Only for showing to people. */
  now(): number;
  /** Monotonic time in milliseconds from an arbitrary origin. For every decision about elapsed time. */
  monotonic(): number;
  /**
   * Calls `callback` once after `delayMs`, or after `maxDelayMs` if that is less; the returned function cancels it
   * (idempotent).
   */
  schedule(callback: () => void, delayMs: number): () => void;
}

/** Almost 25 days, the most that setTimeout can wait: given more, it would fire at once. */
export const maxDelayMs = 2 ** 31 - 1;

/** The machine's own clocks. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  schedule(callback, delayMs) {
    const timer = setTimeout(callback, Math.min(delayMs, maxDelayMs));
    return () => {
      clearTimeout(timer);
    };
  },
};

/** Resolves after `delayMs`; rejects with the signal's reason as soon as `signal` aborts. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      cancel();
      reject(abortReason(signal));
    };
    if (signal?.aborted) {
      reject(abortReason(signal));
      return;
    }
    const cancel = clock.schedule(() => {
      signal?.removeEventListener('abort', abort);
      resolve();
    }, delayMs);
    signal?.addEventListener('abort', abort, { once: true });
  });
}

function abortReason(signal: AbortSignal | undefined): Error {
  const reason: unknown = signal?.reason;
  return reason instanceof Error ? reason : new Error('aborted');
}
