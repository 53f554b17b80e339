import type { CronTimes } from '../../api/v1alpha1/cron.ts';

/** One run of a scheduled service. */
export interface Run {
  /** Name of its Service object. */
  readonly name: string;
  /** The time that it is for; it identifies the run. Milliseconds since the epoch. */
  readonly atMs: number;
  readonly state: 'active' | 'succeeded' | 'failed';
  /** Its object is being deleted. */
  readonly leaving: boolean;
}

/** What a schedule says, units computed. */
export interface Schedule {
  readonly times: CronTimes;
  readonly concurrency: 'allow' | 'forbid' | 'replace';
  /** How late a run may start. Infinity: however late. */
  readonly startingDeadlineMs: number;
  readonly successfulRuns: number;
  readonly failedRuns: number;
  readonly suspend: boolean;
}

/** What is remembered of a schedule, in the status of its Service. */
export interface ScheduleMemory {
  /** When the next run was due, as computed by the present cron expression; undefined: it has not been looked at yet. */
  readonly nextMs: number | undefined;
  /** The last time that a run was started for or left out. */
  readonly lastMs: number | undefined;
}

export interface SchedulePlan {
  /** A run to be started, by its time. */
  readonly start?: number;
  /** Why the run that was due at `lastMs` is none. */
  readonly leftOut?: 'late' | 'concurrent';
  /** Runs to be stopped: the new one takes their place. */
  readonly stop: readonly Run[];
  /** Runs that have ended and are not kept. */
  readonly forget: readonly Run[];
  /** To be remembered. */
  readonly memory: ScheduleMemory;
}

/**
 * What a schedule asks for at this moment. Pure; all that it depends on is in objects, so it does not matter which operator
 * asks, or how often. A run is identified by its time: one that is remembered, or has an object, is never started again.
 *
 * - What is due is the latest time that has come since the one that was announced. So of several that were missed, one is
 *   made up for, if it is not too late for it.
 * - A schedule that is new, changed or taken up again begins now: nothing is made up for from before.
 * - An ended run is only forgotten when its time is remembered.
 */
export function planSchedule(
  schedule: Schedule,
  memory: ScheduleMemory,
  runs: readonly Run[],
  nowMs: number,
): SchedulePlan {
  const { times, concurrency } = schedule;
  const known = Math.max(-Infinity, memory.lastMs ?? -Infinity, ...runs.map(({ atMs }) => atMs));
  const forget = surplus(schedule, runs, memory.lastMs);
  const lastMs = Number.isFinite(known) ? known : undefined;
  if (schedule.suspend) {
    return { stop: [], forget, memory: { nextMs: undefined, lastMs } };
  }
  const next = times.next(nowMs);
  const rest = { forget, stop: [] as Run[] };
  const dueMs =
    memory.nextMs !== undefined && memory.nextMs <= nowMs ? times.previous(nowMs) : undefined;
  if (dueMs === undefined || dueMs <= known) {
    const nextMs = memory.nextMs !== undefined && memory.nextMs > nowMs ? memory.nextMs : next;
    return { ...rest, memory: { nextMs, lastMs } };
  }
  const after = { nextMs: next, lastMs: dueMs };
  if (nowMs - dueMs > schedule.startingDeadlineMs) {
    return { ...rest, leftOut: 'late', memory: after };
  }
  const active = runs.filter(({ state }) => state === 'active');
  if (concurrency === 'forbid' && active.length > 0) {
    return { ...rest, leftOut: 'concurrent', memory: after };
  }
  const stop = concurrency === 'replace' ? active.filter(({ leaving }) => !leaving) : [];
  return { forget, stop, start: dueMs, memory: after };
}

/** Ended runs beyond those that are kept, oldest first. */
export function surplus(
  { successfulRuns, failedRuns }: Pick<Schedule, 'successfulRuns' | 'failedRuns'>,
  runs: readonly Run[],
  rememberedMs: number | undefined,
): Run[] {
  const ended = (state: Run['state'], kept: number): Run[] =>
    runs
      .filter((run) => run.state === state && !run.leaving)
      .toSorted((a, b) => b.atMs - a.atMs)
      .slice(kept)
      .filter(({ atMs }) => rememberedMs !== undefined && atMs <= rememberedMs);
  return [...ended('succeeded', successfulRuns), ...ended('failed', failedRuns)].toSorted(
    (a, b) => a.atMs - b.atMs,
  );
}
