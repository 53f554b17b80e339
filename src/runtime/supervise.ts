import type { Logger } from '../telemetry/log.ts';
import { Backoff, type BackoffOptions } from './backoff.ts';
import { sleep, systemClock, type Clock } from './clock.ts';
import { asError } from './errors.ts';
import { linkSignals } from './linked-signal.ts';

/** A loop that is meant to run until its signal aborts. */
export interface Task {
  readonly name: string;
  run(signal: AbortSignal): Promise<void>;
  /** Start it again with this backoff when it fails or ends. Without it, either stops everything. */
  readonly restart?: BackoffOptions;
}

export interface SuperviseOptions {
  readonly log: Logger;
  /** Default: the machine's clock. */
  readonly clock?: Clock;
}

/** A task that ran this long before it failed starts again from the first backoff. */
const healthyAfterMs = 60_000;

/**
 * Runs all `tasks` until `signal` aborts or one of them fails for good; then aborts the others, waits for
 * all of them, and rejects with the first failure (or resolves, if it was `signal`). A task that
 * ends by itself, though nobody asked it to, has failed.
 */
export async function supervise(
  tasks: readonly Task[],
  options: SuperviseOptions,
  signal: AbortSignal,
): Promise<void> {
  const broken = new AbortController();
  const stop = linkSignals(signal, broken.signal);
  let failure: Error | undefined;
  try {
    await Promise.all(
      tasks.map(async (task) => {
        try {
          await keepRunning(task, options, stop.signal);
        } catch (thrown) {
          if (stop.signal.aborted) return;
          failure ??= asError(thrown);
          options.log.error({ err: failure, task: task.name }, 'task failed; stopping the others');
          broken.abort(failure);
        }
      }),
    );
  } finally {
    stop.unlink();
  }
  if (failure !== undefined) throw failure;
}

async function keepRunning(
  task: Task,
  options: SuperviseOptions,
  signal: AbortSignal,
): Promise<void> {
  const { clock = systemClock, log } = options;
  let backoff = new Backoff(task.restart);
  while (!signal.aborted) {
    const startedAt = clock.monotonic();
    let failure: Error;
    try {
      await task.run(signal);
      failure = new Error(`${task.name} ended unexpectedly`);
    } catch (thrown) {
      failure = asError(thrown);
    }
    // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- it may abort while the task runs
    if (signal.aborted) return;
    if (task.restart === undefined) throw failure;
    if (clock.monotonic() - startedAt > healthyAfterMs) backoff = backoff.reset();
    backoff = backoff.next();
    log.warn(
      { err: failure, task: task.name, restartInMs: Math.round(backoff.delayMs) },
      'task failed; starting it again',
    );
    await sleep(clock, backoff.delayMs, signal).catch(() => undefined);
  }
}
