/**
 * A failure that no retry can mend: only a change of the object can. A controller logs and counts
 * it, and waits for the next change instead of retrying.
 */
export class TerminalError extends Error {
  override readonly name: string = 'TerminalError';
  readonly retryable = false;
}

/** Whatever was thrown, as an Error. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

/** How long an error itself asks to wait before the next try, in milliseconds; 0 when it does not say. */
export function retryAfterMsOf(error: unknown): number {
  if (typeof error !== 'object' || error === null || !('retryAfterMs' in error)) return 0;
  return typeof error.retryAfterMs === 'number' ? error.retryAfterMs : 0;
}
