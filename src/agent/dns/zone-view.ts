import { formatIpv6, tryParseIpv6 } from '../../network/address/dual-stack.ts';
import { Zone, type ZoneEndpoint } from '../../network/names/zone.ts';
import type { EndpointRecord } from '../../registry/records/index.ts';
import type { ServiceFeed } from '../service-feed.ts';

/** What names mean by an endpoint. */
export function zoneEndpoint(record: EndpointRecord): ZoneEndpoint {
  const { ipv4_addr: address, ipv6_addr: ipv6 = '', ports } = record;
  const long = tryParseIpv6(ipv6);
  return { address, ...(long !== undefined && { ipv6: formatIpv6(long) }), ports };
}

/**
 * The cluster's names as this host knows them. While the store is away, the last known state stands. A record that cannot
 * be read leaves its name as it was before.
 */
export class ZoneView {
  readonly zone = new Zone();
  readonly #feed: ServiceFeed;
  #serial = 1;

  constructor(feed: ServiceFeed) {
    this.#feed = feed;
    feed.subscribe({
      service: (name, record) => {
        if (record === undefined) this.zone.deleteService(name);
        else this.zone.setService(name, record);
      },
      endpoint: (name, seat, record) => {
        if (record === undefined) this.zone.deleteEndpoint(name, seat);
        else this.zone.setEndpoint(name, seat, zoneEndpoint(record));
      },
      settled: () => {
        this.#serial = (this.#serial + 1) >>> 0;
      },
    });
  }

  /** Whether all records have been read once. Before that, "no such name" would be a lie. */
  get synced(): boolean {
    return this.#feed.synced;
  }

  /** Grows with every change. */
  get serial(): number {
    return this.#serial;
  }

  /** Records that cannot be read, by key. */
  problems(): ReadonlyMap<string, string> {
    return this.#feed.problems();
  }
}
