import { parseDuration } from '../../api/v1alpha1/duration.ts';
import type { Host } from '../../api/v1alpha1/host.ts';
import { InvalidValueError } from '../../api/v1alpha1/invalid-value.ts';
import { findCondition } from '../../kube/conditions.ts';
import type { ConditionClaim } from '../conditions.ts';

/** Tells in a Host's status whether it is empty. */
export const drainedCondition = 'Drained';

/** An instance on a host that is being emptied. */
export interface StuckInstance {
  /** namespace/instance */
  readonly name: string;
  /** What keeps it there; absent: nothing, its turn comes. */
  readonly why?: string;
}

/** Whether the host is to be emptied: its owner says so, or is deleting it. */
export function isDraining(host: Host | undefined): boolean {
  return host?.spec?.drain !== undefined || host?.metadata.deletionTimestamp !== undefined;
}

/** Whether the host was to be emptied, and is. */
export function isEmptied(host: Host | undefined): boolean {
  const condition = findCondition(host?.status?.conditions, drainedCondition);
  return host?.spec?.drain !== undefined && condition?.status === 'True';
}

/** When what is left has to go at once, milliseconds since 1970; undefined: never, or not known yet. */
export function drainDue(host: Host | undefined): number | undefined {
  const text = host?.spec?.drain?.deadline;
  const condition = findCondition(host?.status?.conditions, drainedCondition);
  if (text === undefined || condition?.status !== 'False') return undefined;
  try {
    const due = Date.parse(condition.lastTransitionTime) + parseDuration(text);
    return Number.isNaN(due) ? undefined : due;
  } catch (error) {
    if (error instanceof InvalidValueError) return undefined;
    throw error;
  }
}

/** Most instances that a message names. */
const maxNamed = 10;

/** How far the emptying has come. Pure. */
export function drainClaim(left: readonly StuckInstance[], isOver: boolean): ConditionClaim {
  const type = drainedCondition;
  if (left.length === 0) {
    return { type, status: 'True', reason: 'Empty', message: 'nothing is left on the host' };
  }
  const stuck = left.filter(({ why }) => why !== undefined);
  const count = `${String(left.length)} ${left.length === 1 ? 'instance' : 'instances'} left`;
  if (stuck.length === 0) {
    return {
      type,
      status: 'False',
      reason: isOver ? 'DeadlineExceeded' : 'Draining',
      message: count,
    };
  }
  const named = stuck.slice(0, maxNamed).map(({ name, why }) => `${name}: ${why ?? ''}`);
  const more = stuck.length > maxNamed ? `; and ${String(stuck.length - maxNamed)} more` : '';
  return {
    type,
    status: 'False',
    reason: isOver ? 'DeadlineExceeded' : 'Blocked',
    message: `${count}, ${String(stuck.length)} of them cannot move: ${named.join('; ')}${more}`,
  };
}
