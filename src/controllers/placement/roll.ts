import { defaultUpdatePolicy, type UpdatePolicy } from '../../api/v1alpha1/update-policy.ts';
import type { Step } from './step.ts';
import type { DesiredInstances, Eviction, Placed, PlacementView } from './types.ts';

/** How far an update has come. `waiting` is normal, `stopped` and `failed` need somebody. */
export interface RollState {
  /** `failed`: too many new instances failed, and the whole project has to go back. */
  readonly state: 'waiting' | 'stopped' | 'paused' | 'failed';
  readonly message: string;
}

/** How a placed instance compares with what is wanted. */
export type Standing = 'lost' | 'outdated' | 'misplaced' | 'current';

/** One ordinal of a service that is there: alone, or with its successor beside it. */
export interface Unit {
  readonly ordinal: number;
  /** The instance; the old one of two. */
  readonly placed: Placed;
  /** The successor, which is always as wanted. */
  readonly next?: Placed;
  readonly standing: Standing;
  /** Why it is misplaced, if not because of the rules. */
  readonly eviction?: Eviction;
}

/**
 * The next steps of an update. All that it needs is in the placement records (`replaces`, `beside`) and in what agents
 * report, so another operator goes on where the last one was; at worst it watches a new instance once more.
 *
 * - At most `parallelism` instances are under way at a time: any that does not serve, is watched or rests counts.
 * - stop-first takes away an instance that serves only while fewer than that are under way.
 * - start-first takes an instance away only when its successor has been ready for `monitor`; a successor that fails
 *   leaves the old one where it is.
 * - What has to leave its host now does so whatever becomes of others, and holds nothing up where it cannot.
 * - A new instance that is not ready in time (`progressDeadline`) counts as failed.
 * - Instances that are known not to serve are replaced at once: that takes nothing away.
 * - Instances of lost hosts, and ordinals without one, are under way too (`missing`), unless no host has room for them.
 * - Whatever cannot be seen (`unknown`) counts as serving when it would be taken away, and as not serving when others
 *   would be taken away because of it.
 */
export function planRoll(
  all: readonly Unit[],
  desired: DesiredInstances,
  view: PlacementView,
  missing = 0,
): { readonly steps: Step[]; readonly state?: RollState } {
  const policy = desired.update ?? defaultUpdatePolicy;
  const evicted = all.filter(
    ({ placed, eviction }) =>
      eviction?.now === true && desired.paused !== true && isPresent(placed, view),
  );
  const units = evicted.length === 0 ? all : all.filter((unit) => !evicted.includes(unit));
  const stale = units.filter((unit) => unit.next === undefined && unit.standing !== 'current');
  const pairs = units.filter((unit) => unit.next !== undefined && !isReady(unit.next, view));
  const steps = finishing(units, stale.length + pairs.length > 0, view);
  steps.push(...evicted.map((unit) => evictNow(unit, desired, view)));
  const failures = units.filter((unit) => {
    const p = newest(unit);
    if (unit.next === undefined && unit.standing !== 'current') return false;
    const isNew = p.record?.replaces !== undefined;
    return view.state(p) === 'failed' ? stale.length > 0 || isNew : isNew && isOverdue(p, view);
  });
  const trial = units.filter(
    (unit) => isOnTrial(unit) && !isReady(unit.placed, view) && !failures.includes(unit),
  );
  const left = stale.length + pairs.length + trial.length + evicted.length;
  if (desired.paused === true) {
    if (left === 0) return { steps };
    return { steps, state: { state: 'paused', message: `update paused, ${String(left)} to go` } };
  }
  const forgiven =
    policy.failureAction === 'continue'
      ? Infinity
      : Math.floor(policy.maxFailureRatio * desired.replicas);
  const [failed] = failures;
  if (failed !== undefined && failures.length > forgiven) {
    return { steps, state: stopped(policy, left, newest(failed), view) };
  }
  if (left === 0) return { steps };
  const idle = stale.filter(({ placed }) => !mayServe(placed, view) && isPresent(placed, view));
  if (idle.length > 0) {
    const replaced = idle.map((unit) => replacement(unit, 'stop-first', desired, view));
    return { steps: [...steps, ...replaced], state: waiting(policy, left) };
  }
  const underWay = units.filter((unit) => !failures.includes(unit) && !isSteady(unit, view));
  const batch: Unit[] = [];
  let count = underWay.length + missing;
  for (const unit of stale) {
    if (!isPresent(unit.placed, view)) continue;
    // One that is not steady itself is counted already.
    if (!underWay.includes(unit)) count++;
    if (count > policy.parallelism) break;
    batch.push(unit);
  }
  if (batch.length === 0) {
    const first = stale.find(({ placed }) => isPresent(placed, view));
    const obstacle = underWay.find((unit) => unit !== first) ?? stale[0];
    return { steps, state: waiting(policy, left, obstacle, view) };
  }
  return {
    steps: [
      ...steps,
      // Another host has room for both: nothing has to stop before its successor serves.
      ...batch.map((unit) =>
        replacement(unit, unit.eviction ? 'start-first' : policy.order, desired, view),
      ),
    ],
    state: waiting(policy, left),
  };
}

/** Ends what is through: the old instance goes when its successor serves, and a successor that has proved itself is one no more. */
function finishing(units: readonly Unit[], goesOn: boolean, view: PlacementView): Step[] {
  const steps: Step[] = [];
  for (const { placed, next, standing } of units) {
    const proved = (p: Placed): boolean =>
      isReady(p, view) && (!goesOn || view.rested?.(p) !== false);
    if (next !== undefined) {
      if (!isReady(next, view)) continue;
      steps.push({ type: 'finish', placed, next, proved: proved(next), reason: 'Updated' });
    } else if (standing === 'current' && placed.record?.replaces !== undefined && proved(placed)) {
      steps.push({ type: 'rewrite', placed, reason: 'Proved' });
    } else if (placed.record?.beside === true) {
      // Its predecessor is gone: it answers for the ordinal now, whatever becomes of it.
      steps.push({ type: 'rewrite', placed, reason: 'Alone' });
    }
  }
  return steps;
}

/** What has had its time leaves its host, whether or not another one serves in its place. */
function evictNow(unit: Unit, desired: DesiredInstances, view: PlacementView): Step {
  const { placed, next } = unit;
  if (next === undefined) return replacement(unit, 'stop-first', desired, view);
  return { type: 'finish', placed, next, proved: false, reason: 'HostDrained' };
}

function replacement(
  unit: Unit,
  order: UpdatePolicy['order'],
  desired: DesiredInstances,
  view: PlacementView,
): Step {
  const { eviction, standing, placed } = unit;
  const changed = desired.instance(placed.ordinal).specHash !== placed.record?.specHash;
  const reason =
    standing === 'outdated'
      ? changed
        ? 'SpecChanged'
        : 'Following'
      : (eviction?.reason ?? 'RulesChanged');
  return {
    type: order === 'start-first' && desired.fenced === undefined ? 'accompany' : 'replace',
    placed,
    // The rules may have changed together with the spec.
    stay: standing === 'outdated' && view.misfit(placed.host, placed) === undefined,
    reason,
    ...(eviction?.to === undefined ? {} : { host: eviction.to }),
  };
}

/** The one whose state tells how the update of the ordinal goes. */
function newest(unit: Unit): Placed {
  return unit.next ?? unit.placed;
}

/** A replacement whose success is still open. */
function isOnTrial(unit: Unit): boolean {
  return (
    unit.next === undefined &&
    unit.standing === 'current' &&
    unit.placed.record?.replaces !== undefined
  );
}

function isReady(p: Placed, view: PlacementView): boolean {
  return ['ready', 'done'].includes(view.state(p));
}

/** Whether it has had all the time that there is for a new instance, and does not serve. */
function isOverdue(p: Placed, view: PlacementView): boolean {
  return ['starting', 'unknown'].includes(view.state(p)) && view.overdue?.(p) !== undefined;
}

/** Whether taking it away may take something away. */
function mayServe(p: Placed, view: PlacementView): boolean {
  return ['ready', 'settling', 'unknown'].includes(view.state(p));
}

function isPresent(p: Placed, view: PlacementView): boolean {
  return view.host(p.host) === 'present';
}

/** Whether the roll may take another instance away while this one is as it is. */
function isSteady(unit: Unit, view: PlacementView): boolean {
  if (unit.next !== undefined)
    return isReady(unit.next, view) && view.rested?.(unit.next) !== false;
  const state = view.state(unit.placed);
  if (state === 'settling') return unit.standing !== 'current';
  if (state !== 'ready' && state !== 'done') return false;
  return !isOnTrial(unit) || view.rested?.(unit.placed) !== false;
}

function stopped(
  policy: UpdatePolicy,
  left: number,
  failed: Placed,
  view: PlacementView,
): RollState {
  const trouble = view.trouble(failed);
  const late = view.state(failed) === 'failed' ? undefined : view.overdue?.(failed);
  const why = [late, trouble].filter((part) => part !== undefined).join(': ') || 'not running';
  const back = policy.failureAction === 'rollback';
  return {
    state: back ? 'failed' : 'stopped',
    message: `update ${back ? 'failed' : 'stopped'}, ${String(left)} to go: instance ${String(failed.ordinal)} on ${failed.host}: ${why}`,
  };
}

function waiting(policy: UpdatePolicy, left: number, who?: Unit, view?: PlacementView): RollState {
  const { parallelism, fallback } = policy;
  const pace =
    parallelism === 1
      ? 'one by one'
      : parallelism === Infinity
        ? 'all at once'
        : `${String(parallelism)} at a time`;
  const how = fallback === undefined ? pace : `${pace} (${fallback})`;
  const p = who === undefined ? undefined : newest(who);
  const about =
    p === undefined || view === undefined
      ? ''
      : `: instance ${String(p.ordinal)} on ${p.host} is ${word(p, view)}`;
  return { state: 'waiting', message: `updating ${how}, ${String(left)} to go${about}` };
}

function word(p: Placed, view: PlacementView): string {
  if (view.host(p.host) !== 'present') return 'out of reach';
  const state = view.state(p);
  if (state === 'unknown') return 'not reported yet';
  const trouble = view.trouble(p);
  return trouble === undefined ? state : `${state} (${trouble})`;
}
