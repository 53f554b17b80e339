import type { LinkTarget } from '../../api/v1alpha1/resolve-links.ts';
import type { ServiceRecord } from '../../registry/records/service.ts';
import type { ServiceWish } from './desired.ts';

/**
 * What services that are linked to another one may know of it.
 * @param wish undefined: there is no such Service
 * @param record what hosts are told of it; undefined: nothing (yet)
 * @param problem why it has no virtual IP
 */
export function linkTargetOf(
  wish: ServiceWish | undefined,
  record: ServiceRecord | undefined,
  problem: string | undefined,
): LinkTarget {
  const notYet = { type: 'unaddressed', why: problem ?? 'it was not looked at yet' } as const;
  if (record === undefined) {
    return wish === undefined || wish.want.type === 'remove' ? { type: 'missing' } : notYet;
  }
  const { virtualIP, ports } = record;
  if (virtualIP === undefined && wish?.want.type === 'run' && wish.want.addressed) return notYet;
  const environment = wish?.object.spec.environment;
  return {
    type: 'found',
    ports,
    ...(virtualIP === undefined ? {} : { virtualIP }),
    ...(environment === undefined ? {} : { environment }),
  };
}
