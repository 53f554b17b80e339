import type { Condition } from '../api/v1alpha1/conditions.ts';
import { wholeSecondsTime } from './times.ts';

/** A condition without its time. */
export type NewCondition = Omit<Condition, 'lastTransitionTime'>;

/**
 * `conditions` with `next` in the place of the one of its type, or at the end. lastTransitionTime moves only
 * when the status changes. Nothing changed: the same array comes back.
 *
 * @param nowMs wall-clock time, milliseconds since the Unix epoch.
 */
export function setCondition(
  conditions: readonly Condition[] | undefined,
  next: NewCondition,
  nowMs: number,
): readonly Condition[] {
  const all = conditions ?? [];
  const present = findCondition(all, next.type);
  const lastTransitionTime =
    present?.status === next.status ? present.lastTransitionTime : wholeSecondsTime(nowMs);
  const condition: Condition = { ...next, lastTransitionTime };
  if (present === undefined) return [...all, condition];
  const same =
    present.status === next.status &&
    present.reason === next.reason &&
    present.message === next.message &&
    present.observedGeneration === next.observedGeneration;
  return same ? all : all.map((other) => (other === present ? condition : other));
}

/** The condition of that type, if there is one. */
export function findCondition(
  conditions: readonly Condition[] | undefined,
  type: string,
): Condition | undefined {
  return conditions?.find((condition) => condition.type === type);
}

/** Whether there is a condition of that type with status True. */
export function isTrue(conditions: readonly Condition[] | undefined, type: string): boolean {
  return findCondition(conditions, type)?.status === 'True';
}
