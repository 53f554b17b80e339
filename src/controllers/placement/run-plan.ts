import type { RunRecord } from '../../registry/records/run.ts';
import { parseOrdinals } from './ordinals.ts';
import { byOrdinal, isLeftBehind, preference, type Plan } from './plan.ts';
import type { Step, StepReason } from './step.ts';
import {
  endOf,
  newRun,
  noteEnds,
  retryAtMs,
  verdictOf,
  withoutSuccess,
  type End,
  type Verdict,
} from './run-state.ts';
import type { DesiredInstances, OneshotPolicy, Placed, PlacementView } from './types.ts';
import type { InstanceRecord } from '../../registry/records/instance.ts';

/** Ended instances whose containers are left on their hosts, for their logs: those with the highest numbers. */
const mostKept = 20;

/** What the planner of a oneshot asks about the world. */
export interface RunView extends PlacementView {
  /** What the agent says of a placed instance. */
  reported(placed: Placed): InstanceRecord | undefined;
  /** What is known of this service's runs. */
  readonly record: RunRecord | undefined;
  /** Other services have to come first: a run does not begin. */
  readonly waits: boolean;
  /** Wall clock, milliseconds. */
  readonly nowMs: number;
}

export interface RunPlan extends Plan {
  /** To be written before the steps are taken; absent: the run has not begun. */
  readonly record?: RunRecord;
  readonly verdict: Verdict;
  /** Milliseconds after which there is more to do, whatever else happens. */
  readonly wakeInMs?: number;
}

/**
 * What to do for a service that runs to its end. Pure. What has ended is noted in the run's record first, and everything is
 * decided by that: so whatever an operator knew when it died, nothing that has ended runs again, and no failure counts
 * twice.
 *
 * - Ordinals that have not succeeded are placed, lowest first, at most `parallelism` at a time.
 * - One whose host is lost before it has ended is placed anew. One that has ended is not, whatever becomes of its host.
 * - Another run takes the place of whatever is left of the last one.
 * - A job's failed try is followed by another one after a pause, until the job has failed; then what runs is stopped.
 * - What has ended stays on its host, without taking any room, for as long as that is there (at most 20 of a service).
 * - Rules that have changed, and the draining of a host before its deadline, let it run to its end where it is.
 */
export function planRun(
  desired: DesiredInstances,
  policy: OneshotPolicy,
  placed: readonly Placed[],
  view: RunView,
): RunPlan {
  if (policy.ran) return { steps: whenRan(desired, placed), verdict: { type: 'complete' } };
  const mine = (p: Placed): boolean => p.record?.run === policy.run;
  const isBegun = view.record?.uid === desired.uid && view.record.run === policy.run;
  const begun = isBegun ? view.record : undefined;
  if (begun === undefined && view.waits && !placed.some(mine)) {
    const { steps } = stepsOf(desired, policy, placed, undefined, { type: 'running' }, view);
    return { steps, verdict: { type: 'running' } };
  }
  const now = new Date(view.nowMs).toISOString();
  const known = begun ?? newRun(desired.uid, policy.run, now);
  const ends = placed.flatMap((p): End[] => {
    const end = mine(p) && p.ordinal <= desired.replicas ? endOf(p, view.reported(p)) : undefined;
    return end === undefined ? [] : [end];
  });
  const again = policy.remains
    ? placed.filter((p) => mine(p) && isLeftBehind(p, desired)).map((p) => p.ordinal)
    : [];
  const fresh = ends.filter(({ placed: p }) => !again.includes(p.ordinal));
  const record = noteEnds(withoutSuccess(known, again), fresh, desired.replicas, now);
  const verdict = verdictOf(record, policy, desired.replicas, view.nowMs);
  const { steps, wakeAtMs } = stepsOf(desired, policy, placed, record, verdict, view);
  const deadlineMs = policy.job?.deadlineMs;
  const overAtMs =
    verdict.type === 'running' && deadlineMs !== undefined
      ? Date.parse(record.startedAt) + deadlineMs
      : undefined;
  const wakes = [wakeAtMs, overAtMs].filter((at) => at !== undefined);
  const watches =
    placed.some((p) => p.record?.hold === true) ||
    steps.some((step) => step.type === 'create' && step.hold === true);
  return {
    steps,
    record,
    verdict,
    ...(wakes.length === 0 ? {} : { wakeInMs: Math.max(1, Math.min(...wakes) - view.nowMs) }),
    ...(watches ? { watches } : {}),
  };
}

/** The run has been made, if not here: nothing is started, and what shows how it went stays. */
function whenRan(desired: DesiredInstances, placed: readonly Placed[]): Step[] {
  return placed
    .filter((p) => p.record?.finished !== true || p.ordinal > desired.replicas)
    .map((p) => remove(p, 'Completed'));
}

function stepsOf(
  desired: DesiredInstances,
  policy: OneshotPolicy,
  placed: readonly Placed[],
  record: RunRecord | undefined,
  verdict: Verdict,
  view: RunView,
): { readonly steps: Step[]; readonly wakeAtMs?: number } {
  const steps: Step[] = [];
  const succeeded = parseOrdinals(record?.succeeded ?? '');
  const failed = new Set(record?.failures.map(({ id }) => id));
  const stops = verdict.type === 'failed' && policy.job !== undefined;
  const later: number[] = [];
  /** Whether a try that has failed may be followed by another one now. */
  const mayRetry = (ordinal: number): boolean => {
    const at = record === undefined ? undefined : retryAtMs(record, ordinal, policy);
    if (at === undefined || stops) return false;
    if (at <= view.nowMs) return true;
    later.push(at);
    return false;
  };
  /** Ordinals with something that is not to be replaced by another placement now. */
  const seated = new Set<number>();
  const old: Placed[] = [];
  const retried: Placed[] = [];
  const ended: Placed[] = [];
  let active = 0;
  for (const [ordinal, candidates] of byOrdinal(placed)) {
    if (!(ordinal <= desired.replicas)) {
      steps.push(...candidates.map((p) => remove(p, 'ScaledDown')));
      continue;
    }
    const [p, ...rest] = candidates.toSorted((a, b) => rank(b) - rank(a));
    steps.push(...rest.map((other) => remove(other, 'Duplicate')));
    if (p === undefined) continue;
    const isLost = view.host(p.host) === 'lost';
    const isOver = succeeded.has(ordinal);
    const hasFailed = p.record !== undefined && failed.has(p.record.id);
    if (p.record === undefined || p.broken === true) {
      seated.add(ordinal);
      if (!isOver) active++;
      steps.push(
        isOver ? remove(p, 'Completed') : { type: 'rewrite', placed: p, reason: 'Unreadable' },
      );
    } else if (p.record.run !== policy.run) {
      if (isOver) steps.push(remove(p, 'Completed'));
      else old.push(p);
    } else if (isOver || hasFailed) {
      if (isLost) steps.push(remove(p, 'HostLost'));
      else if (view.eviction?.(p) !== undefined) steps.push(remove(p, 'HostDrained'));
      else if (hasFailed && !isOver && mayRetry(ordinal)) retried.push(p);
      else {
        seated.add(ordinal);
        ended.push(p);
      }
    } else if (stops) {
      steps.push(remove(p, 'JobFailed'));
    } else {
      seated.add(ordinal);
      active++;
      const step = running(p, desired, view);
      if (step !== undefined) steps.push(step);
    }
  }
  // Those with the highest numbers are shown; of an older try or run there is nothing to be seen any more.
  for (const [index, p] of ended.toSorted((a, b) => b.ordinal - a.ordinal).entries()) {
    if (index >= mostKept && succeeded.has(p.ordinal)) steps.push(remove(p, 'Completed'));
    else if (p.record?.finished !== true) {
      steps.push({ type: 'rewrite', placed: p, reason: 'Finished' });
    }
  }
  const most = policy.job?.parallelism ?? Infinity;
  for (const p of [...old, ...retried].toSorted((a, b) => a.ordinal - b.ordinal)) {
    const isRetry = p.record?.run === policy.run;
    if (!stops && active < most) {
      active++;
      seated.add(p.ordinal);
      const reason: StepReason = isRetry ? 'Retried' : 'SpecChanged';
      steps.push({ type: 'replace', placed: p, stay: !isRetry, reason });
    } else if (isRetry) {
      seated.add(p.ordinal);
      if (p.record.finished !== true)
        steps.push({ type: 'rewrite', placed: p, reason: 'Finished' });
    } else steps.push(remove(p, 'SpecChanged'));
  }
  for (let ordinal = 1; ordinal <= desired.replicas && !stops && active < most; ordinal++) {
    if (seated.has(ordinal) || succeeded.has(ordinal)) continue;
    const hasTried = record?.failures.some((failure) => failure.ordinal === ordinal) === true;
    if (hasTried && !mayRetry(ordinal)) continue;
    active++;
    const hold = view.leaving?.(ordinal) === true ? { hold: true } : {};
    steps.push({ type: 'create', ordinal, reason: hasTried ? 'Retried' : 'ScaledUp', ...hold });
  }
  return { steps, ...(later.length === 0 ? {} : { wakeAtMs: Math.min(...later) }) };

  /** Of several of one ordinal, one of the present run stays. */
  function rank(p: Placed): number {
    return (p.record?.run === policy.run ? 1_000 : 0) + preference(p, view);
  }
}

/** What an instance needs that has not ended. */
function running(p: Placed, desired: DesiredInstances, view: RunView): Step | undefined {
  const replace = (reason: StepReason, stay: boolean): Step => ({
    type: 'replace',
    placed: p,
    stay,
    reason,
  });
  if (view.host(p.host) === 'lost') return replace('HostLost', false);
  if (isLeftBehind(p, desired)) return replace('Following', true);
  const eviction = view.eviction?.(p);
  if (eviction?.now === true && eviction.reason === 'HostDrained') {
    return replace('HostDrained', false);
  }
  if (p.record?.hold === true && view.leaving?.(p.ordinal) !== true) {
    return { type: 'rewrite', placed: p, reason: 'Released' };
  }
  if (view.undelivered?.(p) === true) {
    return { type: 'rewrite', placed: p, reason: 'ContentChanged' };
  }
  return undefined;
}

function remove(placed: Placed, reason: StepReason): Step {
  return { type: 'remove', placed, reason };
}
