import type { PortMapping } from './container-spec.ts';
import { parsePorts } from './port-string.ts';
import type { ServiceSpec } from './service-spec.ts';

type Published = Pick<ServiceSpec, 'ports' | 'publish'>;

/** A port that every host answers on. */
export interface MeshMapping {
  readonly port: number;
  readonly protocol: 'tcp' | 'udp';
  /** Of the instances. */
  readonly target: number;
}

/**
 * What an instance's container declares, and takes on its host: nothing there, when every host answers for the service.
 * @throws {InvalidValueError}
 */
export function containerPorts({ ports = [], publish }: Published): PortMapping[] {
  const all = ports.flatMap(parsePorts);
  if (publish !== 'mesh') return all;
  const declared = all.map(({ containerPort, protocol }) => ({ containerPort, protocol }));
  // Several ports of the hosts may lead to one.
  return [...new Map(declared.map((port) => [JSON.stringify(port), port])).values()];
}

/**
 * The ports of a service that every host answers on; none, if it publishes on the hosts of its instances only.
 * @throws {InvalidValueError}
 */
export function meshPorts({ ports = [], publish }: Published): MeshMapping[] {
  if (publish !== 'mesh') return [];
  return ports
    .flatMap(parsePorts)
    .flatMap(({ hostPort, containerPort, protocol }) =>
      hostPort === undefined || protocol === 'sctp'
        ? []
        : [{ port: hostPort, protocol, target: containerPort }],
    );
}
