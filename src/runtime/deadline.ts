import type { Clock } from './clock.ts';
import { linkSignals } from './linked-signal.ts';

/** Something took longer than it was allowed to. */
export class DeadlineError extends Error {
  override readonly name = 'DeadlineError';
  readonly retryable = true;
}

/** A signal of limited life. `dispose` must be called when the work is over, or the timer and listener stay. */
export interface Deadline {
  readonly signal: AbortSignal;
  dispose(): void;
}

/**
 * A signal that aborts after `timeoutMs`, or with `parent`'s reason when that aborts first.
 *
 * @param late what took too long, for a DeadlineError, or what makes an error of the caller's own.
 */
export function deadline(
  clock: Clock,
  timeoutMs: number,
  late: string | (() => Error),
  parent?: AbortSignal,
): Deadline {
  const timeout = new AbortController();
  const either = linkSignals(parent, timeout.signal);
  const cancel = clock.schedule(() => {
    const reason =
      typeof late === 'string'
        ? new DeadlineError(`${late} took longer than ${timeoutMs} ms`)
        : late();
    timeout.abort(reason);
  }, timeoutMs);
  return {
    signal: either.signal,
    dispose() {
      cancel();
      either.unlink();
    },
  };
}
