/**
 * Which elements isolation needs: from services, their links and who has which address, to what isolation-rules.ts looks up. Pure.
 *
 * The host of the instance that is spoken to decides. It gives each project and each service that some instance of its own takes
 * in a number; a packet's source address leads to the numbers of its project and of its service, and a set says which numbers an
 * instance takes in. So a packet costs a few look-ups, an instance a handful of elements, and an address two at most: a host with
 * a hundred instances holds what concerns their projects, not what concerns the cluster.
 *
 * Numbers are this host's alone. They are made from names, so that after a restart of the agent they are what the kernel
 * has; should two names come to the same number, the later takes the next.
 */
import { serviceId, type ServiceIdentity } from '../../api/v1alpha1/names.ts';
import { allowedSet, groupMap, memberMap, openSet } from './isolation-rules.ts';
import { hex } from '../nftables/mesh-mark.ts';
import type { ElementLedger } from '../nftables/nft-elements.ts';
import {
  groupId,
  linkTargets,
  principalOf,
  routerId,
  unknownService,
  type IsolatedService,
} from './permission.ts';

interface Node {
  readonly id: string;
  readonly identity: ServiceIdentity;
  /** Of a service whose record is gone: the last, until its addresses are gone, too. It drains with the rights that it had. */
  service: IsolatedService;
  /** Whether there is a record. */
  exists: boolean;
  /** Its addresses anywhere. */
  readonly sources: Set<string>;
  /** Its addresses on this host. */
  readonly locals: Set<string>;
}

/** All services and addresses of the cluster as one host lets them in to its own instances. Costs follow what changes. */
export class Isolation {
  readonly #ledger: Pick<ElementLedger, 'put' | 'remove'>;
  readonly #nodes = new Map<string, Node>();
  /** Address → whose it is. */
  readonly #sources = new Map<string, Node>();
  readonly #locals = new Map<string, Node>();
  /** Principal (serviceId) → the nodes that count as it. */
  readonly #byPrincipal = new Map<string, Set<Node>>();
  /** Group → its nodes. */
  readonly #byGroup = new Map<string, Set<Node>>();
  /** Principal → the nodes that have a link to it. */
  readonly #linkers = new Map<string, Set<Node>>();
  readonly #dirtyLocals = new Set<string>();
  readonly #dirtySources = new Set<string>();
  /** Address on this host → the groups and principals that it takes in, as in the ledger; `open`: all. */
  readonly #taken = new Map<string, 'open' | ReadonlyMap<string, number>>();
  /** Group or principal → its number, and how many addresses of this host take it in. */
  readonly #numbers = new Map<string, { readonly number: number; count: number }>();
  readonly #names = new Map<number, string>();

  constructor(ledger: Pick<ElementLedger, 'put' | 'remove'>) {
    this.#ledger = ledger;
  }

  /** Number of this host's addresses that are looked after. */
  get size(): number {
    return this.#locals.size;
  }

  /** @param service undefined: its record is gone */
  setService(identity: ServiceIdentity, service: IsolatedService | undefined): void {
    const node = this.#node(identity);
    node.exists = service !== undefined;
    if (service !== undefined) this.#describe(node, service);
    this.#dropIfUnused(node);
  }

  /** Says whose an address is, wherever it may be; undefined: nobody's that nap knows. */
  setSource(address: string, identity: ServiceIdentity | undefined): void {
    this.#assign(this.#sources, 'sources', address, identity);
  }

  /** The same for an address on this host as one that is spoken to. */
  setLocal(address: string, identity: ServiceIdentity | undefined): void {
    this.#assign(this.#locals, 'locals', address, identity);
  }

  /** Brings the ledger up to date with all that was said. */
  update(): void {
    for (const address of this.#dirtyLocals) this.#writeLocal(address);
    this.#dirtyLocals.clear();
    // After the above, which says whose numbers are needed.
    for (const address of this.#dirtySources) this.#writeSource(address);
    this.#dirtySources.clear();
  }

  #describe(node: Node, service: IsolatedService): void {
    const before = principalId(node);
    for (const target of targetIds(node)) this.#unlink(target, node);
    node.service = service;
    const after = principalId(node);
    if (before !== after) {
      removeFrom(this.#byPrincipal, before, node);
      addTo(this.#byPrincipal, after, node);
      for (const address of node.sources) this.#dirtySources.add(address);
      this.#dropIfLeft(before);
    }
    for (const target of targetIds(node)) {
      addTo(this.#linkers, target, node);
      this.#touchPrincipal(target);
    }
    for (const address of node.locals) this.#dirtyLocals.add(address);
  }

  #unlink(target: string, node: Node): void {
    removeFrom(this.#linkers, target, node);
    this.#touchPrincipal(target);
  }

  /** Who has a link to it has changed. */
  #touchPrincipal(principal: string): void {
    for (const node of this.#byPrincipal.get(principal) ?? []) {
      for (const address of node.locals) this.#dirtyLocals.add(address);
    }
  }

  #assign(
    holders: Map<string, Node>,
    side: 'sources' | 'locals',
    address: string,
    identity: ServiceIdentity | undefined,
  ): void {
    const before = holders.get(address);
    if (before?.id === (identity && serviceId(identity))) return;
    const node = identity && this.#node(identity);
    if (node === undefined) holders.delete(address);
    else {
      holders.set(address, node);
      node[side].add(address);
    }
    (side === 'sources' ? this.#dirtySources : this.#dirtyLocals).add(address);
    if (before === undefined) return;
    before[side].delete(address);
    this.#dropIfUnused(before);
  }

  #writeLocal(address: string): void {
    const node = this.#locals.get(address);
    const before = this.#taken.get(address);
    const isOpen = node?.service.mode === 'open';
    if (isOpen !== (before === 'open')) {
      if (isOpen) this.#ledger.put(openSet, address);
      else this.#ledger.remove(openSet, address);
    }
    const wanted = node === undefined || isOpen ? new Set<string>() : this.#admitted(node);
    const present = before === undefined || before === 'open' ? new Map<string, number>() : before;
    const next = new Map<string, number>();
    // First what comes: what stays needed keeps its number.
    for (const id of wanted) {
      const number = present.get(id) ?? this.#need(id);
      next.set(id, number);
      if (!present.has(id)) this.#ledger.put(allowedSet, pair(address, number));
    }
    for (const [id, number] of present) {
      if (wanted.has(id)) continue;
      this.#ledger.remove(allowedSet, pair(address, number));
      this.#release(id);
    }
    if (node === undefined) this.#taken.delete(address);
    else this.#taken.set(address, isOpen ? 'open' : next);
  }

  /** The groups and principals that instances of a service which is not open take in. */
  #admitted({ identity, service }: Node): Set<string> {
    const principal = principalOf(identity, service);
    const group = groupId(identity);
    const isStrict = service.mode === 'strict';
    const result = new Set([isStrict ? serviceId(principal) : group]);
    for (const linker of this.#linkers.get(serviceId(principal)) ?? []) {
      // The group is in as a whole.
      if (!isStrict && groupId(linker.identity) === group) continue;
      result.add(principalId(linker));
    }
    if (service.routed) result.add(routerId);
    return result;
  }

  #writeSource(address: string): void {
    const node = this.#sources.get(address);
    for (const [map, id] of [
      [groupMap, node && groupId(node.identity)],
      [memberMap, node && principalId(node)],
    ] as const) {
      const number = id === undefined ? undefined : this.#numbers.get(id)?.number;
      if (number === undefined) this.#ledger.remove(map, address);
      else this.#ledger.put(map, address, hex(number));
    }
  }

  /** One more address takes it in. */
  #need(id: string): number {
    let known = this.#numbers.get(id);
    if (known === undefined) {
      let number = numberOf(id);
      while (this.#names.has(number)) number = (number % largestNumber) + 1;
      known = { number, count: 0 };
      this.#numbers.set(id, known);
      this.#names.set(number, id);
      this.#touchSources(id);
    }
    known.count += 1;
    return known.number;
  }

  #release(id: string): void {
    const known = this.#numbers.get(id);
    if (known === undefined || --known.count > 0) return;
    this.#numbers.delete(id);
    this.#names.delete(known.number);
    this.#touchSources(id);
  }

  #touchSources(id: string): void {
    for (const nodes of [this.#byGroup.get(id), this.#byPrincipal.get(id)]) {
      for (const node of nodes ?? []) {
        for (const address of node.sources) this.#dirtySources.add(address);
      }
    }
  }

  #node(identity: ServiceIdentity): Node {
    const id = serviceId(identity);
    let node = this.#nodes.get(id);
    if (node === undefined) {
      const { namespace, project, service } = identity;
      node = {
        id,
        identity: { namespace, project, service },
        service: unknownService,
        exists: false,
        sources: new Set(),
        locals: new Set(),
      };
      this.#nodes.set(id, node);
      addTo(this.#byPrincipal, id, node);
      addTo(this.#byGroup, groupId(identity), node);
    }
    return node;
  }

  #dropIfUnused(node: Node): void {
    if (node.exists || node.sources.size > 0 || node.locals.size > 0) return;
    const principal = principalId(node);
    // Its runs have their rights from it.
    for (const each of this.#byPrincipal.get(node.id) ?? []) if (each !== node) return;
    for (const target of targetIds(node)) this.#unlink(target, node);
    removeFrom(this.#byPrincipal, principal, node);
    removeFrom(this.#byGroup, groupId(node.identity), node);
    this.#nodes.delete(node.id);
    this.#dropIfLeft(principal);
  }

  /** One that counted as this service does so no more. */
  #dropIfLeft(principal: string): void {
    const node = this.#nodes.get(principal);
    if (node !== undefined) this.#dropIfUnused(node);
  }
}

function principalId({ identity, service }: Node): string {
  return serviceId(principalOf(identity, service));
}

/** Services that it has links to in its own right, each once. */
function targetIds(node: Node): Set<string> {
  if (principalId(node) !== node.id) return new Set();
  return new Set(linkTargets(node.identity, node.service).map(serviceId));
}

function pair(address: string, number: number): string {
  return `${address} . ${hex(number)}`;
}

/** 0 stands for nobody. */
const largestNumber = 0xffff_ffff;

/** FNV-1a. */
function numberOf(id: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < id.length; i++) hash = Math.imul(hash ^ id.charCodeAt(i), 0x01000193);
  return hash >>> 0 || 1;
}

function addTo<T>(map: Map<string, Set<T>>, key: string, value: T): void {
  const values = map.get(key);
  if (values === undefined) map.set(key, new Set([value]));
  else values.add(value);
}

function removeFrom<T>(map: Map<string, Set<T>>, key: string, value: T): void {
  const values = map.get(key);
  values?.delete(value);
  if (values?.size === 0) map.delete(key);
}
