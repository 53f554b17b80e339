import { createHash } from 'node:crypto';
import { containsAddress, formatIpv4, tryParseIpv4, type Cidr } from '../address/cidr.ts';
import { capacity } from './virtual-range.ts';

/**
 * Which service has which virtual IP. Never two one. A service keeps its address for as long as it is not released, wherever the
 * first range is moved to. A new one begins to look at a place that its name says: so an address that was released is not soon given
 * to another service, for which clients with an old answer would take it. Pure but for its memory.
 */
export class VirtualIpPool {
  readonly #range: Cidr;
  readonly #former: readonly Cidr[];
  readonly #byOwner = new Map<string, number>();
  readonly #byAddress = new Map<number, string>();
  /** Addresses of `range` that are taken. */
  #used = 0;

  /** @param former ranges in which services may still have addresses, though none are given out there */
  constructor(range: Cidr, former: readonly Cidr[] = []) {
    this.#range = range;
    this.#former = former;
  }

  addressOf(owner: string): string | undefined {
    const address = this.#byOwner.get(owner);
    return address === undefined ? undefined : formatIpv4(address);
  }

  /** Takes note of an address that a service has. Returns false when it cannot keep it. */
  adopt(owner: string, text: string): boolean {
    const address = tryParseIpv4(text);
    if (address === undefined) return false;
    const held = this.#byOwner.get(owner);
    if (held !== undefined) return held === address;
    const ours = this.#isUsable(address) || this.#former.some((r) => containsAddress(r, address));
    if (!ours || this.#byAddress.has(address)) return false;
    this.#take(owner, address);
    return true;
  }

  /** The address of a service, a new one if it has none. Undefined when all are taken. */
  assign(owner: string): string | undefined {
    const held = this.addressOf(owner);
    if (held !== undefined) return held;
    const size = capacity(this.#range);
    if (this.#used >= size) return undefined;
    const start = createHash('sha256').update(owner).digest().readUInt32BE(0) % size;
    for (let i = 0; i < size; i++) {
      const address = this.#range.base + 1 + ((start + i) % size);
      if (this.#byAddress.has(address)) continue;
      this.#take(owner, address);
      return formatIpv4(address);
    }
    return undefined;
  }

  /** The service is gone. Returns whether it had an address. */
  release(owner: string): boolean {
    const address = this.#byOwner.get(owner);
    if (address === undefined) return false;
    this.#byOwner.delete(owner);
    this.#byAddress.delete(address);
    if (this.#isUsable(address)) this.#used--;
    return true;
  }

  /** Former ranges that still hold an address of a service. */
  inUse(): readonly Cidr[] {
    const addresses = [...this.#byAddress.keys()];
    return this.#former.filter((range) => addresses.some((a) => containsAddress(range, a)));
  }

  #take(owner: string, address: number): void {
    this.#byOwner.set(owner, address);
    this.#byAddress.set(address, owner);
    if (this.#isUsable(address)) this.#used++;
  }

  #isUsable(address: number): boolean {
    const { base } = this.#range;
    return address > base && address <= base + capacity(this.#range);
  }
}
