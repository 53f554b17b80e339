import { serviceId } from '../api/v1alpha1/names.ts';
import { serviceRecords, type ServiceRecord } from '../registry/records/index.ts';
import type { ClusterState } from '../scheduler/cluster-state.ts';
import type { PlacementBook } from './placement/book.ts';

type MeshPort = NonNullable<ServiceRecord['mesh']>[number];

/** Why ports of a service are not published on every host, for a condition. */
export interface PublishProblem {
  readonly reason: 'PortTaken';
  readonly message: string;
}

interface Refusal {
  readonly port: string;
  readonly holder: string;
}

/**
 * Who has which port of all hosts, for one term of the leading operator. Built from the records, which outlive operators: whoever
 * had a port first keeps it. A port that instances take on their own hosts is not given out, and one that is given out
 * keeps such instances off every host (scheduler/filters/host-ports.ts).
 */
export class MeshPortBook {
  readonly #state: ClusterState;
  readonly #placements: PlacementBook;
  /** Paths of service records → ports that were refused. */
  readonly #refused = new Map<string, readonly Refusal[]>();

  constructor(state: ClusterState, placements: PlacementBook) {
    this.#state = state;
    this.#placements = placements;
  }

  /** Learns who has what, before the first port is given out. */
  begin(records: Iterable<{ readonly path: string; readonly value: ServiceRecord }>): void {
    // In the order of paths, so that of two which claim one port it is always the same that keeps it.
    for (const { path, value } of [...records].sort((a, b) => (a.path < b.path ? -1 : 1))) {
      const owner = keyOf(path);
      for (const port of value.mesh ?? []) {
        if (this.#state.everywhere.get(nameOf(port)) === undefined) {
          this.#state.everywhere.set(nameOf(port), owner);
        }
      }
    }
  }

  /**
   * The record of a service with those of its ports that it has, or can have now.
   * @returns and the paths of services that wait for a port that it has given up
   */
  admitted(
    path: string,
    record: ServiceRecord | undefined,
  ): { readonly record: ServiceRecord | undefined; readonly freed: readonly string[] } {
    const owner = keyOf(path);
    const wanted = record?.mesh ?? [];
    const names = new Set(wanted.map(nameOf));
    const given: string[] = [];
    for (const [name, holder] of this.#state.everywhere) {
      if (holder === owner && !names.has(name)) given.push(name);
    }
    for (const name of given) this.#state.everywhere.delete(name);
    const granted: MeshPort[] = [];
    const refusals: Refusal[] = [];
    for (const port of wanted) {
      const name = nameOf(port);
      const holder = this.#state.everywhere.get(name) ?? this.#takenOnHost(owner, port);
      if (holder === undefined || holder === owner) {
        this.#state.everywhere.set(name, owner);
        granted.push(port);
      } else refusals.push({ port: name, holder });
    }
    if (refusals.length > 0) this.#refused.set(path, refusals);
    else this.#refused.delete(path);
    const freed = [...this.#refused]
      .filter(([, list]) => list.some(({ port }) => given.includes(port)))
      .map(([other]) => other);
    if (record?.mesh === undefined) return { record, freed };
    const admitted = { ...record, mesh: granted };
    if (granted.length === 0) Reflect.deleteProperty(admitted, 'mesh');
    return { record: admitted, freed };
  }

  /** Paths of services that wait for a port. */
  waiting(): Iterable<string> {
    return this.#refused.keys();
  }

  problemOf(path: string): PublishProblem | undefined {
    const refusals = this.#refused.get(path);
    if (refusals === undefined) return undefined;
    const each = refusals.map(({ port, holder }) => `${port} is taken by ${holder}`);
    return {
      reason: 'PortTaken',
      message: `not published on every host: ${each.join(', ')}; take another port, or free that one`,
    };
  }

  /** An instance of another service that has the port on its own host, in words. */
  #takenOnHost(owner: string, { port, protocol }: MeshPort): string | undefined {
    for (const host of this.#state.hosts) {
      if (!host.portTaken({ port, protocol })) continue;
      for (const key of this.#placements.servicesOn(host.name)) {
        if (key === owner) continue;
        const has = this.#placements
          .ofService(key)
          .some(
            (placed) =>
              placed.host === host.name &&
              placed.record?.container.ports.some(
                (p) => p.hostPort === port && p.protocol === protocol,
              ) === true,
          );
        if (has) return `${key} on host ${host.name}`;
      }
    }
    return undefined;
  }
}

/** `80/tcp`, as people write it. */
function nameOf({ port, protocol }: MeshPort): string {
  return `${port}/${protocol}`;
}

function keyOf(path: string): string {
  const identity = serviceRecords.parsePath(path);
  return identity === undefined ? path : serviceId(identity);
}
