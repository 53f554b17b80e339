import type { ClusterState } from '../cluster-state.ts';
import { counted, type Check, type Filter } from '../filter.ts';
import type { HostState } from '../host-state.ts';
import type { InstanceRequest } from '../types.ts';

/**
 * No host with an instance of a service that conflicts with this one, whichever of the two says so (fleet's Conflicts).
 * Other services do not change while a group of requests of one service is placed; its own instances do.
 */
export const conflicts: Filter = (request, state): Check | undefined => {
  // Most clusters: nobody conflicts with anybody.
  if (request.rules.conflicts === undefined && state.rivalry.isEmpty) return undefined;
  const refused = conflictingHosts(request, state);
  if (refused === undefined) return undefined;
  const { hosts, itself } = refused;
  const rival = (host: HostState): string | undefined =>
    hosts.get(host) ?? (itself && host.ofService > 0 ? request.service : undefined);
  return {
    check: (host) => rival(host) === undefined,
    detail: (host) => nameFor(request, rival(host)),
    explain: (n, name) =>
      `${counted(n, 'has', 'have')} an instance of ${name}, which it conflicts with`,
  };
};

/** A conflicting service (of those that `counts` takes) for each host that has one; and whether the service conflicts with itself. */
export function conflictingHosts(
  request: Pick<InstanceRequest, 'service' | 'rules'>,
  state: ClusterState,
  counts: (rival: string) => boolean = () => true,
): { readonly hosts: ReadonlyMap<HostState, string>; readonly itself: boolean } | undefined {
  const rivals = state.rivalry.rivalsOf(
    request.service,
    request.rules.conflicts ?? [],
    (namespace) => state.servicesIn(namespace),
  );
  if (rivals.size === 0) return undefined;
  const itself = rivals.delete(request.service);
  const hosts = new Map<HostState, string>();
  for (const rival of rivals) {
    if (!counts(rival)) continue;
    for (const host of state.countsOf(rival).keys()) if (!hosts.has(host)) hosts.set(host, rival);
  }
  return { hosts, itself };
}

/** `db` for a service of the same project, `shop/db` for another project's, `itself`. */
function nameFor(request: Pick<InstanceRequest, 'service'>, rival: string | undefined): string {
  if (rival === undefined) return '';
  if (rival === request.service) return 'itself';
  const [, project = '', name = ''] = rival.split('/');
  return request.service.split('/')[1] === project ? name : `${project}/${name}`;
}
