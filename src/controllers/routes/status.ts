import type { ConditionClaim } from '../conditions.ts';
import type { RouteVerdict } from './route-table.ts';

/** How the routes of a service stand; `routers`: there is any router. */
export type RouteFacts = RouteVerdict & { readonly routers: boolean };

/** Condition that is there while a service has routes. */
export const routed = 'Routed';

/** What the status of a service says about its routes. Pure. */
export function routeStatus(facts: RouteFacts | undefined): {
  readonly urls?: readonly string[];
  readonly claims: readonly ConditionClaim[];
} {
  if (facts === undefined) return { claims: [] };
  const { problems, notes, urls, accepted, routers } = facts;
  const shown = urls.length === 0 ? {} : { urls };
  const claim = (status: 'True' | 'False', reason: string, message: string) => ({
    ...shown,
    claims: [{ type: routed, status, reason, message }],
  });
  const [problem] = problems;
  if (problem !== undefined) {
    return claim('False', problem.reason, problems.map(({ message }) => message).join('; '));
  }
  if (!routers) {
    return claim(
      'False',
      'NoRouter',
      'no router runs: start nap up or nap operator with --router-image',
    );
  }
  const count = `${String(accepted.length)} ${accepted.length === 1 ? 'route' : 'routes'} served`;
  return claim('True', 'Routed', [count, ...notes].join('; '));
}

/** The previous conditions, without the one about routes when there is nothing to say about any. */
export function previousConditions<T extends { readonly type: string }>(
  conditions: readonly T[] | undefined,
  claims: readonly ConditionClaim[],
): readonly T[] | undefined {
  if (claims.some(({ type }) => type === routed)) return conditions;
  return conditions?.filter(({ type }) => type !== routed);
}
