import { planService, type Plan } from './plan.ts';
import type { Step } from './step.ts';
import type { DesiredInstances, Placed, PlacementView } from './types.ts';

/** What the planner of a global service asks about hosts. */
export interface GlobalView extends PlacementView {
  /** Hosts that the service's rules allow and that take new instances, by name. */
  readonly takers: readonly string[];
  /** Whether an instance that is on a host has to leave it though the host is there: rules, or the host is emptied. */
  leaves(placed: Placed): boolean;
  /** Nobody speaks of the host any more. */
  forgotten(host: string): boolean;
}

export interface GlobalPlan extends Plan {
  /** Numbers of the instances that count as wanted: those of hosts that are not lost, and those to be made. */
  readonly wanted: ReadonlySet<number>;
}

/**
 * One instance on every matching host. Numbers are taken from the lowest free one on, and an instance keeps its number for
 * as long as it is placed.
 *
 * - A host that comes gets one; a cordoned host keeps the one that it has.
 * - On a lost host the placement stays, since there is nowhere to move it: when the host comes back, its container is
 *   still the right one, and nothing restarts. It goes when the host is forgotten (its Host object deleted).
 * - Updates of what is placed are those of any other service.
 */
export function planGlobal(
  desired: DesiredInstances,
  placed: readonly Placed[],
  view: GlobalView,
): GlobalPlan {
  const removals: Step[] = [];
  const kept: Placed[] = [];
  const waiting: Placed[] = [];
  for (const p of placed) {
    if (!Number.isFinite(p.ordinal) || view.forgotten(p.host)) {
      removals.push({ type: 'remove', placed: p, reason: 'HostGone' });
    } else if (view.host(p.host) === 'lost') {
      waiting.push(p);
    } else if (view.host(p.host) === 'present' && view.leaves(p)) {
      removals.push({ type: 'remove', placed: p, reason: 'HostExcluded' });
    } else {
      kept.push(p);
    }
  }
  // One host may have an instance and its successor; two numbers on one host are one too many.
  const ordinalOn = new Map<string, number>();
  const single: Placed[] = [];
  for (const p of kept.toSorted((a, b) => a.ordinal - b.ordinal)) {
    const first = ordinalOn.get(p.host);
    if (first !== undefined && first !== p.ordinal) {
      removals.push({ type: 'remove', placed: p, reason: 'Duplicate' });
      continue;
    }
    ordinalOn.set(p.host, p.ordinal);
    single.push(p);
  }
  const taken = new Set([...single, ...waiting].map((p) => p.ordinal));
  const last = Math.max(0, ...taken);
  const plan = planService({ ...desired, replicas: last }, single, {
    ...view,
    // Its only place is where it is: rules and draining were looked at above.
    misfit: () => undefined,
    eviction: () => undefined,
    missing: 0,
  });
  const steps = plan.steps.filter((step) => step.type !== 'create');
  const wanted = new Set(single.map((p) => p.ordinal));
  const creations: Step[] = [];
  const busy = new Set([...ordinalOn.keys(), ...removals.map(hostOf)]);
  let free = 1;
  for (const host of view.takers) {
    if (busy.has(host)) continue;
    while (taken.has(free)) free += 1;
    taken.add(free);
    wanted.add(free);
    const hold = view.leaving?.(free) === true ? { hold: true } : {};
    creations.push({ type: 'create', ordinal: free, host, reason: 'ScaledUp', ...hold });
  }
  return { ...plan, steps: [...removals, ...steps, ...creations], wanted };
}

function hostOf(step: Step): string {
  return step.type === 'create' ? '' : step.placed.host;
}
