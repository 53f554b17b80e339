import { setMaxListeners } from 'node:events';
import type { Clock } from './clock.ts';

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
 * A signal that aborts after `timeoutMs` with a DeadlineError that says `what` took too long, or with
 * `parent`'s reason when that aborts first. By hand, since AbortSignal.any keeps its results
 * alive as long as a long-lived parent on Node 20.
 */
export function deadline(
  clock: Clock,
  timeoutMs: number,
  what: string,
  parent?: AbortSignal,
): Deadline {
  const controller = new AbortController();
  // However many calls share it, that is no leak.
  setMaxListeners(0, controller.signal);
  const follow = (): void => {
    controller.abort(parent?.reason);
  };
  if (parent?.aborted) {
    follow();
    return { signal: controller.signal, dispose: () => undefined };
  }
  parent?.addEventListener('abort', follow, { once: true });
  const cancel = clock.schedule(() => {
    controller.abort(new DeadlineError(`${what} took longer than ${timeoutMs} ms`));
  }, timeoutMs);
  return {
    signal: controller.signal,
    dispose() {
      cancel();
      parent?.removeEventListener('abort', follow);
    },
  };
}
