/** Runs `body` until it is told to stop by its argument or by `signal`. */
export async function runUntil(
  body: (stop: () => void, signal: AbortSignal) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const done = new AbortController();
  const forward = (): void => {
    done.abort();
  };
  signal.addEventListener('abort', forward, { once: true });
  if (signal.aborted) forward();
  await body(forward, done.signal);
  signal.removeEventListener('abort', forward);
}
