/**
 * The host's subnet in the store, in flannel's format.
 *
 * The record rides on a store lease of 24 hours (flannel's figure), apart from the agent's short one: a host that
 * reboots, or whose agent is down for a night, finds its subnet again, and with it its containers' addresses. The lease is
 * never released on a stop. A new agent finds the record by its address and moves it to a lease of its own. A record
 * without any lease is a reservation, as in flannel, and stays without one.
 */
import { chooseSubnet, isCompatible, type HeldSubnet } from '../../network/overlay/ipam.ts';
import { formatCidr, parseCidr, type Cidr } from '../../network/address/cidr.ts';
import type { OverlayConfig } from '../../network/overlay/overlay-config.ts';
import { normalizeMac, randomMac } from '../../network/overlay/vxlan.ts';
import {
  flannelDualStackSubnet,
  subnetRecords,
  type SubnetLease,
} from '../../registry/records/subnet.ts';
import type { Entry, Lease, Store } from '../../registry/store.ts';
import type { Logger } from '../../telemetry/log.ts';

/** flannel's lifetime of a subnet lease. Source: pkg/subnet/etcd/local_manager.go, subnetTTL. */
const subnetTtlMs = 24 * 60 * 60 * 1000;

/** How often a lost race for a subnet is tried again. flannel's figure (raceRetries). */
const attempts = 10;

/** Every subnet is taken, or every race for one was lost. */
export class NoSubnetError extends Error {
  override readonly name = 'NoSubnetError';
  readonly retryable = true;
}

/** Another host holds the subnet that this host's containers use. */
export class SubnetTakenError extends Error {
  override readonly name = 'SubnetTakenError';
  readonly retryable = true;
}

export interface SubnetHolderOptions {
  readonly store: Store;
  readonly log: Logger;
  /** Numbers in [0, 1). */
  readonly random: () => number;
  /** Lifetime of the record after the agent's last sign of life. Default 24 h. */
  readonly ttlMs?: number;
}

/** What the record says and what the host should look like accordingly. */
export interface HeldLease {
  readonly subnet: Cidr;
  readonly mac: string;
}

/** Takes and keeps this host's subnet record. Not for concurrent use: callers wait for one call before the next. */
export class SubnetHolder {
  readonly #store: Store;
  readonly #log: Logger;
  readonly #random: () => number;
  readonly #ttlMs: number;
  #lease: Lease | undefined;
  #reserved = false;

  constructor(options: SubnetHolderOptions) {
    this.#store = options.store;
    this.#log = options.log;
    this.#random = options.random;
    this.#ttlMs = options.ttlMs ?? subnetTtlMs;
  }

  /** Aborts when the lease under the record can no longer be proved alive: call `acquire` again, with `pinned`. */
  get lost(): AbortSignal | undefined {
    return this.#lease?.lost;
  }

  /**
   * Takes the subnet by flannel's ladder (see `chooseSubnet`), or confirms the one held. `mac`: the VXLAN device's, when there
   * is a device; else the record's former MAC is kept, so other hosts need not change anything. `pinned`: only
   * `previous` will do, for containers use it; SubnetTakenError when another host has it. Throws NoSubnetError, or
   * the store's errors.
   */
  async acquire(
    request: {
      readonly config: OverlayConfig;
      readonly address: string;
      readonly previous: Cidr | undefined;
      readonly pinned?: boolean;
      readonly mac: string | undefined;
      /** WireGuard's, of a host that encrypts. */
      readonly publicKey?: string | undefined;
    },
    signal?: AbortSignal,
  ): Promise<HeldLease> {
    for (let attempt = 1; attempt <= attempts; attempt++) {
      const result = await this.#attempt(request, signal);
      if (result !== undefined) return result;
      this.#log.debug({ attempt }, 'another host was quicker; choosing a subnet again');
    }
    throw new NoSubnetError(`no subnet after ${attempts} lost races with other hosts`);
  }

  /** Whether the record, as last seen here, lasts: its lease is proved alive, or it needs none. */
  get secure(): boolean {
    return this.#reserved || this.#lease?.lost.aborted === false;
  }

  /** Lets the record live out its lifetime without renewing it. */
  abandon(): void {
    this.#lease?.abandon();
    this.#lease = undefined;
    this.#reserved = false;
  }

  async #attempt(
    request: Parameters<SubnetHolder['acquire']>[0],
    signal?: AbortSignal,
  ): Promise<HeldLease | undefined> {
    const { config, address, previous } = request;
    const tied =
      request.pinned === true && previous !== undefined ? formatCidr(previous) : undefined;
    const { entries } = await this.#store.list(subnetRecords.prefix, {}, signal);
    const held: (HeldSubnet & {
      readonly entry: Entry;
      readonly lease: SubnetLease | undefined;
    })[] = entries.flatMap((entry) => {
      const subnet = cidrOf(entry.key);
      if (subnet === undefined) {
        // It is none that nap can use, but its containers are there.
        const occupied = occupiedBy(entry.key);
        return occupied === undefined
          ? []
          : [{ subnet: occupied, address: '', entry, lease: undefined }];
      }
      const lease = decoded(entry);
      // What cannot be read still occupies its subnet; if it is the one that this host has, it is this host's, spoilt.
      const mine = previous !== undefined && formatCidr(subnet) === formatCidr(previous);
      return [{ subnet, address: lease?.PublicIP ?? (mine ? address : ''), entry, lease }];
    });
    const choice = chooseSubnet(
      config,
      // A host that is tied to a subnet gives up other records of its own, rather than change.
      tied === undefined
        ? held
        : held.filter((h) => h.address !== address || formatCidr(h.subnet) === tied),
      address,
      previous !== undefined && isCompatible(config, previous) ? previous : undefined,
      this.#random,
    );
    if (choice.type === 'exhausted') {
      throw new NoSubnetError(
        `all ${choice.total} subnets of ${formatCidr(config.network)} are taken by other hosts`,
      );
    }
    const subnet = formatCidr(choice.subnet);
    if (tied !== undefined && subnet !== tied) {
      throw new SubnetTakenError(`another host holds ${tied}, which this host's containers use`);
    }
    const own =
      choice.type === 'reuse'
        ? held.find((h) => h.address === address && formatCidr(h.subnet) === subnet)
        : undefined;
    const mac =
      request.mac ??
      normalizeMac(own?.lease?.BackendData?.VtepMAC ?? '') ??
      randomMac(this.#random);
    const value = subnetRecords.encode(leaseRecord(address, config.vni, mac, request.publicKey));
    const key = subnetRecords.path({ subnet });

    const reserved = own !== undefined && own.entry.lease === undefined;
    this.#reserved = reserved;
    const lease = reserved ? undefined : await this.#aliveLease(signal);
    const settled =
      own !== undefined && own.entry.value === value && (reserved || own.entry.lease === lease?.id);
    if (!settled) {
      const result = await this.#store.commit(
        [
          own === undefined
            ? { type: 'absent', key }
            : { type: 'unchanged', key, modRevision: own.entry.modRevision },
        ],
        [{ type: 'put', key, value, ...(lease === undefined ? {} : { lease: lease.id }) }],
        signal,
      );
      if (!result.committed) return undefined;
    }
    await this.#forget(choice.stale, held, signal);
    return { subnet: choice.subnet, mac };
  }

  /** Deletes records under our address that no longer fit the config, unless they are reservations. */
  async #forget(
    stale: readonly Cidr[],
    held: readonly (HeldSubnet & { readonly entry: Entry })[],
    signal?: AbortSignal,
  ): Promise<void> {
    for (const subnet of stale) {
      const entry = held.find((h) => formatCidr(h.subnet) === formatCidr(subnet))?.entry;
      if (entry?.lease === undefined) continue;
      const { key, modRevision } = entry;
      await this.#store.commit(
        [{ type: 'unchanged', key, modRevision }],
        [{ type: 'delete', key }],
        signal,
      );
    }
  }

  async #aliveLease(signal?: AbortSignal): Promise<Lease> {
    if (this.#lease !== undefined && !this.#lease.lost.aborted) return this.#lease;
    this.#lease = await this.#store.grantLease(this.#ttlMs, signal);
    return this.#lease;
  }
}

/** The record of a host, with the fields and the order that flanneld writes, and the key of a host that encrypts. */
export function leaseRecord(
  address: string,
  vni: number,
  mac: string,
  publicKey?: string,
): SubnetLease {
  return {
    PublicIP: address,
    PublicIPv6: null,
    BackendType: 'vxlan',
    BackendData: {
      VNI: vni,
      VtepMAC: mac,
      ...(publicKey === undefined ? {} : { WireGuardPublicKey: publicKey }),
    },
  };
}

/** The subnet that a record's key names; undefined when the key names none. */
export function cidrOf(key: string): Cidr | undefined {
  const parsed = subnetRecords.parsePath(key);
  if (parsed === undefined) return undefined;
  try {
    return parseCidr(parsed.subnet);
  } catch {
    return undefined;
  }
}

function occupiedBy(key: string): Cidr | undefined {
  const text = flannelDualStackSubnet(key);
  try {
    return text === undefined ? undefined : parseCidr(text);
  } catch {
    return undefined;
  }
}

function decoded(entry: Entry): SubnetLease | undefined {
  try {
    return subnetRecords.decode(entry.value);
  } catch {
    return undefined;
  }
}
