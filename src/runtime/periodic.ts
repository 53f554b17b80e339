import type { Logger } from '../telemetry/log.ts';
import { Backoff } from './backoff.ts';
import { sleep, systemClock, type Clock } from './clock.ts';
import { asError } from './errors.ts';
import { Trigger } from './trigger.ts';

export interface PeriodicOptions {
  /** For logs. */
  readonly name: string;
  /** Longest time between the end of a pass and the start of the next, in milliseconds. */
  readonly intervalMs: number;
  /** Fire it to have a pass at once. Hints that come during a pass cause one more pass after it. */
  readonly trigger?: Trigger;
  /** Shortest time between the starts of two passes, so that a storm of hints costs little. Default 0. */
  readonly minGapMs?: number;
  /** Warn about passes longer than this, in milliseconds. Default: the interval. */
  readonly slowMs?: number;
  readonly log: Logger;
  /** Default: the machine's clock. */
  readonly clock?: Clock;
  /** Uniform in [0, 1), for the jitter of retries. Default Math.random. */
  readonly random?: () => number;
}

/**
 * "Interval or event" loop (fleet pkg/reconcile): runs `pass` at once, then at every hint and at least every
 * `intervalMs`, never two at a time, until `signal` aborts; then waits for the running pass and resolves.
 * A pass that throws is logged and tried again after a backoff of at most the interval; it never ends the loop.
 */
export async function runPeriodically(
  options: PeriodicOptions,
  pass: (signal: AbortSignal) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const { intervalMs, minGapMs = 0, slowMs = intervalMs, clock = systemClock } = options;
  const trigger = options.trigger ?? new Trigger();
  const log = options.log.child({ loop: options.name });
  let backoff = new Backoff({
    baseMs: Math.min(500, intervalMs),
    capMs: intervalMs,
    ...(options.random && { random: options.random }),
  });
  while (!signal.aborted) {
    const startedAt = clock.monotonic();
    trigger.clear();
    try {
      await pass(signal);
      backoff = backoff.reset();
    } catch (thrown) {
      // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- it may abort during the pass
      if (signal.aborted) return;
      backoff = backoff.next();
      log.warn({ err: asError(thrown), retryInMs: Math.round(backoff.delayMs) }, 'pass failed');
    }
    const durationMs = clock.monotonic() - startedAt;
    if (durationMs > slowMs) log.warn({ durationMs, slowMs }, 'slow pass');
    await trigger.wait(clock, backoff.attempt === 0 ? intervalMs : backoff.delayMs, signal);
    // A hint may cut a backoff short, but a storm of hints must not make a failing pass spin.
    const gapMs = Math.max(minGapMs, Math.min(backoff.delayMs, 1000));
    const restMs = gapMs - (clock.monotonic() - startedAt);
    if (restMs > 0) await sleep(clock, restMs, signal).catch(() => undefined);
  }
}
