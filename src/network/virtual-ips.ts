/**
 * Which elements virtual IPs need: from services and their ready endpoints to what virtual-ip-rules.ts looks up. Pure.
 *
 * Without affinity, the endpoints of a service fill slots 0 … N−1; when one goes, the last takes its slot, so a change of
 * one endpoint is a change of at most three elements. With affinity there is a fixed number of slots, and each belongs to the
 * endpoint that scores highest for it (rendezvous hashing): when an endpoint comes or goes, only its own share of clients moves,
 * and since nothing but the set of endpoints decides, all hosts send a client to the same one, today and after a restart,
 * without a table of clients.
 */
import { containsAddress, tryParseIpv4, type Cidr } from './cidr.ts';
import type { ElementLedger } from './nft-elements.ts';
import { endpointMap, hairpinSet, hashChain, spreadChain, spreadMap } from './virtual-ip-rules.ts';

/** What matters of a service. */
export interface BalancedService {
  readonly virtualIP: string;
  /** Connections of one client go to one endpoint. */
  readonly affinity: boolean;
  /** Endpoints on this host are preferred. */
  readonly preferLocal: boolean;
}

/** A virtual IP does not lead to this endpoint any more. */
export interface Departure {
  readonly virtualIP: string;
  readonly address: string;
}

/** Slots of a service with affinity: enough that the shares of some dozens of endpoints are about equal. */
export const affinitySlots = 512;

interface Node {
  readonly id: string;
  service: BalancedService | undefined;
  /** Seat → address. */
  readonly endpoints: Map<string, string>;
  /** As written to the ledger: whose address, and what is in its slots. */
  written: { readonly virtualIP: string; readonly affinity: boolean; slots: string[] } | undefined;
}

/** All services of the cluster as one host balances them. Costs follow what changes. */
export class VirtualIps {
  readonly #ledger: ElementLedger;
  readonly #subnet: Cidr;
  readonly #nodes = new Map<string, Node>();
  readonly #dirty = new Set<string>();
  /** Virtual IP → services that claim it. Should there be several, the first by name has it. */
  readonly #claims = new Map<string, Set<string>>();
  /** Addresses of this host → how many endpoints have them. */
  readonly #own = new Map<string, number>();

  /** @param subnet this host's */
  constructor(ledger: ElementLedger, subnet: Cidr) {
    this.#ledger = ledger;
    this.#subnet = subnet;
  }

  /** Number of services with a virtual IP. */
  get size(): number {
    return this.#claims.size;
  }

  /** @param service undefined: gone, or without a virtual IP */
  setService(id: string, service: BalancedService | undefined): void {
    const node = this.#node(id);
    const before = node.service;
    if (before?.virtualIP !== service?.virtualIP) {
      if (before !== undefined) this.#unclaim(before.virtualIP, id);
      if (service !== undefined) this.#claim(service.virtualIP, id);
    }
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
    // Those that lose an address come before those that take it over.
    const nodes = [...this.#dirty].map((id) => this.#node(id));
    this.#dirty.clear();
    for (const node of nodes) {
      const { written } = node;
      if (written === undefined || this.#target(node)?.virtualIP === written.virtualIP) continue;
      this.#withdraw(node, departures);
    }
    for (const node of nodes) {
      this.#write(node, departures);
      if (node.service === undefined && node.endpoints.size === 0) this.#nodes.delete(node.id);
    }
    return departures;
  }

  /** Whether a virtual IP leads to this address now. */
  leadsTo(virtualIP: string, address: string): boolean {
    for (const id of this.#claims.get(virtualIP) ?? []) {
      const written = this.#nodes.get(id)?.written;
      if (written?.virtualIP === virtualIP && written.slots.includes(address)) return true;
    }
    return false;
  }

  /** What the ledger should have of a service: undefined when it has no virtual IP, or another service has it. */
  #target(node: Node): BalancedService | undefined {
    const { service } = node;
    if (service === undefined) return undefined;
    for (const id of this.#claims.get(service.virtualIP) ?? []) {
      if (id < node.id) return undefined;
    }
    return service;
  }

  #withdraw(node: Node, departures: Departure[]): void {
    const { written } = node;
    if (written === undefined) return;
    const { virtualIP } = written;
    for (const address of new Set(written.slots)) departures.push({ virtualIP, address });
    this.#fill(virtualIP, written.slots, []);
    this.#ledger.remove(spreadMap, virtualIP);
    node.written = undefined;
  }

  #write(node: Node, departures: Departure[]): void {
    const service = this.#target(node);
    if (service === undefined) return;
    const { virtualIP, affinity } = service;
    const before = node.written?.slots ?? [];
    const addresses = this.#eligible(node, service);
    const slots = !affinity
      ? keptSlots(node.written?.affinity === false ? before : [], addresses)
      : addresses.size === 0
        ? []
        : affinityTable([...addresses]);
    for (const address of new Set(before)) {
      if (!addresses.has(address)) departures.push({ virtualIP, address });
    }
    this.#fill(virtualIP, before, slots);
    if (slots.length === 0) this.#ledger.remove(spreadMap, virtualIP);
    else {
      const chain = affinity ? hashChain(slots.length) : spreadChain(slots.length);
      this.#ledger.need(chain);
      this.#ledger.put(spreadMap, virtualIP, `goto ${chain.name}`);
    }
    node.written = { virtualIP, affinity, slots };
  }

  #fill(virtualIP: string, before: readonly string[], after: readonly string[]): void {
    for (let slot = 0; slot < Math.max(before.length, after.length); slot++) {
      const address = after[slot];
      if (address === before[slot]) continue;
      const key = `${virtualIP} . ${slot}`;
      if (address === undefined) this.#ledger.remove(endpointMap, key);
      else this.#ledger.put(endpointMap, key, address);
    }
  }

  #eligible(node: Node, service: BalancedService): ReadonlySet<string> {
    const all = new Set(node.endpoints.values());
    if (!service.preferLocal) return all;
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

  #claim(virtualIP: string, id: string): void {
    const claims = this.#claims.get(virtualIP) ?? new Set();
    claims.add(id);
    this.#claims.set(virtualIP, claims);
    for (const other of claims) this.#dirty.add(other);
  }

  #unclaim(virtualIP: string, id: string): void {
    const claims = this.#claims.get(virtualIP);
    if (claims === undefined) return;
    claims.delete(id);
    if (claims.size === 0) this.#claims.delete(virtualIP);
    for (const other of claims) this.#dirty.add(other);
  }

  #node(id: string): Node {
    let node = this.#nodes.get(id);
    if (node === undefined) {
      node = { id, service: undefined, endpoints: new Map(), written: undefined };
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
