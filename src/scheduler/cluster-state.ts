import { HostState } from './host-state.ts';
import { hashString } from './hash.ts';
import { Rivalry } from './rivalry.ts';
import type { HostInfo, InstanceDemand } from './types.ts';

interface Placed {
  readonly instance: InstanceDemand;
  readonly host: HostState;
}

/**
 * Hosts and what is placed on them, kept up to date by whoever learns of a change; each change is O(1) (plus the
 * instance's ports), whatever the size of the cluster; hosts that come or go cost one sort at the next look. Changes may come in any order: an instance may be placed on a
 * host that is not known yet, and what is placed on a removed host goes on being counted until it is unplaced.
 */
export class ClusterState {
  readonly #hosts = new Map<string, HostState>();
  /** Known hosts by name; undefined when one has come or gone since. */
  #known: HostState[] | undefined = [];
  readonly #placed = new Map<string, Placed>();
  readonly #byService = new Map<string, Map<HostState, number>>();
  /** Placed services by namespace. */
  readonly #byNamespace = new Map<string, Set<string>>();
  /** Who must not share a host with whom. */
  readonly rivalry = new Rivalry();
  /** Ports that every host answers on (`80/tcp`), and the key of the service that has them. Kept by whoever gives them out. */
  readonly everywhere = new Map<string, string>();

  /** Adds a host or replaces what is known of it; what is placed on it stays. */
  setHost(info: HostInfo): void {
    const host = this.#host(info.name);
    if (host.info === undefined) this.#known = undefined;
    host.info = info;
  }

  /** Forgets a host; nothing more is placed on it. Unknown names are ignored. */
  removeHost(name: string): void {
    const host = this.#hosts.get(name);
    if (host?.info === undefined) return;
    host.info = undefined;
    this.#known = undefined;
    this.#dropIfEmpty(host);
  }

  /**
   * Notes that an instance is on a host. Never refuses: what is placed is a fact, also when it exceeds the capacity.
   * An id that is already placed is moved (and its demand replaced).
   */
  place(instance: InstanceDemand, hostName: string): void {
    this.unplace(instance.id);
    const host = this.#host(hostName);
    host.add(instance);
    this.#placed.set(instance.id, { instance, host });
    let counts = this.#byService.get(instance.service);
    if (counts === undefined) {
      counts = new Map<HostState, number>();
      this.#byService.set(instance.service, counts);
      const namespace = namespaceOf(instance.service);
      const services = this.#byNamespace.get(namespace) ?? new Set<string>();
      this.#byNamespace.set(namespace, services.add(instance.service));
    }
    counts.set(host, (counts.get(host) ?? 0) + 1);
  }

  /** Notes that an instance is gone. Says whether it was placed. */
  unplace(id: string): boolean {
    const placed = this.#placed.get(id);
    if (placed === undefined) return false;
    const { instance, host } = placed;
    this.#placed.delete(id);
    host.remove(instance);
    const counts = this.#byService.get(instance.service);
    const left = (counts?.get(host) ?? 0) - 1;
    if (left > 0) counts?.set(host, left);
    else counts?.delete(host);
    if (counts?.size === 0) this.#forgetService(instance.service);
    this.#dropIfEmpty(host);
    return true;
  }

  /** Name of the host that an instance is on. */
  hostOf(id: string): string | undefined {
    return this.#placed.get(id)?.host.name;
  }

  /** A host with what is placed on it; also one that is not known but has instances. */
  host(name: string): HostState | undefined {
    return this.#hosts.get(name);
  }

  /**
   * All known hosts by name, so that no decision depends on the order in which they joined. A snapshot, made anew
   * when a host has come or gone.
   */
  get hosts(): readonly HostState[] {
    this.#known ??= [...this.#hosts.values()]
      .filter((host) => host.info !== undefined)
      .sort((a, b) => (a.name < b.name ? -1 : 1));
    return this.#known;
  }

  /** Number of placed instances. */
  get placedCount(): number {
    return this.#placed.size;
  }

  /** How many instances of a service each host has; hosts with none are absent. Live. */
  countsOf(service: string): ReadonlyMap<HostState, number> {
    return this.#byService.get(service) ?? noCounts;
  }

  /** Keys of the services of a namespace that are placed somewhere. Live. */
  servicesIn(namespace: string): Iterable<string> {
    return this.#byNamespace.get(namespace) ?? [];
  }

  #forgetService(service: string): void {
    this.#byService.delete(service);
    const namespace = namespaceOf(service);
    const services = this.#byNamespace.get(namespace);
    services?.delete(service);
    if (services?.size === 0) this.#byNamespace.delete(namespace);
  }

  #host(name: string): HostState {
    let host = this.#hosts.get(name);
    if (host === undefined) this.#hosts.set(name, (host = new HostState(name, hashString(name))));
    return host;
  }

  #dropIfEmpty(host: HostState): void {
    if (host.info === undefined && host.instances === 0) this.#hosts.delete(host.name);
  }
}

const noCounts: ReadonlyMap<HostState, number> = new Map();

/** Keys of services are `namespace/project/service`. */
function namespaceOf(service: string): string {
  return service.slice(0, service.indexOf('/'));
}
