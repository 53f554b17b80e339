import { isDeepStrictEqual } from 'node:util';
import type { ServiceIdentity } from '../../api/v1alpha1/names.ts';
import {
  containsAddress,
  formatIpv4,
  lastOf,
  tryParseIpv4,
  type Cidr,
} from '../../network/address/cidr.ts';
import type { OwnedContainer } from '../ownership.ts';

/** Whose an address of this host is. */
export interface AddressHolder {
  readonly owner: ServiceIdentity;
  /** Of the container's first process; absent while none runs at the address. */
  readonly pid?: number | undefined;
}

interface Claim extends AddressHolder {
  /** Of two containers with one address, the greater has it. */
  readonly rank: number;
}

/** Called with each address whose holder has changed; with undefined, when all may have. */
export type AddressListener = (address: string | undefined) => void;

/** An address that the engine has refused is left alone for this long, milliseconds: somebody else's container has it. */
const refusedMs = 600_000;

/**
 * Which container of this host has which address of the overlay, and which is to get which.
 *
 * Addresses are given out here and not by the engine, which would do it at the start: then nobody else could know the address of an
 * instance before it speaks, and one that is started again by the engine would come back under another's. They are taken from
 * the upper end, away from where the engine gives out its own, and one after the other, so that what has become free is taken up
 * again as late as may be.
 */
export class AddressBook {
  readonly #network: string;
  readonly #monotonic: () => number;
  readonly #listeners = new Set<AddressListener>();
  /** Address → container → what it says. */
  readonly #claims = new Map<string, Map<string, Claim>>();
  /** Instance → container → its address. */
  readonly #ofInstance = new Map<string, Map<string, string>>();
  /** For containers that are being made. */
  readonly #reserved = new Map<string, ServiceIdentity>();
  readonly #refused = new Map<string, number>();
  #subnet: Cidr | undefined;
  #next = 0;
  #isKnown = false;

  /**
   * @param network name of the Docker network whose addresses count
   * @param monotonic milliseconds
   */
  constructor(network: string, monotonic: () => number) {
    this.#network = network;
    this.#monotonic = monotonic;
  }

  /** Whether all containers of this host have been seen once. Before that, no address can be said to be free. */
  get known(): boolean {
    return this.#isKnown;
  }

  /** All containers of this host have been told. */
  complete(): void {
    if (this.#isKnown) return;
    this.#isKnown = true;
    this.#tell(undefined);
  }

  get subnet(): Cidr | undefined {
    return this.#subnet;
  }

  /** Where addresses are given out. */
  set subnet(subnet: Cidr | undefined) {
    const before = this.#subnet;
    if (before?.base === subnet?.base && before?.prefix === subnet?.prefix) return;
    this.#subnet = subnet;
    this.#next = 0;
    this.#tell(undefined);
  }

  /** Whether the address lies in this host's subnet. */
  contains(address: string): boolean {
    return this.#subnet !== undefined && containsAddress(this.#subnet, tryParseIpv4(address) ?? -1);
  }

  /** Has `listener` called when holders have changed. The returned function ends it. */
  onChange(listener: AddressListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Addresses that somebody has, those that are set aside among them. */
  addresses(): Set<string> {
    return new Set([...this.#claims.keys(), ...this.#reserved.keys()]);
  }

  /** Who has the address, or is to get it. */
  holderOf(address: string): AddressHolder | undefined {
    const claim = this.#claimOf(address);
    // What is being made at the address of one that has ended takes it over.
    const reserved = this.#reserved.get(address);
    if (reserved !== undefined && (claim === undefined || claim.rank === 0)) {
      return { owner: reserved };
    }
    return claim && { owner: claim.owner, pid: claim.pid };
  }

  /** The containers of one instance, those of its hooks among them. */
  update(instance: string, containers: readonly OwnedContainer[]): void {
    const before = this.#ofInstance.get(instance) ?? new Map<string, string>();
    const after = new Map<string, string>();
    const touched = new Set<string>();
    for (const container of containers) {
      const address = this.#addressOf(container);
      if (address === undefined) continue;
      after.set(container.id, address);
      if (this.#claim(address, container)) touched.add(address);
    }
    for (const [id, address] of before) {
      if (after.get(id) === address) continue;
      const claims = this.#claims.get(address);
      claims?.delete(id);
      if (claims?.size === 0) this.#claims.delete(address);
      touched.add(address);
    }
    if (after.size === 0) this.#ofInstance.delete(instance);
    else this.#ofInstance.set(instance, after);
    for (const address of touched) this.#tell(address);
  }

  /**
   * Sets an address aside for a container that is about to be made. Undefined: there is none to be had, and the engine may give
   * one. To be released when the container is there, and holds it itself, or is not going to be.
   */
  reserve(owner: ServiceIdentity): string | undefined {
    const address = this.#free();
    if (address === undefined) return undefined;
    const { namespace, project, service } = owner;
    this.#reserved.set(address, { namespace, project, service });
    this.#tell(address);
    return address;
  }

  release(address: string): void {
    if (this.#reserved.delete(address)) this.#tell(address);
  }

  /** The engine says that somebody else has this address. */
  refuse(address: string): void {
    this.#refused.set(address, this.#monotonic() + refusedMs);
  }

  #free(): string | undefined {
    const subnet = this.#subnet;
    if (subnet === undefined || !this.#isKnown) return undefined;
    // The first two are the host's own; the last is for broadcasts.
    const [lowest, highest] = [subnet.base + 2, lastOf(subnet) - 1];
    if (this.#next < lowest || this.#next > highest) this.#next = highest;
    const now = this.#monotonic();
    let ended: string | undefined;
    for (let tried = lowest; tried <= highest; tried++) {
      const address = formatIpv4(this.#next);
      this.#next = this.#next > lowest ? this.#next - 1 : highest;
      const isRefused = (this.#refused.get(address) ?? 0) > now;
      if (isRefused || this.#reserved.has(address)) continue;
      this.#refused.delete(address);
      const claim = this.#claimOf(address);
      if (claim === undefined) return address;
      if (claim.rank === 0) ended ??= address;
    }
    // Jobs that have ended keep their containers, which need no address any more.
    return ended;
  }

  #claimOf(address: string): Claim | undefined {
    let best: Claim | undefined;
    for (const claim of this.#claims.get(address)?.values() ?? []) {
      if (best === undefined || claim.rank > best.rank) best = claim;
    }
    return best;
  }

  /** Returns whether it changes anything. */
  #claim(address: string, { id, key, state, pid }: OwnedContainer): boolean {
    const claims = this.#claims.get(address) ?? new Map<string, Claim>();
    const { namespace, project, service } = key;
    const rank = state === 'exited' ? 0 : state === 'running' || state === 'paused' ? 2 : 1;
    const before = claims.get(id);
    const after = { owner: { namespace, project, service }, rank, pid };
    claims.set(id, after);
    this.#claims.set(address, claims);
    return !isDeepStrictEqual(before, after);
  }

  #addressOf({ state, addresses, assigned }: OwnedContainer): string | undefined {
    if (state === 'dead' || state === 'removing') return undefined;
    return addresses[this.#network] ?? assigned?.[this.#network];
  }

  #tell(address: string | undefined): void {
    for (const listener of [...this.#listeners]) listener(address);
  }
}
