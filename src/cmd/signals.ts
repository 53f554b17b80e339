import { setMaxListeners } from 'node:events';
import { raisePriority } from '../runtime/priority.ts';
import type { Logger } from '../telemetry/log.ts';

/**
 * Runs `main`, which others wait for to give signs of life, with a signal that SIGINT and SIGTERM abort; a second one ends the process
 * at once. An error that escapes from anywhere ends it too, with a line in the log: going on in an unknown state is worse.
 */
export async function runUntilSignal(
  log: Logger,
  main: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  raisePriority();
  const stop = new AbortController();
  // Every call and every loop listens to it; Node takes more than ten for a leak.
  setMaxListeners(0, stop.signal);
  const onSignal = (name: NodeJS.Signals): void => {
    if (stop.signal.aborted) process.exit(130);
    log.info({ signal: name }, 'stopping; once more to stop at once');
    stop.abort(new Error(`stopped by ${name}`));
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  const onFault = (thrown: unknown): void => {
    log.fatal({ err: thrown }, 'unexpected error; ending');
    process.exit(1);
  };
  process.on('uncaughtException', onFault);
  process.on('unhandledRejection', onFault);
  try {
    await main(stop.signal);
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
  }
}
