/**
 * Whether the signal has aborted by now. A function, because the compiler takes `signal.aborted` for constant once it was
 * looked at, though any await may change it.
 */
export function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
