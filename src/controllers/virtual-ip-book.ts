import { formatCidr, parseCidr, type Cidr } from '../network/address/cidr.ts';
import {
  defaultNetworkConfig,
  overlayConfig,
  type OverlayConfig,
} from '../network/overlay/overlay-config.ts';
import { VirtualIpPool } from '../network/virtual-ip/virtual-ip-pool.ts';
import { assertApart, VirtualRangeError } from '../network/virtual-ip/virtual-range.ts';
import { decide } from '../registry/decide.ts';
import {
  networkConfigPath,
  networkConfigRecords,
  virtualRangePath,
  virtualRangeRecords,
  type ServiceRecord,
} from '../registry/records/index.ts';
import type { Revision, Store } from '../registry/store.ts';
import type { Logger } from '../telemetry/log.ts';

/** Why a service has no virtual IP, for a condition. */
export interface AddressProblem {
  readonly reason: 'VirtualIPsExhausted' | 'VirtualRangeUnusable';
  readonly message: string;
}

/**
 * The virtual IPs of all services, for one term of the leading operator. Built from the records, which outlive operators; the only
 * one that gives addresses out, since only one can write under the term's epoch.
 */
export class VirtualIpBook {
  readonly #range: Cidr;
  #pool: VirtualIpPool;
  #problem: AddressProblem | undefined;
  /** Services that wait for an address. */
  readonly #waiting = new Set<string>();

  constructor(range: Cidr) {
    this.#range = range;
    this.#pool = new VirtualIpPool(range);
  }

  /**
   * Learns which addresses there are, before the first is given out, and tells the hosts of the ranges. Throws as `decide` and
   * `Store.get` do.
   */
  async begin(
    store: Store,
    epoch: Revision,
    records: Iterable<{ readonly path: string; readonly value: ServiceRecord }>,
    log: Logger,
    signal: AbortSignal,
  ): Promise<void> {
    const former = await formerRanges(store, this.#range, signal);
    this.#pool = new VirtualIpPool(this.#range, former);
    // In the order of paths, so that of two which claim one address it is always the same that keeps it.
    const sorted = [...records].sort((a, b) => (a.path < b.path ? -1 : 1));
    for (const { path, value } of sorted) {
      if (value.virtualIP === undefined || this.#pool.adopt(path, value.virtualIP)) continue;
      log.warn({ path, virtualIP: value.virtualIP }, 'a service cannot keep its virtual IP');
    }
    try {
      assertApart(this.#range, (await overlayOf(store, signal)).network);
    } catch (error) {
      if (!(error instanceof VirtualRangeError)) throw error;
      this.#problem = { reason: 'VirtualRangeUnusable', message: error.message };
      log.error({ err: error }, 'no virtual IPs can be given out');
      return;
    }
    const ranges = [this.#range, ...this.#pool.inUse()].map(formatCidr);
    const value = virtualRangeRecords.encode({ ranges });
    const present = await store.get(virtualRangePath, signal);
    if (present?.value === value) return;
    await decide(store, epoch, [], [{ type: 'put', key: virtualRangePath, value }], signal);
  }

  /** The record of a service with the address that it has or is given now. */
  addressed(path: string, record: ServiceRecord): ServiceRecord {
    const virtualIP =
      this.#problem === undefined ? this.#pool.assign(path) : this.#pool.addressOf(path);
    if (virtualIP === undefined) {
      this.#waiting.add(path);
      return record;
    }
    this.#waiting.delete(path);
    return { ...record, virtualIP };
  }

  /** The service's record has no address any more. Returns the paths of services that wait for one. */
  released(path: string): readonly string[] {
    this.#waiting.delete(path);
    return this.#pool.release(path) ? [...this.#waiting] : [];
  }

  addressOf(path: string): string | undefined {
    return this.#pool.addressOf(path);
  }

  /** Why a service has none, though it should. */
  problemOf(path: string): AddressProblem | undefined {
    if (!this.#waiting.has(path)) return undefined;
    return (
      this.#problem ?? {
        reason: 'VirtualIPsExhausted',
        message:
          `all addresses of ${formatCidr(this.#range)} are taken, so its name means its instances: give the operator a ` +
          'larger --virtual-ip-range, or say endpointMode: dns where no virtual IP is needed',
      }
    );
  }
}

/** Throws VirtualRangeError when the range overlaps the overlay of this registry. */
export async function checkVirtualRange(
  store: Store,
  range: Cidr,
  signal?: AbortSignal,
): Promise<void> {
  assertApart(range, (await overlayOf(store, signal)).network);
}

/** The overlay as hosts have it, or will. */
async function overlayOf(store: Store, signal?: AbortSignal): Promise<OverlayConfig> {
  const entry = await store.get(networkConfigPath, signal);
  if (entry === undefined) return overlayConfig(defaultNetworkConfig);
  try {
    return overlayConfig(networkConfigRecords.decode(entry.value));
  } catch {
    // The agents say what is wrong with it; nothing runs on it.
    return overlayConfig(defaultNetworkConfig);
  }
}

async function formerRanges(
  store: Store,
  range: Cidr,
  signal: AbortSignal,
): Promise<readonly Cidr[]> {
  const entry = await store.get(virtualRangePath, signal);
  if (entry === undefined) return [];
  try {
    const { ranges } = virtualRangeRecords.decode(entry.value);
    return ranges.map(parseCidr).filter((each) => formatCidr(each) !== formatCidr(range));
  } catch {
    // Written by hand; it is written anew.
    return [];
  }
}
