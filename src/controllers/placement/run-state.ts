import { formatDuration } from '../../api/v1alpha1/duration.ts';
import type { InstanceRecord } from '../../registry/records/instance.ts';
import type { RunRecord } from '../../registry/records/run.ts';
import { formatOrdinals, parseOrdinals } from './ordinals.ts';
import type { OneshotPolicy, Placed } from './types.ts';

/** Pauses between two tries of an instance: the first, if the service does not say, and the longest. */
export const firstRetryMs = 1_000;
const longestRetryMs = 60_000;

/** How a run stands. */
export type Verdict =
  | { readonly type: 'running' }
  | { readonly type: 'complete' }
  /** `final`: nothing more happens by itself. */
  | { readonly type: 'failed'; readonly reason: string; readonly message: string };

/** That an instance has come to its end. */
export interface End {
  readonly placed: Placed;
  readonly success: boolean;
  readonly reason?: string | undefined;
  readonly message?: string | undefined;
}

/** How an instance ended that its agent does not start again; undefined: it has not, or nobody can tell. */
export function endOf(placed: Placed, record: InstanceRecord | undefined): End | undefined {
  if (record === undefined || record.id !== placed.record?.id) return undefined;
  const { phase, reason, message, exitCode } = record;
  if (phase === 'Failed' && reason === 'StartLimitHit') {
    return { placed, success: false, reason, message };
  }
  if (phase !== 'Exited') return undefined;
  const success = reason === undefined ? exitCode === 0 : reason === 'Completed';
  return { placed, success, reason, message };
}

/** The record of a run that begins. @param now RFC 3339 */
export function newRun(uid: string, run: string, now: string): RunRecord {
  return { uid, run, startedAt: now, succeeded: '', failures: [] };
}

/**
 * The record after taking note of what has ended. Returns the same object when there is nothing new: each try counts once,
 * by its placement's id.
 * @param replicas instances that have to succeed. @param now RFC 3339
 */
export function noteEnds(
  record: RunRecord,
  ends: readonly End[],
  replicas: number,
  now: string,
): RunRecord {
  const succeeded = parseOrdinals(record.succeeded);
  const before = succeeded.size;
  const noted = new Set(record.failures.map(({ id }) => id));
  const failures = [...record.failures];
  for (const { placed, success, reason, message } of ends) {
    const id = placed.record?.id;
    if (id === undefined) continue;
    if (success) succeeded.add(placed.ordinal);
    else if (!noted.has(id)) {
      noted.add(id);
      failures.push({
        id,
        ordinal: placed.ordinal,
        at: now,
        ...(reason === undefined ? {} : { reason }),
        ...(message === undefined ? {} : { message: message.slice(0, 300) }),
      });
    }
  }
  const isComplete = missing(succeeded, replicas) === 0;
  const isNews =
    succeeded.size !== before ||
    failures.length !== record.failures.length ||
    isComplete !== (record.completedAt !== undefined);
  if (!isNews) return record;
  const { completedAt = now, ...rest } = record;
  return {
    ...rest,
    succeeded: formatOrdinals(succeeded),
    failures,
    ...(isComplete ? { completedAt } : {}),
  };
}

/** The record without the success of these, which have to run once more. */
export function withoutSuccess(record: RunRecord, ordinals: readonly number[]): RunRecord {
  const succeeded = parseOrdinals(record.succeeded);
  const had = ordinals.filter((ordinal) => succeeded.delete(ordinal));
  if (had.length === 0) return record;
  const rest = { ...record, succeeded: formatOrdinals(succeeded) };
  delete rest.completedAt;
  return rest;
}

/** How many of 1 to `replicas` have not succeeded. */
export function missing(succeeded: ReadonlySet<number>, replicas: number): number {
  let count = 0;
  for (let ordinal = 1; ordinal <= replicas; ordinal++) if (!succeeded.has(ordinal)) count++;
  return count;
}

/** How a run stands by its record. Depends on nothing else, so each operator comes to the same. @param nowMs wall clock */
export function verdictOf(
  record: RunRecord,
  policy: OneshotPolicy,
  replicas: number,
  nowMs: number,
): Verdict {
  const succeeded = parseOrdinals(record.succeeded);
  if (missing(succeeded, replicas) === 0) return { type: 'complete' };
  const { failures } = record;
  const last = failures.at(-1);
  if (policy.job === undefined) {
    const failed = failures.find(({ ordinal }) => ordinal <= replicas && !succeeded.has(ordinal));
    if (failed === undefined) return { type: 'running' };
    return { type: 'failed', reason: failed.reason ?? 'Error', message: failureText(failed) };
  }
  const { backoffLimit, deadlineMs } = policy.job;
  if (failures.length > backoffLimit && last !== undefined) {
    return {
      type: 'failed',
      reason: 'BackoffLimitExceeded',
      message: `${String(failures.length)} failures, where ${String(backoffLimit)} are made good; last ${failureText(last)}`,
    };
  }
  if (deadlineMs !== undefined && nowMs >= Date.parse(record.startedAt) + deadlineMs) {
    const left = missing(succeeded, replicas);
    return {
      type: 'failed',
      reason: 'DeadlineExceeded',
      message: `${String(left)} of ${String(replicas)} not done within ${formatDuration(deadlineMs)}`,
    };
  }
  return { type: 'running' };
}

/** When an instance that has failed may be made anew, wall clock; undefined: it has not failed, or is not tried again. */
export function retryAtMs(
  record: RunRecord,
  ordinal: number,
  { job }: OneshotPolicy,
): number | undefined {
  const failures = record.failures.filter((failure) => failure.ordinal === ordinal);
  const last = failures.at(-1);
  if (last === undefined || job === undefined) return undefined;
  const longest = Math.max(longestRetryMs, job.firstRetryMs);
  const pause = Math.min(longest, job.firstRetryMs * 2 ** Math.min(20, failures.length - 1));
  return Date.parse(last.at) + pause;
}

function failureText({ ordinal, reason, message }: RunRecord['failures'][number]): string {
  const why = message ?? reason ?? 'failed';
  return `instance ${String(ordinal)}: ${why}`;
}
