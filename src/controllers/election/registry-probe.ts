import { leaderPath } from '../../registry/records/leader.ts';
import type { Store } from '../../registry/store.ts';
import { sleep, type Clock } from '../../runtime/clock.ts';
import { deadline } from '../../runtime/deadline.ts';
import type { Logger } from '../../telemetry/log.ts';

/** How often the operator asks the registry whether it is well, and how long it waits for the answer, milliseconds. */
const everyMs = 1_000;
const timeoutMs = 2_000;

export interface RegistryProbeOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Logger;
  /** Whether the records of hosts are being followed at this moment. */
  readonly isCurrent: () => boolean;
  /** Told after each try. */
  readonly onAnswer: (answers: boolean) => void;
}

/** Finds out whether the registry answers, until `signal` aborts: hosts are only lost while it does. */
export async function probeRegistry(
  options: RegistryProbeOptions,
  signal: AbortSignal,
): Promise<void> {
  const { store, clock, log, isCurrent, onAnswer } = options;
  let answered: boolean | undefined;
  while (!signal.aborted) {
    const limit = deadline(clock, timeoutMs, 'the probe of the registry', signal);
    let answers = false;
    try {
      await store.get(leaderPath, limit.signal);
      answers = isCurrent();
    } catch (error) {
      // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- it may abort during the read
      if (signal.aborted) return;
      log.debug({ err: error }, 'the registry does not answer');
    } finally {
      limit.dispose();
    }
    const isNews = answered !== undefined && answers !== answered;
    // Nothing is said before it answered for the first time.
    if (answers || answered !== undefined) answered = answers;
    if (isNews) {
      log.warn({ answers }, answers ? 'the registry answers again' : 'the registry is away');
    }
    onAnswer(answers);
    await sleep(clock, answers ? everyMs : everyMs / 5, signal).catch(() => undefined);
  }
}
