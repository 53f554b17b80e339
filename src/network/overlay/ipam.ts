import { blockOf, blockSize, overlaps, type Cidr } from '../address/cidr.ts';
import type { OverlayConfig } from './overlay-config.ts';

/** A subnet that some host holds. */
export interface HeldSubnet {
  readonly subnet: Cidr;
  /** The holder's address on the underlay, as text. */
  readonly address: string;
}

/** What a host that looks for a subnet should try. */
export type SubnetChoice =
  /** The record under this host's address is ours (from before a restart): take it over. */
  | { readonly type: 'reuse'; readonly subnet: Cidr; readonly stale: readonly Cidr[] }
  /** Free: create it. `previous` tells whether this host had it before. `stale` as above. */
  | {
      readonly type: 'create';
      readonly subnet: Cidr;
      readonly previous: boolean;
      readonly stale: readonly Cidr[];
    }
  | { readonly type: 'exhausted'; readonly total: number };

/** A random one of this many free subnets is taken, so that hosts that start together seldom collide. flannel's figure. */
const candidates = 100;

/** Whether `subnet` is one that hosts of this overlay may hold. */
export function isCompatible(config: OverlayConfig, subnet: Cidr): boolean {
  return (
    subnet.prefix === config.subnetLength &&
    subnet.base >= config.subnetMin &&
    subnet.base <= config.subnetMax
  );
}

/**
 * flannel's ladder: the subnet recorded under this host's address; else the one it had before (known from its own
 * device); else a random one of the first hundred that are free. `stale` lists records under this host's address
 * that no longer fit the config and may be deleted. `random` gives numbers in [0, 1).
 * Source: flannel-io/flannel pkg/subnet/etcd/local_manager.go, tryAcquireLease and allocateSubnet.
 */
export function chooseSubnet(
  config: OverlayConfig,
  held: readonly HeldSubnet[],
  address: string,
  previous: Cidr | undefined,
  random: () => number,
): SubnetChoice {
  const mine = held.filter((entry) => entry.address === address).map((entry) => entry.subnet);
  const reusable = mine
    .filter((subnet) => isCompatible(config, subnet))
    // Several only after a mishap; the one that the device already has disturbs nothing.
    .sort((a, b) => Number(same(b, previous)) - Number(same(a, previous)) || a.base - b.base)[0];
  const stale = mine.filter((subnet) => subnet !== reusable);
  if (reusable !== undefined) return { type: 'reuse', subnet: reusable, stale };

  const taken = held
    .filter((entry) => entry.address !== address)
    .map((entry) => entry.subnet)
    .sort((a, b) => a.base - b.base);
  if (
    previous !== undefined &&
    isCompatible(config, previous) &&
    !taken.some((subnet) => overlaps(subnet, previous))
  ) {
    return { type: 'create', subnet: previous, previous: true, stale };
  }
  const free = freeSubnets(config, taken, candidates);
  const subnet = free[Math.min(free.length - 1, Math.floor(random() * free.length))];
  if (subnet === undefined) {
    const size = blockSize(config.subnetLength);
    return { type: 'exhausted', total: (config.subnetMax - config.subnetMin) / size + 1 };
  }
  return { type: 'create', subnet, previous: false, stale };
}

/** The first `limit` subnets of the overlay that overlap none of `taken`, in ascending order. */
export function freeSubnets(
  config: OverlayConfig,
  taken: readonly Cidr[],
  limit: number,
): readonly Cidr[] {
  const size = blockSize(config.subnetLength);
  const blocked = new Set<number>();
  for (const subnet of taken) {
    // A record may be longer or shorter than our subnets (another config, written by hand).
    const first = Math.max(blockOf(subnet.base, config.subnetLength).base, config.subnetMin);
    const end = Math.min(subnet.base + blockSize(subnet.prefix), config.subnetMax + size);
    for (let base = first; base < end; base += size) blocked.add(base);
  }
  const free: Cidr[] = [];
  for (let base = config.subnetMin; base <= config.subnetMax && free.length < limit; base += size) {
    if (!blocked.has(base)) free.push({ base, prefix: config.subnetLength });
  }
  return free;
}

function same(a: Cidr, b: Cidr | undefined): boolean {
  return b !== undefined && a.base === b.base && a.prefix === b.prefix;
}
