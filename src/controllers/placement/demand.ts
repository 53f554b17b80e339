import type { ContainerSpec } from '../../registry/records/placement.ts';
import type { InstanceDemand, PlacementRules } from '../../scheduler/index.ts';
import { machineId } from '../../scheduler/filters/machine-id.ts';
import { machineMetadata } from '../../scheduler/filters/machine-metadata.ts';
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
  for (const filter of [machineId, machineMetadata]) {
    const check = filter(request, state);
    if (check !== undefined && !check.check(host)) {
      return check.explain(1, check.detail?.(host) ?? '');
    }
  }
  return undefined;
}
