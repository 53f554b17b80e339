import type { ScheduleStatus, ServiceStatus } from '../../api/v1alpha1/service.ts';
import type { ConditionClaim } from '../conditions.ts';

/** Condition types that only services have that come to an end; batch/v1's words. */
export const endConditions: ReadonlySet<string> = new Set(['Complete', 'Failed']);

/** How the run of a oneshot stands. */
export interface RunReport {
  /** What its Project, or its user, calls the run. */
  readonly id?: string;
  readonly succeeded: number;
  /** Tries that have failed. */
  readonly failures: number;
  /** Instances that have been placed and have not ended. */
  readonly active: number;
  readonly complete: boolean;
  readonly failed?: { readonly reason: string; readonly message: string };
  /** Success counts as serving. */
  readonly remains: boolean;
  /** The whole project goes back when it fails. */
  readonly rollsBack: boolean;
  /** RFC 3339 */
  readonly startedAt?: string;
  /** RFC 3339 */
  readonly completedAt?: string;
}

/** How a scheduled service stands. */
export interface ScheduleReport {
  readonly suspended: boolean;
  readonly status: ScheduleStatus;
}

/** "2/4 done, 1 running; 1 try has failed" */
export function runText(run: RunReport, replicas: number): string {
  const { succeeded, active, failures } = run;
  const base = `${String(succeeded)}/${String(replicas)} done, ${String(active)} active`;
  if (failures === 0) return base;
  return `${base}; ${failures === 1 ? '1 try has' : `${String(failures)} tries have`} failed`;
}

/** What a service's status says of its run. */
export function runFields(run: RunReport | undefined, replicas: number): Partial<ServiceStatus> {
  if (run === undefined) return {};
  const { id, succeeded, failures, active, startedAt, completedAt } = run;
  return {
    ...(id === undefined ? {} : { run: id }),
    completions: `${String(succeeded)}/${String(replicas)}`,
    succeeded,
    failed: failures,
    active,
    ...(startedAt === undefined ? {} : { startTime: wholeSeconds(startedAt) }),
    ...(completedAt === undefined ? {} : { completionTime: wholeSeconds(completedAt) }),
  };
}

/** The conditions of a Job, as batch/v1 has them. */
export function endClaims(run: RunReport, message: string): ConditionClaim[] {
  const { complete, failed } = run;
  return [
    complete
      ? { type: 'Complete', status: 'True', reason: 'Completed', message }
      : { type: 'Complete', status: 'False', reason: failed?.reason ?? 'Running', message: '' },
    failed === undefined
      ? { type: 'Failed', status: 'False', reason: complete ? 'Completed' : 'Running', message: '' }
      : { type: 'Failed', status: 'True', ...failed },
  ];
}

/** What to say of a scheduled service. */
export function scheduleText({ suspended, status }: ScheduleReport): string {
  const { nextScheduleTime, lastScheduleTime, runs = [] } = status;
  const next = suspended
    ? 'suspended'
    : nextScheduleTime === undefined
      ? 'no time is left'
      : `next run at ${nextScheduleTime}`;
  const last = runs.find(({ state }) => state === 'Completed' || state === 'Failed');
  const how = last === undefined ? '' : `; ${last.name}: ${last.state}`;
  return `${next}${lastScheduleTime === undefined ? '' : `, last at ${lastScheduleTime}`}${how}`;
}

function wholeSeconds(time: string): string {
  return time.replace(/\.\d+Z$/, 'Z');
}
