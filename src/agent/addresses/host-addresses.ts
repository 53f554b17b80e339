import { parseCidr, parseIpv4 } from '../../network/address/cidr.ts';
import { ipv6Of, type Ipv6Prefix } from '../../network/address/dual-stack.ts';
import { prefixOfSubnet } from '../../network/address/twins.ts';
import type { Store } from '../../registry/store.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { Task } from '../../runtime/supervise.ts';
import type { Logger } from '../../telemetry/log.ts';
import type { AddressBook } from './address-book.ts';
import type { AddressFeed } from './address-feed.ts';
import type { AddressPool } from './address-pool.ts';
import { AddressWriter } from './address-writer.ts';
import type { ObservedState } from '../observed.ts';
import type { LocalNetwork } from '../options.ts';

export interface HostAddressesDeps {
  readonly host: string;
  readonly book: AddressBook;
  readonly feed: AddressFeed;
  readonly store: Store;
  /** Whether this host's lease is proved alive. */
  readonly licensed: () => boolean;
  readonly clock: Clock;
  readonly log: Logger;
}

/** The addresses of this host's containers: gives them out, follows them, and has the registry say whose they are. */
export class HostAddresses {
  readonly pool: AddressPool;
  readonly #book: AddressBook;
  readonly #feed: AddressFeed;
  readonly #writer: AddressWriter;
  #ipv6: Ipv6Prefix | undefined;

  constructor(deps: HostAddressesDeps) {
    const { book, feed } = deps;
    this.#book = book;
    this.#feed = feed;
    this.#writer = new AddressWriter(deps);
    this.pool = {
      reserve: (owner) => book.reserve(owner),
      release: (address) => {
        book.release(address);
      },
      refuse: (address) => {
        book.refuse(address);
      },
      ipv6Of: (address) => this.#ipv6 && ipv6Of(this.#ipv6, parseIpv4(address)),
      told: (address, atMostMs) => this.#writer.told(address, atMostMs),
    };
  }

  /** Something about the containers of an instance has changed. */
  note(instance: string, observed: ObservedState): void {
    this.#book.update(instance, [...observed.of(instance), ...observed.hooksOf(instance)]);
  }

  /** All containers of this host have been noted. */
  complete(): void {
    this.#book.complete();
  }

  /** @param local where this host's containers are; undefined: not proved (yet), and what was known stands */
  place(local: Pick<LocalNetwork, 'subnet' | 'ipv6Subnet'> | undefined): void {
    if (local === undefined) return;
    this.#book.subnet = parseCidr(local.subnet);
    this.#ipv6 = local.ipv6Subnet === undefined ? undefined : prefixOfSubnet(local.ipv6Subnet);
  }

  /** Says that `licensed()` may have changed. */
  licensed(): void {
    this.#writer.changed();
  }

  tasks(): Task[] {
    const restart = { baseMs: 200, capMs: 5000 };
    return [
      { name: 'addresses', run: (signal) => this.#feed.run(signal), restart },
      { name: 'records of addresses', run: (signal) => this.#writer.run(signal), restart },
    ];
  }
}
