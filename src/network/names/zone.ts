/**
 * What names mean in nap: an index of services and their ready addresses, and the rules by which a name is read. Pure.
 *
 * A plain name is read from the asker's place: an alias among its service's links, else a service of its project, else
 * an instance (`web-2`, `web.2`, `guestbook-web-2`) of its project. Names under `nap.local` are the same for everybody.
 * The name of a service with a virtual IP means that; `tasks.` before it, its ready instances.
 *
 * Nobody sees whom he may not speak to (permission.ts): such a name is as one that does not exist.
 */
import { plainOrdinal, seatKey } from '../../api/v1alpha1/seat.ts';
import { isolatedService, maySpeak, type IsolatedService } from '../isolation/permission.ts';

/** Where full names end. */
export const zoneSuffix = 'nap.local';

/** In place of a project's name: services that no project owns. Part of the record paths. */
const standalone = '_';

/** Before the name of a service: its instances. */
const tasks = 'tasks.';

/** A service, or with `ordinal` one instance of it. */
export interface ServiceName {
  readonly namespace: string;
  readonly project: string;
  readonly service: string;
}

/**
 * Who asks. `stranger`: somebody in the overlay whom nap does not run. Undefined: the host itself, which has no project, so
 * plain names mean nothing to it, and which sees all.
 */
export type Asker = ServiceName | 'stranger' | undefined;

export interface ServicePort {
  readonly port: number;
  readonly protocol: 'tcp' | 'udp' | 'sctp';
}

export interface ZoneService {
  readonly ports: readonly ServicePort[];
  readonly links: readonly Link[];
  readonly virtualIP?: string | undefined;
  /** As in service records. */
  readonly isolation?: string | undefined;
  readonly routed?: boolean | undefined;
  readonly memberOf?: string | undefined;
}

interface Link {
  readonly service: string;
  readonly alias: string;
  /** Default: the linking service's own. */
  readonly project?: string | undefined;
}

export interface ZoneEndpoint {
  /** IPv4 address. */
  readonly address: string;
  /** IPv6 address, as RFC 5952 writes it. */
  readonly ipv6?: string;
  readonly ports: readonly ServicePort[];
}

/** One address with the name of its instance. */
export interface ZoneTarget {
  readonly ordinal: string;
  readonly endpoint: ZoneEndpoint;
}

/** What a name stands for. */
export type Resolution =
  /** A service or instance that exists. `targets` are the ready ones; none when it has none. */
  | {
      readonly type: 'found';
      readonly service: ServiceName;
      readonly targets: readonly ZoneTarget[];
      /** The name means this address; `targets` are what stands behind it. */
      readonly virtualIP?: string;
    }
  /** Nothing of its own, but names below it exist (`<project>.<namespace>.nap.local`). */
  | { readonly type: 'empty' }
  /** Ours to answer, and there is no such name. */
  | { readonly type: 'absent' }
  /** Not ours: ask the host's resolvers. */
  | { readonly type: 'foreign' };

interface ServiceNode {
  readonly name: ServiceName;
  /** The record; absent while only endpoints are known. */
  record: ZoneService | undefined;
  /** What it says of permissions. */
  isolated: IsolatedService | undefined;
  /** Link alias → what it leads to. */
  aliases: ReadonlyMap<string, Link>;
  readonly endpoints: Map<string, ZoneEndpoint>;
}

/** The services and addresses of the whole cluster. Each change costs O(1), each look-up O(answers). */
export class Zone {
  readonly #services = new Map<string, ServiceNode>();
  /** Names above services → how many services lie below, so that these names exist, too. */
  readonly #above = new Map<string, number>();
  /** Address → the instance that serves there. */
  readonly #byAddress = new Map<string, ServiceName & { readonly ordinal: string }>();
  /** Virtual IP → its service. */
  readonly #byVirtualIP = new Map<string, ServiceName>();

  /** Number of services known. */
  get size(): number {
    return this.#services.size;
  }

  setService(name: ServiceName, service: ZoneService): void {
    const node = this.#node(name);
    this.#forgetVirtualIP(node);
    node.record = service;
    node.isolated = isolatedService(service);
    node.aliases = new Map(service.links.map((link) => [link.alias.toLowerCase(), link] as const));
    if (service.virtualIP !== undefined) this.#byVirtualIP.set(service.virtualIP, node.name);
  }

  deleteService(name: ServiceName): void {
    const node = this.#services.get(id(name));
    if (node === undefined) return;
    this.#forgetVirtualIP(node);
    node.record = undefined;
    node.isolated = undefined;
    node.aliases = new Map();
    this.#dropIfEmpty(node);
  }

  setEndpoint(name: ServiceName, ordinal: string, endpoint: ZoneEndpoint): void {
    const node = this.#node(name);
    this.#forgetAddress(node, ordinal);
    node.endpoints.set(ordinal, endpoint);
    for (const address of addressesOf(endpoint)) {
      this.#byAddress.set(address, { ...node.name, ordinal });
    }
  }

  deleteEndpoint(name: ServiceName, ordinal: string): void {
    const node = this.#services.get(id(name));
    if (node === undefined) return;
    this.#forgetAddress(node, ordinal);
    node.endpoints.delete(ordinal);
    this.#dropIfEmpty(node);
  }

  /** The instance that serves at `address`, of IPv4 or IPv6. */
  instanceAt(address: string): (ServiceName & { readonly ordinal: string }) | undefined {
    const found = this.#byAddress.get(address);
    return found && { ...found, ordinal: plainOrdinal(found.ordinal) };
  }

  /** The service whose virtual IP `address` is. */
  serviceAt(address: string): ServiceName | undefined {
    return this.#byVirtualIP.get(address);
  }

  /**
   * Reads `name` (any case, with or without a final dot) as `asker` means it. Without an asker, plain names mean
   * nothing. Never throws.
   */
  resolve(asker: Asker, name: string): Resolution {
    const plain = name.toLowerCase().replace(/\.$/, '');
    if (plain === '') return { type: 'foreign' };
    if (plain === zoneSuffix) return { type: 'empty' };
    if (plain.endsWith(`.${zoneSuffix}`)) {
      return this.#full(asker, plain.slice(0, -zoneSuffix.length - 1).split('.'), plain);
    }
    const local = typeof asker === 'object' ? this.#plain(asker, plain) : undefined;
    if (local !== undefined) return local;
    // A name of one label, or with a number for a top-level domain, is nobody's on the outside: keep it in.
    return /^[^.]+$|\.\d+$/.test(plain) ? { type: 'absent' } : { type: 'foreign' };
  }

  /** Whether a service is there for `asker`: whether he may speak to it. */
  maySee(asker: Asker, name: ServiceName): boolean {
    if (asker === undefined) return true;
    const from = asker === 'stranger' ? undefined : asker;
    return maySpeak(from, name, (identity) => this.#services.get(id(identity))?.isolated);
  }

  #plain(asker: ServiceName, name: string): Resolution | undefined {
    const aliases = this.#services.get(id(asker))?.aliases;
    const inProject = (service: string): ServiceName => {
      const link = aliases?.get(service);
      return {
        namespace: asker.namespace,
        project: link?.project ?? asker.project,
        service: link?.service ?? service,
      };
    };
    const whole = this.#service(asker, inProject(name));
    if (whole !== undefined) return whole;
    if (name.startsWith(tasks)) {
      const members = this.#members(asker, inProject(name.slice(tasks.length)));
      if (members !== undefined) return members;
    }
    // `web.2`, `web-2`, and `guestbook-web-2`, which is also the hostname
    const split = /^(.+)[.-]([1-9]\d*)$/.exec(name);
    if (split === null) {
      // An alias whose service is not there (yet) is ours all the same.
      return aliases?.has(name) === true ? { type: 'absent' } : undefined;
    }
    const [, base = '', ordinal = ''] = split;
    const own = `${asker.project}-`;
    return best(
      this.#instance(asker, inProject(base), ordinal),
      base.startsWith(own)
        ? this.#instance(asker, { ...asker, service: base.slice(own.length) }, ordinal)
        : undefined,
    );
  }

  /** `labels` are those before the suffix. */
  #full(asker: Asker, labels: readonly string[], name: string): Resolution {
    const namespace = labels.at(-1) ?? '';
    const [a = '', b = '', c = ''] = labels;
    const [, base = '', ordinal = ''] = /^(.+)-([1-9]\d*)$/.exec(a) ?? [];
    const isTasks = `${a}.` === tasks;
    let found: Resolution | undefined;
    if (labels.length === 2) {
      found =
        this.#service(asker, { namespace, project: standalone, service: a }) ??
        best(
          this.#instance(asker, { namespace, project: standalone, service: base }, ordinal),
          ...this.#hostname(asker, namespace, base, ordinal),
        );
    } else if (labels.length === 3) {
      found =
        this.#service(asker, { namespace, project: b, service: a }) ??
        best(
          this.#instance(asker, { namespace, project: b, service: base }, ordinal),
          this.#instance(asker, { namespace, project: standalone, service: b }, a),
          isTasks
            ? this.#members(asker, { namespace, project: standalone, service: b })
            : undefined,
        );
    } else if (labels.length === 4) {
      const name = { namespace, project: c, service: b };
      found = isTasks ? this.#members(asker, name) : this.#instance(asker, name, a);
    }
    if (found !== undefined) return found;
    return this.#above.has(name) ? { type: 'empty' } : { type: 'absent' };
  }

  /** `<project>-<service>-<ordinal>`: both parts may hold hyphens, so each split is tried; there are few. */
  *#hostname(
    asker: Asker,
    namespace: string,
    base: string,
    ordinal: string,
  ): Iterable<Resolution | undefined> {
    for (let at = base.indexOf('-'); at > 0; at = base.indexOf('-', at + 1)) {
      const name = { namespace, project: base.slice(0, at), service: base.slice(at + 1) };
      yield this.#instance(asker, name, ordinal);
    }
  }

  #service(asker: Asker, name: ServiceName): Resolution | undefined {
    const members = this.#members(asker, name);
    const virtualIP = this.#services.get(id(name))?.record?.virtualIP;
    if (members?.type !== 'found' || virtualIP === undefined) return members;
    return { ...members, virtualIP };
  }

  /** The service as its ready instances. */
  #members(asker: Asker, name: ServiceName): Resolution | undefined {
    const node = this.#services.get(id(name));
    if (node === undefined || !this.maySee(asker, node.name)) return undefined;
    const targets = [...node.endpoints].map(([seat, endpoint]) => ({
      ordinal: plainOrdinal(seat),
      endpoint,
    }));
    return { type: 'found', service: node.name, targets };
  }

  /**
   * Undefined when there is no such service. The name of an instance that is not ready, or not made yet, exists without an
   * address: its existence must not come and go with its health.
   */
  #instance(asker: Asker, name: ServiceName, ordinal: string): Resolution | undefined {
    const node = this.#services.get(id(name));
    if (node === undefined || !/^[1-9]\d*$/.test(ordinal)) return undefined;
    if (!this.maySee(asker, node.name)) return undefined;
    // In an update an ordinal may have two that serve.
    const targets = [seatKey(ordinal, false), seatKey(ordinal, true)].flatMap((seat) => {
      const endpoint = node.endpoints.get(seat);
      return endpoint === undefined ? [] : [{ ordinal, endpoint }];
    });
    return { type: 'found', service: node.name, targets };
  }

  #node(name: ServiceName): ServiceNode {
    const key = id(name);
    let node = this.#services.get(key);
    if (node === undefined) {
      const { namespace, project, service } = name;
      node = {
        name: { namespace, project, service },
        record: undefined,
        isolated: undefined,
        aliases: new Map(),
        endpoints: new Map(),
      };
      this.#services.set(key, node);
      for (const above of namesAbove(name)) {
        this.#above.set(above, (this.#above.get(above) ?? 0) + 1);
      }
    }
    return node;
  }

  #dropIfEmpty(node: ServiceNode): void {
    if (node.record !== undefined || node.endpoints.size > 0) return;
    this.#services.delete(id(node.name));
    for (const above of namesAbove(node.name)) {
      const count = (this.#above.get(above) ?? 1) - 1;
      if (count === 0) this.#above.delete(above);
      else this.#above.set(above, count);
    }
  }

  #forgetVirtualIP({ name, record }: ServiceNode): void {
    const virtualIP = record?.virtualIP;
    if (virtualIP === undefined) return;
    const holder = this.#byVirtualIP.get(virtualIP);
    // It may have passed to another service already.
    if (holder !== undefined && id(holder) === id(name)) this.#byVirtualIP.delete(virtualIP);
  }

  #forgetAddress(node: ServiceNode, ordinal: string): void {
    const endpoint = node.endpoints.get(ordinal);
    if (endpoint === undefined) return;
    for (const address of addressesOf(endpoint)) {
      const holder = this.#byAddress.get(address);
      // The address may have passed to another instance already.
      if (holder !== undefined && id(holder) === id(node.name) && holder.ordinal === ordinal) {
        this.#byAddress.delete(address);
      }
    }
  }
}

function addressesOf({ address, ipv6 }: ZoneEndpoint): readonly string[] {
  return ipv6 === undefined ? [address] : [address, ipv6];
}

/** Of several readings of one name the first that leads somewhere, else the first. */
function best(...readings: readonly (Resolution | undefined)[]): Resolution | undefined {
  const known = readings.filter((reading) => reading !== undefined);
  return known.find((r) => r.type === 'found' && r.targets.length > 0) ?? known[0];
}

/** The full name of an instance: what SRV and PTR answers point at. */
export function instanceDomain(name: ServiceName, ordinal: string): string {
  return `${ordinal}.${serviceDomain(name)}`;
}

/** The full name of a service. */
export function serviceDomain({ namespace, project, service }: ServiceName): string {
  const owner = project === standalone ? '' : `${project}.`;
  return `${service}.${owner}${namespace}.${zoneSuffix}`;
}

function namesAbove({ namespace, project }: ServiceName): readonly string[] {
  const top = `${namespace}.${zoneSuffix}`;
  return project === standalone ? [top] : [top, `${project}.${top}`];
}

function id({ namespace, project, service }: ServiceName): string {
  return `${namespace}/${project}/${service}`;
}
