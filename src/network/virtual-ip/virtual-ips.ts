/**
 * Which elements virtual IPs need: from services and their ready endpoints to what virtual-ip-rules.ts looks up. Pure.
 *
 * Without affinity, the endpoints of a service fill slots 0 … N−1; when one goes, the last takes its slot, so a change of
 * one endpoint is a change of at most three elements. With affinity there is a fixed number of slots, and each belongs to the
 * endpoint that scores highest for it (rendezvous hashing): when an endpoint comes or goes, only its own share of clients moves,
 * and since nothing but the set of endpoints decides, all hosts send a client to the same one, today and after a restart,
 * without a table of clients.
 */
import { containsAddress, tryParseIpv4, type Cidr } from '../address/cidr.ts';
import type { ElementLedger } from '../nftables/nft-elements.ts';
import { meshEndpointMaps, meshHashChain, meshSpreadChain, meshSpreadMap } from './mesh-rules.ts';
import type { Chain } from '../nftables/ruleset.ts';
import { endpointMap, hairpinSet, hashChain, spreadChain, spreadMap } from './virtual-ip-rules.ts';

/** What matters of a service. */
export interface BalancedService {
  readonly virtualIP?: string | undefined;
  /** Ports that lead to it on every host. */
  readonly mesh?: readonly MeshPort[];
  /** Connections of one client go to one endpoint. */
  readonly affinity: boolean;
  /** Endpoints on this host are preferred. */
  readonly preferLocal: boolean;
}

/** A port that every host answers on, and which port of the instances it leads to. */
export interface MeshPort {
  readonly port: number;
  readonly protocol: 'tcp' | 'udp';
  readonly target: number;
}

/** A front does not lead to this endpoint any more. */
export interface Departure {
  /** A virtual IP, or protocol and port of a mesh port as in `meshKey`. */
  readonly front: string;
  readonly address: string;
}

/** What leads to a service, by how it is looked up. */
interface Front {
  /** Of its spread map. Only one service can have it. */
  readonly key: string;
  readonly maps: { readonly spread: string; readonly endpoint: string };
  readonly chains: { readonly spread: (n: number) => Chain; readonly hash: (n: number) => Chain };
  /** Of its slots in the endpoint map. */
  readonly slotKey: string;
  /** Of a slot with this address. */
  data(address: string): string;
}

function vipFront(virtualIP: string): Front {
  return {
    key: virtualIP,
    slotKey: virtualIP,
    maps: { spread: spreadMap, endpoint: endpointMap },
    chains: { spread: spreadChain, hash: hashChain },
    data: (address) => address,
  };
}

function meshFront(mesh: MeshPort): Front {
  return {
    key: meshKey(mesh),
    slotKey: String(mesh.port),
    maps: { spread: meshSpreadMap, endpoint: meshEndpointMaps[mesh.protocol] },
    chains: {
      spread: (count) => meshSpreadChain(mesh.protocol, count),
      hash: (count) => meshHashChain(mesh.protocol, count),
    },
    data: (address) => `${address} . ${mesh.target}`,
  };
}

/** Names a mesh port: `tcp . 80`. */
export function meshKey({ port, protocol }: Pick<MeshPort, 'port' | 'protocol'>): string {
  return `${protocol} . ${port}`;
}

/** Slots of a service with affinity: enough that the shares of some dozens of endpoints are about equal. */
export const affinitySlots = 512;

interface Written {
  readonly front: Front;
  readonly affinity: boolean;
  /** The data of each. */
  readonly slots: readonly string[];
  readonly addresses: readonly string[];
}

interface Node {
  readonly id: string;
  service: BalancedService | undefined;
  fronts: readonly Front[];
  /** Seat → address. */
  readonly endpoints: Map<string, string>;
  /** As in the ledger, by front. */
  readonly written: Map<string, Written>;
}

/** All services of the cluster as one host balances them. Costs follow what changes. */
export class VirtualIps {
  readonly #ledger: ElementLedger;
  readonly #subnet: Cidr;
  readonly #nodes = new Map<string, Node>();
  readonly #dirty = new Set<string>();
  /** Front → services that claim it. Should there be several, the first by name has it. */
  readonly #claims = new Map<string, Set<string>>();
  /** Fronts that this host has other uses for. */
  #refused: ReadonlySet<string> = new Set();
  /** Addresses of this host → how many endpoints have them. */
  readonly #own = new Map<string, number>();

  /** @param subnet this host's */
  constructor(ledger: ElementLedger, subnet: Cidr) {
    this.#ledger = ledger;
    this.#subnet = subnet;
  }

  /** Number of virtual IPs and mesh ports. */
  get size(): number {
    return this.#claims.size;
  }

  /** Fronts (see `meshKey`) that are not to lead anywhere on this host. */
  refuse(fronts: ReadonlySet<string>): void {
    for (const key of [...fronts, ...this.#refused]) {
      if (fronts.has(key) === this.#refused.has(key)) continue;
      for (const id of this.#claims.get(key) ?? []) this.#dirty.add(id);
    }
    this.#refused = fronts;
  }

  /** @param service undefined: gone */
  setService(id: string, service: BalancedService | undefined): void {
    const node = this.#node(id);
    const before = node.fronts;
    node.fronts = [
      ...(service?.virtualIP === undefined ? [] : [vipFront(service.virtualIP)]),
      ...(service?.mesh ?? []).map(meshFront),
    ];
    const keys = new Set(node.fronts.map(({ key }) => key));
    for (const { key } of before) if (!keys.has(key)) this.#unclaim(key, id);
    for (const key of keys) this.#claim(key, id);
    node.service = service;
    this.#dirty.add(id);
  }

  /** @param address undefined: it does not serve any more */
  setEndpoint(id: string, seat: string, address: string | undefined): void {
    const node = this.#node(id);
    const before = node.endpoints.get(seat);
    if (before === address) return;
    if (before !== undefined) this.#countOwn(before, -1);
    if (address === undefined) node.endpoints.delete(seat);
    else {
      node.endpoints.set(seat, address);
      this.#countOwn(address, 1);
    }
    this.#dirty.add(id);
  }

  /** Brings the ledger up to date with all that was said. Returns which endpoints are not led to any more. */
  update(): readonly Departure[] {
    const departures: Departure[] = [];
    // Those that lose a front come before those that take it over.
    const nodes = [...this.#dirty].map((id) => this.#node(id));
    this.#dirty.clear();
    for (const node of nodes) {
      const kept = new Set(this.#targets(node).map(({ key }) => key));
      for (const [key, written] of node.written) {
        if (!kept.has(key)) this.#withdraw(node, written, departures);
      }
    }
    for (const node of nodes) {
      for (const front of this.#targets(node)) this.#write(node, front, departures);
      if (node.service === undefined && node.endpoints.size === 0) this.#nodes.delete(node.id);
    }
    return departures;
  }

  /** Whether a front leads to this address now. */
  leadsTo(front: string, address: string): boolean {
    for (const id of this.#claims.get(front) ?? []) {
      if (this.#nodes.get(id)?.written.get(front)?.addresses.includes(address) === true)
        return true;
    }
    return false;
  }

  /** The fronts that the ledger should have of a service: not those that another service has. */
  #targets(node: Node): readonly Front[] {
    return node.fronts.filter(({ key }) => {
      if (this.#refused.has(key)) return false;
      for (const id of this.#claims.get(key) ?? []) if (id < node.id) return false;
      return true;
    });
  }

  #withdraw(node: Node, { front, slots, addresses }: Written, departures: Departure[]): void {
    for (const address of new Set(addresses)) departures.push({ front: front.key, address });
    this.#fill(front, slots, []);
    this.#ledger.remove(front.maps.spread, front.key);
    node.written.delete(front.key);
  }

  #write(node: Node, front: Front, departures: Departure[]): void {
    const { key, maps, chains } = front;
    const affinity = node.service?.affinity === true;
    const written = node.written.get(key);
    const before = written?.addresses ?? [];
    const eligible = this.#eligible(node);
    const addresses = !affinity
      ? keptSlots(written?.affinity === false ? before : [], eligible)
      : eligible.size === 0
        ? []
        : affinityTable([...eligible]);
    for (const address of new Set(before)) {
      if (!eligible.has(address)) departures.push({ front: key, address });
    }
    const slots = addresses.map((address) => front.data(address));
    this.#fill(front, written?.slots ?? [], slots);
    if (slots.length === 0) this.#ledger.remove(maps.spread, key);
    else {
      const chain = affinity ? chains.hash(slots.length) : chains.spread(slots.length);
      this.#ledger.need(chain);
      this.#ledger.put(maps.spread, key, `goto ${chain.name}`);
    }
    node.written.set(key, { front, affinity, slots, addresses });
  }

  #fill({ slotKey, maps }: Front, before: readonly string[], after: readonly string[]): void {
    for (let slot = 0; slot < Math.max(before.length, after.length); slot++) {
      const data = after[slot];
      if (data === before[slot]) continue;
      if (data === undefined) this.#ledger.remove(maps.endpoint, `${slotKey} . ${slot}`);
      else this.#ledger.put(maps.endpoint, `${slotKey} . ${slot}`, data);
    }
  }

  #eligible({ endpoints, service }: Node): ReadonlySet<string> {
    const all = new Set(endpoints.values());
    if (service?.preferLocal !== true) return all;
    const local = new Set([...all].filter((address) => this.#isOwn(address)));
    return local.size > 0 ? local : all;
  }

  #isOwn(address: string): boolean {
    return containsAddress(this.#subnet, tryParseIpv4(address) ?? -1);
  }

  #countOwn(address: string, by: 1 | -1): void {
    if (!this.#isOwn(address)) return;
    const count = (this.#own.get(address) ?? 0) + by;
    const pair = `${address} . ${address}`;
    if (count > 0) {
      this.#own.set(address, count);
      this.#ledger.put(hairpinSet, pair);
    } else {
      this.#own.delete(address);
      this.#ledger.remove(hairpinSet, pair);
    }
  }

  #claim(front: string, id: string): void {
    const claims = this.#claims.get(front) ?? new Set();
    if (claims.has(id)) return;
    claims.add(id);
    this.#claims.set(front, claims);
    for (const other of claims) this.#dirty.add(other);
  }

  #unclaim(front: string, id: string): void {
    const claims = this.#claims.get(front);
    if (claims === undefined) return;
    claims.delete(id);
    if (claims.size === 0) this.#claims.delete(front);
    for (const other of claims) this.#dirty.add(other);
  }

  #node(id: string): Node {
    let node = this.#nodes.get(id);
    if (node === undefined) {
      node = { id, service: undefined, fronts: [], endpoints: new Map(), written: new Map() };
      this.#nodes.set(id, node);
    }
    return node;
  }
}

/** `before` without those that are gone, each replaced by the last, and with new ones at the end. */
function keptSlots(before: readonly string[], wanted: ReadonlySet<string>): string[] {
  const slots = [...before];
  for (let i = slots.length - 1; i >= 0; i--) {
    if (wanted.has(slots[i] ?? '')) continue;
    const last = slots.pop() ?? '';
    if (i < slots.length) slots[i] = last;
  }
  const present = new Set(slots);
  for (const address of wanted) if (!present.has(address)) slots.push(address);
  return slots;
}

/** Slot → the address that scores highest for it. Depends on nothing but the set of addresses. */
export function affinityTable(addresses: readonly string[]): string[] {
  const seeds = addresses
    .toSorted()
    .map((address) => ({ address, seed: mixed(tryParseIpv4(address) ?? 0) }));
  return Array.from({ length: affinitySlots }, (_, slot) => {
    let best = { address: '', score: -1 };
    for (const { address, seed } of seeds) {
      const score = mixed(seed ^ mixed(slot + 1));
      if (score > best.score) best = { address, score };
    }
    return best.address;
  });
}

/** Spreads the bits of a number over 32 (MurmurHash3's finaliser). */
function mixed(value: number): number {
  let h = value | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
