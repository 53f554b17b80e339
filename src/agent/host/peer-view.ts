import { formatCidr, type Cidr } from '../../network/address/cidr.ts';
import { peerFromLease, type Peer } from '../../network/overlay/vxlan.ts';
import {
  flannelDualStackSubnet,
  subnetRecords,
  type SubnetLease,
} from '../../registry/records/subnet.ts';
import type { Entry, WatchBatch } from '../../registry/store.ts';
import { cidrOf } from './subnet-lease.ts';

/** This host, as its own record should tell of it. */
export interface Self {
  readonly subnet: Cidr;
  readonly address: string;
  readonly mac: string;
  /** WireGuard's, if this host encrypts. */
  readonly publicKey?: string | undefined;
}

/** How the store sees this host's own record. */
export type OwnRecord = 'ours' | 'missing' | 'taken' | 'altered';

/**
 * The other hosts of the overlay, as the subnet records tell. A record that cannot be read leaves the host as it was
 * known before: a slip in one record must not cut a running host off.
 */
export class PeerView {
  readonly #self: Self;
  readonly #vni: number;
  /** By subnet in CIDR form. */
  #peers = new Map<string, Peer>();
  #problems = new Map<string, string>();
  #unreadable = new Map<string, Cidr>();
  #own: OwnRecord = 'missing';
  #synced = false;

  constructor(self: Self, vni: number) {
    this.#self = self;
    this.#vni = vni;
  }

  /** Whether a snapshot has been seen: before that, nothing may be removed from the kernel. */
  get synced(): boolean {
    return this.#synced;
  }

  get own(): OwnRecord {
    return this.#own;
  }

  peers(): Iterable<Peer> {
    return this.#peers.values();
  }

  /** Subnets whose holder is not known, because the record cannot be read and never could since this agent's start. */
  unreadable(): Iterable<Cidr> {
    return this.#unreadable.values();
  }

  /** What is wrong with records of others, by subnet. */
  problems(): ReadonlyMap<string, string> {
    return this.#problems;
  }

  apply(batch: WatchBatch): void {
    if (batch.type === 'progress') return;
    if (batch.type === 'snapshot') {
      const before = this.#peers;
      this.#peers = new Map();
      this.#problems = new Map();
      this.#unreadable = new Map();
      this.#own = 'missing';
      this.#synced = true;
      for (const entry of batch.entries) this.#put(entry, before);
      return;
    }
    for (const event of batch.events) {
      if (event.type === 'put') this.#put(event.entry, this.#peers);
      else this.#delete(event.key);
    }
  }

  #put(entry: Entry, before: ReadonlyMap<string, Peer>): void {
    const subnet = cidrOf(entry.key);
    if (subnet === undefined) {
      const what =
        flannelDualStackSubnet(entry.key) === undefined
          ? 'names no IPv4 subnet'
          : 'is of a flanneld with IPv6, whose host is not reached: nap and flanneld share an overlay of IPv4 only';
      this.#problems.set(entry.key, `the key ${entry.key} ${what}`);
      return;
    }
    const id = formatCidr(subnet);
    let lease: SubnetLease | undefined;
    let peer: ReturnType<typeof peerFromLease>;
    try {
      lease = subnetRecords.decode(entry.value);
      peer = peerFromLease(subnet, lease, this.#vni, this.#self.publicKey !== undefined);
    } catch (error) {
      peer = { reason: (error as Error).message };
    }
    if (id === formatCidr(this.#self.subnet)) {
      this.#own =
        'reason' in peer
          ? 'altered'
          : peer.address !== this.#self.address
            ? 'taken'
            : peer.mac === this.#self.mac && peer.publicKey === this.#self.publicKey
              ? 'ours'
              : 'altered';
      return;
    }
    if ('reason' in peer) {
      this.#problems.set(id, `record of subnet ${id} is not usable: ${peer.reason}`);
      const known = before.get(id);
      if (known !== undefined) this.#peers.set(id, known);
      else this.#unreadable.set(id, subnet);
      return;
    }
    this.#problems.delete(id);
    this.#unreadable.delete(id);
    // A left-over record of this very host (it had another subnet before) is no peer.
    if (peer.address === this.#self.address && peer.mac === this.#self.mac) {
      this.#peers.delete(id);
      return;
    }
    this.#peers.set(id, peer);
  }

  #delete(key: string): void {
    const subnet = cidrOf(key);
    if (subnet === undefined) {
      this.#problems.delete(key);
      return;
    }
    const id = formatCidr(subnet);
    this.#problems.delete(id);
    this.#unreadable.delete(id);
    this.#peers.delete(id);
    if (id === formatCidr(this.#self.subnet)) this.#own = 'missing';
  }
}
