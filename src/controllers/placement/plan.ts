import type { PlacementRecord } from '../../registry/records/placement.ts';
import type { DesiredInstances, Placed, PlacementView } from './types.ts';

/** Why a placement is removed, made or replaced. In logs, events and tests. */
export type StepReason =
  | 'ScaledDown'
  | 'ServiceDeleted'
  | 'Duplicate'
  | 'ScaledUp'
  | 'HostLost'
  | 'SpecChanged'
  | 'RulesChanged'
  | 'Unreadable'
  | 'ServiceRecreated';

/** One decision of a pass. */
export type Step =
  | { readonly type: 'remove'; readonly placed: Placed; readonly reason: StepReason }
  /** Rewrites the record in place so that nothing restarts. */
  | {
      readonly type: 'rewrite';
      readonly placed: Placed;
      readonly reason: StepReason;
    }
  /** Takes a host for an ordinal that has none. */
  | { readonly type: 'create'; readonly ordinal: number; readonly reason: StepReason }
  /**
   * Gives an ordinal a new instance, and takes the old one away in the same transaction. If no host fits, the old one
   * stays. `stay`: its present host is taken if it fits at all.
   */
  | {
      readonly type: 'replace';
      readonly placed: Placed;
      readonly stay: boolean;
      readonly reason: StepReason;
    };

/** How far an update has come. `waiting` is normal, `stopped` needs somebody. */
export interface RollState {
  readonly state: 'waiting' | 'stopped';
  readonly message: string;
}

export interface Plan {
  /** In the order in which they are to be carried out. */
  readonly steps: readonly Step[];
  /** Absent when all that is placed is as it should be. */
  readonly roll?: RollState;
}

/**
 * What to change so that the placed instances become the desired ones. Pure, and idempotent: the plan for the outcome
 * of a plan is empty, or waits for instances to become ready.
 *
 * - Scaling down removes the highest ordinals; scaling up fills the lowest gaps.
 * - Instances of a lost host are replaced; of an absent one they stay.
 * - Instances whose container spec changed, or whose host breaks the placement rules, are replaced one by one: the
 *   next only while all the others that are placed are ready. Those that are known not to serve are replaced at once,
 *   since that takes nothing away. Nothing goes on while an instance of the present spec has failed.
 * - Whatever cannot be seen (`unknown`) counts as serving when it would be taken away, and as not serving when others
 *   would be taken away because of it.
 */
export function planService(
  desired: DesiredInstances,
  placed: readonly Placed[],
  view: PlacementView,
): Plan {
  const steps: Step[] = [];
  const kept: Placed[] = [];
  for (const [ordinal, candidates] of byOrdinal(placed)) {
    if (ordinal > desired.replicas) {
      steps.push(...candidates.map((p): Step => remove(p, 'ScaledDown')));
      continue;
    }
    const [best, ...rest] = candidates.toSorted(
      (a, b) => preference(b, view) - preference(a, view),
    );
    steps.push(...rest.map((p): Step => remove(p, 'Duplicate')));
    if (best !== undefined) kept.push(best);
  }
  steps.sort(highestFirst);

  const standing = new Map<Placed, 'lost' | 'outdated' | 'misplaced' | 'current'>();
  for (const p of kept) {
    standing.set(p, judge(p, desired, view));
  }
  const lost = kept.filter((p) => standing.get(p) === 'lost');
  steps.push(
    ...lost.map((p): Step => ({ type: 'replace', placed: p, stay: false, reason: 'HostLost' })),
  );
  const staying = kept.filter((p) => standing.get(p) !== 'lost');
  for (const p of staying) {
    const want = desired.instance(p.ordinal);
    if (p.record === undefined || p.broken === true) {
      steps.push({ type: 'rewrite', placed: p, reason: 'Unreadable' });
    } else if (p.record.specHash === want.specHash && p.record.serviceUID !== desired.uid) {
      steps.push({ type: 'rewrite', placed: p, reason: 'ServiceRecreated' });
    }
  }
  const have = new Set(kept.map((p) => p.ordinal));
  for (let ordinal = 1; ordinal <= desired.replicas; ordinal++) {
    if (!have.has(ordinal)) steps.push({ type: 'create', ordinal, reason: 'ScaledUp' });
  }
  const roll = planRoll(staying, standing, view);
  return {
    steps: [...steps, ...roll.steps],
    ...(roll.state === undefined ? {} : { roll: roll.state }),
  };
}

/** What to do about a service that no longer has to exist. */
export function planRemoval(placed: readonly Placed[]): Step[] {
  return placed.map((p): Step => remove(p, 'ServiceDeleted')).toSorted(highestFirst);
}

function planRoll(
  staying: readonly Placed[],
  standing: ReadonlyMap<Placed, string>,
  view: PlacementView,
): { steps: Step[]; state?: RollState } {
  const stale = staying
    .filter((p) => standing.get(p) !== 'current')
    .toSorted((a, b) => a.ordinal - b.ordinal);
  if (stale.length === 0) return { steps: [] };
  const current = staying.filter((p) => standing.get(p) === 'current');
  const failed = current.find((p) => view.state(p) === 'failed');
  if (failed !== undefined) {
    const why = view.trouble(failed) ?? 'not running';
    return {
      steps: [],
      state: {
        state: 'stopped',
        message: `update stopped, ${String(stale.length)} to go: instance ${String(failed.ordinal)} on ${failed.host}: ${why}`,
      },
    };
  }
  const replace = (p: Placed): Step => ({
    type: 'replace',
    placed: p,
    stay: standing.get(p) === 'outdated',
    reason: standing.get(p) === 'outdated' ? 'SpecChanged' : 'RulesChanged',
  });
  const serving = (p: Placed): boolean => ['ready', 'settling', 'unknown'].includes(view.state(p));
  const idle = stale.filter((p) => !serving(p) && view.host(p.host) === 'present');
  if (idle.length > 0) {
    return { steps: idle.map(replace), state: progress(stale.length) };
  }
  const next = stale.find((p) => view.host(p.host) === 'present');
  const obstacle = staying.find((p) => p !== next && !steady(p, standing.get(p), view));
  if (next === undefined || obstacle !== undefined) {
    const who = obstacle ?? stale[0];
    return { steps: [], state: waiting(stale.length, who, view) };
  }
  return { steps: [replace(next)], state: progress(stale.length) };
}

/** Whether the roll may take another instance away while this one is as it is. */
function steady(p: Placed, standing: string | undefined, view: PlacementView): boolean {
  const state = view.state(p);
  if (state === 'ready' || state === 'done') return true;
  return state === 'settling' && standing !== 'current';
}

function progress(left: number): RollState {
  return { state: 'waiting', message: `updating one by one, ${String(left)} to go` };
}

function waiting(left: number, who: Placed | undefined, view: PlacementView): RollState {
  const about =
    who === undefined
      ? ''
      : `: instance ${String(who.ordinal)} on ${who.host} is ${word(who, view)}`;
  return { state: 'waiting', message: `updating one by one, ${String(left)} to go${about}` };
}

function word(p: Placed, view: PlacementView): string {
  if (view.host(p.host) !== 'present') return 'out of reach';
  const state = view.state(p);
  if (state === 'unknown') return 'not reported yet';
  const trouble = view.trouble(p);
  return trouble === undefined ? state : `${state} (${trouble})`;
}

function judge(
  p: Placed,
  desired: DesiredInstances,
  view: PlacementView,
): 'lost' | 'outdated' | 'misplaced' | 'current' {
  const host = view.host(p.host);
  if (host === 'lost') return 'lost';
  // It is written anew first; what it should be is looked at when it can be read.
  if (p.broken === true) return 'current';
  const hash = p.record?.specHash;
  if (hash !== undefined && hash !== desired.instance(p.ordinal).specHash) return 'outdated';
  return host === 'present' && view.misfit(p.host) !== undefined ? 'misplaced' : 'current';
}

/** Of two instances of one ordinal the one with the higher number stays. */
function preference(p: Placed, view: PlacementView): number {
  const host = { present: 100, absent: 50, lost: 0 }[view.host(p.host)];
  const state = { ready: 9, settling: 8, done: 7, starting: 5, unknown: 4, failed: 1 }[
    view.state(p)
  ];
  return host + state * (p.record === undefined ? 0 : 1);
}

function remove(placed: Placed, reason: StepReason): Step {
  return { type: 'remove', placed, reason };
}

function highestFirst(a: Step, b: Step): number {
  return ordinalOf(b) - ordinalOf(a);
}

/** The ordinal that a step is about. */
export function ordinalOf(step: Step): number {
  return step.type === 'create' ? step.ordinal : step.placed.ordinal;
}

function byOrdinal(placed: readonly Placed[]): Map<number, Placed[]> {
  const map = new Map<number, Placed[]>();
  for (const p of placed) {
    const list = map.get(p.ordinal);
    if (list === undefined) map.set(p.ordinal, [p]);
    else list.push(p);
  }
  return map;
}

/** The record of a new instance. */
export function newPlacement(
  desired: DesiredInstances,
  ordinal: number,
  id: string,
  placedAt: string,
): PlacementRecord {
  const { specHash, container } = desired.instance(ordinal);
  return { id, serviceUID: desired.uid, specHash, container, placedAt };
}
