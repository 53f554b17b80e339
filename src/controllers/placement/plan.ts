import type { PlacementRecord } from '../../registry/records/placement.ts';
import { planRoll, type RollState, type Standing, type Unit } from './roll.ts';
import { ordinalOf, type Step, type StepReason } from './step.ts';
import type { DesiredInstances, Placed, PlacementView } from './types.ts';

export interface Plan {
  /** In the order in which they are to be carried out. */
  readonly steps: readonly Step[];
  /** Absent when all that is placed is as it should be. */
  readonly roll?: RollState;
  /** There is more to do as soon as this is written. */
  readonly again?: boolean;
  /** Instances of lost hosts that may still run there, and why. */
  readonly fenced?: { readonly count: number; readonly message: string };
  /** Something waits until agents have done away with something else. */
  readonly watches?: boolean;
}

/**
 * What to change so that the placed instances become the desired ones. Pure, and idempotent: the plan for the outcome
 * of a plan is empty, or waits for instances to become ready.
 *
 * - Scaling down removes the highest ordinals; scaling up fills the lowest gaps.
 * - Instances of a lost host are replaced; of an absent one they stay.
 * - Instances whose container spec changed, or whose host breaks the placement rules, are replaced as the update policy
 *   says (roll.ts).
 * - Two of one ordinal exist only while a successor is started beside its predecessor. Otherwise a new instance on
 *   another host is held until the old one is gone, unless the old one's host is lost. Of a fenced service it waits until
 *   the lost host must have stopped it.
 */
export function planService(
  desired: DesiredInstances,
  placed: readonly Placed[],
  view: PlacementView,
): Plan {
  const steps: Step[] = [];
  const kept: Placed[] = [];
  const successors = new Map<Placed, Placed>();
  let dissolved = false;
  for (const [ordinal, candidates] of byOrdinal(placed)) {
    if (ordinal > desired.replicas) {
      // A fenced one that may run unseen is not forgotten: the ordinal could be asked for again.
      const seen = candidates.filter((p) => desired.fenced === undefined || isOver(p.host, view));
      steps.push(...seen.map((p): Step => remove(p, 'ScaledDown')));
      continue;
    }
    const pair = pairOf(candidates, view);
    if (pair !== undefined) {
      const { placed: old, next } = pair;
      const others = candidates.filter((p) => p !== old && p !== next);
      steps.push(...others.map((p): Step => remove(p, 'Duplicate')));
      const loser = loserOf(pair, desired, view);
      if (loser !== undefined) steps.push(remove(loser, 'Superseded'));
      kept.push(loser === old ? next : old);
      if (loser === undefined) successors.set(old, next);
      else dissolved = true;
      continue;
    }
    const [best, ...rest] = candidates.toSorted(
      (a, b) => preference(b, view) - preference(a, view),
    );
    steps.push(...rest.map((p): Step => remove(p, 'Duplicate')));
    if (best !== undefined) kept.push(best);
  }
  steps.sort(highestFirst);

  const units = kept.map((placed): Unit => {
    const next = successors.get(placed);
    const standing = judge(placed, desired, view);
    const eviction = standing === 'misplaced' ? view.eviction?.(placed) : undefined;
    return {
      ordinal: placed.ordinal,
      placed,
      standing,
      ...(next === undefined ? {} : { next }),
      ...(eviction === undefined ? {} : { eviction }),
    };
  });
  const lost = units.filter((unit) => unit.standing === 'lost').map(({ placed }) => placed);
  steps.push(
    ...lost.map((p): Step => ({ type: 'replace', placed: p, stay: false, reason: 'HostLost' })),
  );
  const staying = units.filter((unit) => unit.standing !== 'lost');
  const leaving = (ordinal: number): boolean => view.leaving?.(ordinal) === true;
  for (const p of staying.flatMap((unit) => [unit.placed, ...(unit.next ? [unit.next] : [])])) {
    const want = desired.instance(p.ordinal);
    if (p.record === undefined || p.broken === true) {
      steps.push({ type: 'rewrite', placed: p, reason: 'Unreadable' });
    } else if (p.record.specHash === want.specHash && p.record.serviceUID !== desired.uid) {
      steps.push({ type: 'rewrite', placed: p, reason: 'ServiceRecreated' });
    } else if (p.record.hold === true && !leaving(p.ordinal) && isOver(p.record.follows, view)) {
      steps.push({ type: 'rewrite', placed: p, reason: 'Released' });
    } else if (p.record.specHash === want.specHash && view.undelivered?.(p) === true) {
      steps.push({ type: 'rewrite', placed: p, reason: 'ContentChanged' });
    }
  }
  const have = new Set(kept.map((p) => p.ordinal));
  for (let ordinal = 1; ordinal <= desired.replicas; ordinal++) {
    if (have.has(ordinal)) continue;
    const hold = leaving(ordinal) ? { hold: true } : {};
    steps.push({ type: 'create', ordinal, reason: 'ScaledUp', ...hold });
  }
  const roll = planRoll(
    staying.toSorted((a, b) => a.ordinal - b.ordinal),
    desired,
    view,
    view.missing ?? (view.lacksRoom === true ? 0 : desired.replicas - staying.length),
  );
  // One change of a record at a time; what it hinders comes next.
  const taken = new Set(steps.flatMap(pathsOf));
  const free: Step[] = [];
  for (const step of roll.steps) {
    const paths = pathsOf(step);
    if (paths.some((path) => taken.has(path))) continue;
    for (const path of paths) taken.add(path);
    free.push(step);
  }
  const waiting = desired.fenced
    ? kept.filter((p) => view.host(p.host) === 'lost' && !isFencedOff(p, desired, view))
    : [];
  const [first] = waiting;
  const message = first && view.mayStillRun?.(first.host);
  const watches = kept.some((p) => p.record?.hold === true) || steps.some(isHeld);
  return {
    steps: [...steps, ...free],
    ...(roll.state === undefined ? {} : { roll: roll.state }),
    ...(dissolved || free.length < roll.steps.length ? { again: true } : {}),
    ...(message === undefined ? {} : { fenced: { count: waiting.length, message } }),
    ...(watches ? { watches } : {}),
  };
}

/** Paths of the records that the step is about to change. */
function pathsOf(step: Step): string[] {
  if (step.type === 'create') return [];
  return step.type === 'finish' ? [step.placed.path, step.next.path] : [step.placed.path];
}

function isHeld(step: Step): boolean {
  return step.type === 'create' && step.hold === true;
}

/** An instance and the successor that was started beside it, while both have a host. */
function pairOf(
  candidates: readonly Placed[],
  view: PlacementView,
): { readonly placed: Placed; readonly next: Placed } | undefined {
  const alive = candidates.filter((p) => view.host(p.host) !== 'lost');
  for (const next of alive) {
    if (next.record?.beside !== true) continue;
    const placed = alive.find((p) => p !== next && p.record?.id === next.record?.replaces);
    if (placed !== undefined) return { placed, next };
  }
  return undefined;
}

/** Which of the two has to go because the spec has changed once more; undefined when the successor is what is wanted. */
function loserOf(
  { placed, next }: { readonly placed: Placed; readonly next: Placed },
  desired: DesiredInstances,
  view: PlacementView,
): Placed | undefined {
  const isWanted = (p: Placed): boolean => judge(p, desired, view) === 'current';
  if (isWanted(next) && !isWanted(placed)) return undefined;
  const idle = (p: Placed): boolean => ['starting', 'failed', 'done'].includes(view.state(p));
  return idle(placed) && !idle(next) ? placed : next;
}

/** What to do for a service whose instances cannot be made anew: only what is too much goes. */
export function planBlocked(replicas: number, placed: readonly Placed[]): Step[] {
  return placed
    .filter((p) => p.ordinal > replicas)
    .map((p): Step => remove(p, 'ScaledDown'))
    .toSorted(highestFirst);
}

/** What to do about a service that no longer has to exist. */
export function planRemoval(placed: readonly Placed[]): Step[] {
  return placed.map((p): Step => remove(p, 'ServiceDeleted')).toSorted(highestFirst);
}

function judge(p: Placed, desired: DesiredInstances, view: PlacementView): Standing {
  const host = view.host(p.host);
  if (host === 'lost') return isFencedOff(p, desired, view) ? 'lost' : 'current';
  // It is written anew first; what it should be is looked at when it can be read.
  if (p.broken === true) return 'current';
  const hash = p.record?.specHash;
  if (hash !== undefined && hash !== desired.instance(p.ordinal).specHash) return 'outdated';
  if (isLeftBehind(p, desired)) return 'outdated';
  if (host !== 'present') return 'current';
  const moves = view.eviction?.(p) !== undefined || view.misfit(p.host, p) !== undefined;
  return moves ? 'misplaced' : 'current';
}

/** Whether an instance on a lost host can be replaced: at once, or when its host must have stopped it. */
function isFencedOff(p: Placed, desired: DesiredInstances, view: PlacementView): boolean {
  return desired.fenced === undefined || view.mayStillRun?.(p.host) === undefined;
}

function isOver(host: string | undefined, view: PlacementView): boolean {
  return host === undefined || view.mayStillRun?.(host) === undefined;
}

/** Whether a service that it has to follow was replaced after it was made. */
export function isLeftBehind(p: Placed, { after = {} }: DesiredInstances): boolean {
  const known = p.record?.after ?? {};
  return Object.entries(after).some(
    ([service, id]) => known[service] !== undefined && known[service] !== id,
  );
}

/** Of two instances of one ordinal the one with the higher number stays. */
export function preference(p: Placed, view: PlacementView): number {
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

export function byOrdinal(placed: readonly Placed[]): Map<number, Placed[]> {
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
  marks: Pick<PlacementRecord, 'replaces' | 'beside' | 'hold'> = {},
): PlacementRecord {
  const { specHash, container, volumes } = desired.instance(ordinal);
  const { after = {}, oneshot } = desired;
  const followed = Object.keys(after).length === 0 ? {} : { after };
  const base = {
    id,
    serviceUID: desired.uid,
    specHash,
    container,
    placedAt,
    ...(oneshot === undefined ? {} : { run: oneshot.run }),
    ...marks,
    ...followed,
  };
  return volumes === undefined ? base : { ...base, volumes };
}
