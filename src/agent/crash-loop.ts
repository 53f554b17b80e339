import type { InspectedContainer } from './docker/engine.ts';

/**
 * What is known of a container's recent ends. The engine restarts it by itself (see docker/container-spec.ts) and
 * does not tell how long it will pause, but its rule is fixed (moby restartmanager): 100 ms, doubled with every
 * end, at most 60 s, and from the start again after a run of 10 s or more. So the pause follows from the number of
 * short runs in a row.
 */
export interface CrashState {
  readonly containerId: string;
  readonly restartCount: number;
  /** Of the run that was seen last. */
  readonly startedAt: string | undefined;
  /** Runs in a row, up to now, that lasted less than `shortRunMs`. */
  readonly shortRuns: number;
  /** The end that was counted last, of a container that the agent restarts. */
  readonly endedAt?: string | undefined;
}

export const shortRunMs = 10_000;
const firstPauseMs = 100;
const longestPauseMs = 60_000;

/** Ends in a row from which on it is called a crash loop. */
export const crashLoopRuns = 3;

/**
 * The state after seeing the container again. Ends between two looks are counted by the engine's own counter.
 * Of a container that the agent restarts, every end is seen (the next run waits for the agent).
 * After a start of the agent, short runs are taken to be all that the engine has counted: at worst the pause shown is too long.
 */
export function nextCrashState(
  before: CrashState | undefined,
  seen: Pick<InspectedContainer, 'id' | 'restartCount' | 'state' | 'startedAt' | 'finishedAt'>,
  byAgent = false,
): CrashState {
  const same = before !== undefined && before.containerId === seen.id;
  const known = same ? before : { restartCount: 0, shortRuns: before?.shortRuns ?? 0 };
  // The counter starts again at 0 when somebody starts the container by a call.
  const endedAt = byAgent && seen.state === 'exited' ? seen.finishedAt : undefined;
  const endedNow = endedAt !== undefined && !(same && before.endedAt === endedAt);
  const ends = endedNow ? 1 : Math.max(0, seen.restartCount - known.restartCount);
  const lasted = lastRunMs(seen);
  const calm = lasted !== undefined && lasted >= shortRunMs;
  return {
    containerId: seen.id,
    restartCount: seen.restartCount,
    startedAt: seen.startedAt,
    shortRuns: calm ? (seen.state === 'restarting' ? 1 : 0) : known.shortRuns + ends,
    ...(byAgent && { endedAt: endedAt ?? (same ? before.endedAt : undefined) }),
  };
}

/** The engine's pause before the next start, milliseconds; `shortRuns` of at least 1. */
export function enginePauseMs(shortRuns: number): number {
  return Math.min(longestPauseMs, firstPauseMs * 2 ** Math.min(20, Math.max(0, shortRuns - 1)));
}

/**
 * How long it must have run before it counts as ready. One that has just crashed is not sent work at once: a crash
 * loop would otherwise flap in every host's DNS. 0 for one that has not.
 */
export function settleMs(shortRuns: number): number {
  return shortRuns === 0 ? 0 : Math.min(shortRunMs, 1000 * 2 ** Math.min(10, shortRuns - 1));
}

/** How long the last finished run lasted, milliseconds; undefined when none has finished or it runs again. */
export function lastRunMs(
  seen: Pick<InspectedContainer, 'startedAt' | 'finishedAt'>,
): number | undefined {
  if (seen.startedAt === undefined || seen.finishedAt === undefined) return undefined;
  const ms = Date.parse(seen.finishedAt) - Date.parse(seen.startedAt);
  return ms >= 0 ? ms : undefined;
}
