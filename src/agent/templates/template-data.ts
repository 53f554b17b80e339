import { instanceName, type InstanceKey } from '../../api/v1alpha1/names.ts';
import { isSecondSeat, plainOrdinal } from '../../api/v1alpha1/seat.ts';
import type { DeliveredTemplate } from '../../api/v1alpha1/template-spec.ts';
import type { EndpointRecord } from '../../registry/records/index.ts';
import type { ServiceKey } from '../service-feed.ts';

/** What a template may know of its host. */
export interface HostFacts {
  readonly name: string;
  readonly address: string;
  readonly machineID: string;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Ready instances of a service, by seat. */
export type EndpointsOf = (service: ServiceKey) => ReadonlyMap<string, EndpointRecord>;

/** Which service a template means by one of its watches. */
export function watchedService(
  key: Pick<InstanceKey, 'namespace' | 'project'>,
  { project, service }: DeliveredTemplate['watch'][number],
): ServiceKey {
  return { namespace: key.namespace, project: project ?? key.project, service };
}

/**
 * All that a template sees. Pure; the same records give the same data in the same order, whatever order they came in. In
 * an update an ordinal may have two instances that serve: both are there, the older one first.
 */
export function templateData(
  key: InstanceKey,
  host: HostFacts,
  template: Pick<DeliveredTemplate, 'watch'>,
  endpointsOf: EndpointsOf,
): object {
  const ordinal = plainOrdinal(key.ordinal);
  return {
    namespace: key.namespace,
    project: key.project,
    service: key.service,
    instance: { name: instanceName({ ...key, ordinal }), ordinal: Number(ordinal) },
    host,
    services: Object.fromEntries(
      template.watch.map((watch) => {
        const service = watchedService(key, watch);
        return [
          watch.alias,
          {
            ...service,
            name: service.service,
            instances: instancesOf(service, endpointsOf(service)),
          },
        ];
      }),
    ),
  };
}

function instancesOf(
  service: ServiceKey,
  endpoints: ReadonlyMap<string, EndpointRecord>,
): object[] {
  return [...endpoints]
    .map(([seat, record]) => ({ seat, ordinal: Number(plainOrdinal(seat)), record }))
    .sort(
      (a, b) =>
        a.ordinal - b.ordinal || Number(isSecondSeat(a.seat)) - Number(isSecondSeat(b.seat)),
    )
    .map(({ ordinal, record: { host, ipv4_addr: address, ipv6_addr: ipv6, port, ports } }) => ({
      name: instanceName({ ...service, ordinal: String(ordinal) }),
      ordinal,
      host,
      address,
      ...(ipv6 !== undefined && { ipv6 }),
      port: port ?? null,
      ports,
    }));
}
