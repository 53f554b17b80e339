import type { Condition } from '../api/v1alpha1/conditions.ts';

/** What a status computation says of one condition; times and generations are added by `mergeConditions`. */
export interface ConditionClaim {
  readonly type: string;
  readonly status: 'True' | 'False' | 'Unknown';
  /** CamelCase word. */
  readonly reason: string;
  readonly message: string;
}

/** Longest message that is written to a condition; Kubernetes' own limit is 32,768 characters. */
const maxMessage = 4_096;

/**
 * The claims as conditions: `lastTransitionTime` is kept while the status stays the same, and conditions
 * of other types (somebody else's) are left alone.
 * @param now RFC 3339
 */
export function mergeConditions(
  previous: readonly Condition[] | undefined,
  claims: readonly ConditionClaim[],
  generation: number | undefined,
  now: string,
): Condition[] {
  const claimed = new Set(claims.map((claim) => claim.type));
  const foreign = (previous ?? []).filter((condition) => !claimed.has(condition.type));
  const ours = claims.map((claim): Condition => {
    const before = previous?.find((condition) => condition.type === claim.type);
    return {
      type: claim.type,
      status: claim.status,
      ...(generation === undefined ? {} : { observedGeneration: generation }),
      lastTransitionTime: before?.status === claim.status ? before.lastTransitionTime : now,
      reason: claim.reason,
      message: clip(claim.message, maxMessage),
    };
  });
  return [...ours, ...foreign];
}

/** `text`, cut to `limit` characters with an ellipsis. */
export function clip(text: string, limit: number): string {
  return text.length <= limit ? text : `${text.slice(0, limit - 1)}…`;
}
