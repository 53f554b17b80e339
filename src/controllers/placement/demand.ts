import type { ContainerSpec } from '../../registry/records/placement.ts';
import type { InstanceDemand, PlacementRules } from '../../scheduler/index.ts';
import { conflictingHosts } from '../../scheduler/filters/conflicts.ts';
import { machineId } from '../../scheduler/filters/machine-id.ts';
import { machineMetadata } from '../../scheduler/filters/machine-metadata.ts';
import { machineOf } from '../../scheduler/filters/machine-of.ts';
import type { ClusterState } from '../../scheduler/index.ts';

type Needs = Pick<InstanceDemand, 'reservation' | 'ports'>;

const nothing: Needs = { reservation: { cpuMillis: 0, memoryBytes: 0 }, ports: [] };

/** What a container takes away from its host. `undefined` (an unreadable record) takes nothing. */
export function needsOf(container: ContainerSpec | undefined): Needs {
  if (container === undefined) return nothing;
  const { reservations, ports } = container;
  return {
    reservation: {
      cpuMillis: reservations.cpuMillis ?? 0,
      memoryBytes: reservations.memoryBytes ?? 0,
    },
    ports: ports.flatMap((p) =>
      p.hostPort === undefined
        ? []
        : [
            {
              port: p.hostPort,
              protocol: p.protocol,
              ...(p.hostIP === undefined ? {} : { ip: p.hostIP }),
            },
          ],
    ),
  };
}

/**
 * Why a host breaks a service's placement rules ("lacks label disk=ssd"), or undefined when it keeps them. Only what the
 * user ruled counts: not whether the host is cordoned or full.
 */
export function misfitOf(
  state: ClusterState,
  rules: PlacementRules,
  hostName: string,
): string | undefined {
  const host = state.host(hostName);
  if (host?.info === undefined) return undefined;
  const request = { id: '', service: '', ...nothing, rules };
  // Nowhere to follow to: what runs stays where it is.
  const leaders = rules.machineOf ?? [];
  const follows = leaders.every((leader) => state.countsOf(leader).size > 0);
  for (const filter of [machineId, machineMetadata, ...(follows ? [machineOf] : [])]) {
    const check = filter(request, state);
    if (check !== undefined && !check.check(host)) {
      return check.explain(1, check.detail?.(host) ?? '');
    }
  }
  return undefined;
}

/**
 * Why an instance has to leave a host that others may be on: because of what else is there. Of those that cannot stay
 * together the fewest go: of one service's instances the ones with the highest numbers, of two services' the one that
 * says that it conflicts; if both do, the one whose key comes later.
 *
 * @param here ordinals of the service's instances on the host
 */
export function crowdOf(
  state: ClusterState,
  service: string,
  rules: PlacementRules,
  placed: { readonly host: string; readonly ordinal: number },
  here: readonly number[],
): string | undefined {
  const host = state.host(placed.host);
  if (host?.info === undefined) return undefined;
  const before = new Set(here.filter((ordinal) => ordinal < placed.ordinal)).size;
  if (rules.maxPerHost !== undefined && before >= rules.maxPerHost) {
    return `is beyond the ${String(rules.maxPerHost)} that may be on a host`;
  }
  if (rules.conflicts === undefined) return undefined;
  const request = { service, rules };
  if (before > 0 && state.rivalry.declares(service, service)) return 'conflicts with its like';
  const rival = conflictingHosts(request, state, (other) => {
    if (!state.rivalry.declares(service, other)) return false;
    return !state.rivalry.declares(other, service) || other < service;
  })?.hosts.get(host);
  return rival === undefined ? undefined : `conflicts with ${rival}`;
}
