import type { HostInfo, HostPort, InstanceDemand } from './types.ts';

/**
 * One host and what is placed on it. Kept by ClusterState; filters and strategies only read it.
 * It lives on without `info` while instances are placed on a host that is not (or no longer) known.
 */
export class HostState {
  readonly name: string;
  /** FNV-1a of the name: what ties are broken with. */
  readonly hash: number;
  info: HostInfo | undefined;
  /** Instances placed here. */
  instances = 0;
  /** Reserved by them. May exceed the capacity: what is placed is a fact, not a wish. */
  reservedCpuMillis = 0;
  reservedMemoryBytes = 0;
  /** Scratch of the batch under way: instances here of the service that is being placed. */
  ofService = 0;
  readonly #ports = new Map<number, string[]>();

  constructor(name: string, hash: number) {
    this.name = name;
    this.hash = hash;
  }

  add(instance: InstanceDemand): void {
    this.instances += 1;
    this.reservedCpuMillis += instance.reservation.cpuMillis;
    this.reservedMemoryBytes += instance.reservation.memoryBytes;
    for (const port of instance.ports) {
      const key = portKey(port);
      const addresses = this.#ports.get(key);
      if (addresses) addresses.push(port.ip ?? anyAddress);
      else this.#ports.set(key, [port.ip ?? anyAddress]);
    }
  }

  remove(instance: InstanceDemand): void {
    this.instances -= 1;
    this.reservedCpuMillis -= instance.reservation.cpuMillis;
    this.reservedMemoryBytes -= instance.reservation.memoryBytes;
    for (const port of instance.ports) {
      const key = portKey(port);
      const addresses = this.#ports.get(key) ?? [];
      const index = addresses.indexOf(port.ip ?? anyAddress);
      if (index >= 0) addresses.splice(index, 1);
      if (addresses.length === 0) this.#ports.delete(key);
    }
  }

  /** Whether an instance here already listens where `port` would: same number and protocol, overlapping address. */
  portTaken(port: HostPort): boolean {
    const addresses = this.#ports.get(portKey(port));
    if (addresses === undefined) return false;
    const wanted = port.ip ?? anyAddress;
    return (
      isAnyAddress(wanted) ||
      addresses.some((address) => address === wanted || isAnyAddress(address))
    );
  }
}

const anyAddress = '';

/** `0.0.0.0` and `::` cover every address (Docker listens on both families for an absent one). */
function isAnyAddress(address: string): boolean {
  return address === anyAddress || address === '0.0.0.0' || address === '::';
}

const protocolNumber = { tcp: 0, udp: 1, sctp: 2 } as const;

function portKey(port: HostPort): number {
  return port.port * 4 + protocolNumber[port.protocol];
}
