import { setMaxListeners } from 'node:events';

/** A signal that follows others until `unlink()`, which must be called when the work is over. */
export interface LinkedSignal {
  readonly signal: AbortSignal;
  readonly unlink: () => void;
}

/**
 * Aborts when one of `sources` does, with its reason. By hand, since AbortSignal.any keeps its results alive as
 * long as a long-lived source on Node 20: about 1 kB for each call.
 */
export function linkSignals(...sources: readonly (AbortSignal | undefined)[]): LinkedSignal {
  const controller = new AbortController();
  // However many calls share it, that is no leak.
  setMaxListeners(0, controller.signal);
  const unlink = (): void => {
    for (const source of sources) source?.removeEventListener('abort', follow);
  };
  const follow = (): void => {
    unlink();
    controller.abort(sources.find((source) => source?.aborted)?.reason);
  };
  for (const source of sources) source?.addEventListener('abort', follow, { once: true });
  if (sources.some((source) => source?.aborted)) follow();
  return { signal: controller.signal, unlink };
}
