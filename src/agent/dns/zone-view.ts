import { Zone, type ServiceName } from '../../network/zone.ts';
import { tryParseIpv4 } from '../../network/cidr.ts';
import { endpointRecords } from '../../registry/records/endpoint.ts';
import { RecordError, type RecordKind } from '../../registry/records/record-kind.ts';
import { serviceRecords } from '../../registry/records/service.ts';
import type { Entry, Store } from '../../registry/store.ts';
import type { Clock } from '../../runtime/clock.ts';
import { asError } from '../../runtime/errors.ts';
import { supervise } from '../../runtime/supervise.ts';
import type { Logger } from '../../telemetry/log.ts';

export interface ZoneViewOptions {
  readonly store: Store;
  readonly log: Logger;
  /** Default: the machine's clock. */
  readonly clock?: Clock;
}

/** Feeds one family of records into the zone. */
interface Feed {
  readonly prefix: string;
  /** Keys of the records that were there at last. */
  readonly known: Set<string>;
  /** Throws RecordError when the record cannot be read; then what was known stays. */
  put(entry: Entry): void;
  delete(key: string): void;
}

/**
 * The cluster's names as this host knows them, fed by watches of service and endpoint records. While the store is away,
 * the last known state stands. A record that cannot be read leaves its name as it was before.
 */
export class ZoneView {
  readonly zone = new Zone();
  readonly #options: ZoneViewOptions;
  readonly #log: Logger;
  readonly #feeds: readonly Feed[];
  /** Prefixes that have not been read yet. */
  readonly #pending: Set<string>;
  readonly #problems = new Map<string, string>();
  #serial = 1;

  constructor(options: ZoneViewOptions) {
    this.#options = options;
    this.#log = options.log.child({ component: 'dns' });
    this.#feeds = feedsOf(this.zone);
    this.#pending = new Set(this.#feeds.map((feed) => feed.prefix));
  }

  /** Whether all records have been read once. Before that, "no such name" would be a lie. */
  get synced(): boolean {
    return this.#pending.size === 0;
  }

  /** Grows with every change. */
  get serial(): number {
    return this.#serial;
  }

  /** Records that cannot be read, by key. */
  problems(): ReadonlyMap<string, string> {
    return this.#problems;
  }

  /** Follows the records until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    await supervise(
      this.#feeds.map((feed) => ({
        name: `names from ${feed.prefix}`,
        run: (stop: AbortSignal) => this.#follow(feed, stop),
        restart: { baseMs: 200, capMs: 5_000 },
      })),
      { log: this.#log, ...(clock === undefined ? {} : { clock }) },
      signal,
    );
  }

  async #follow(feed: Feed, signal: AbortSignal): Promise<void> {
    const { known } = feed;
    for await (const batch of this.#options.store.watch(feed.prefix, {}, signal)) {
      if (batch.type === 'progress') continue;
      this.#serial = (this.#serial + 1) >>> 0;
      if (batch.type === 'snapshot') {
        const present = new Set(batch.entries.map((entry) => entry.key));
        for (const key of [...known].filter((k) => !present.has(k))) this.#delete(feed, key);
        for (const entry of batch.entries) this.#put(feed, entry);
        this.#pending.delete(feed.prefix);
        continue;
      }
      for (const event of batch.events) {
        if (event.type === 'put') this.#put(feed, event.entry);
        else this.#delete(feed, event.key);
      }
    }
  }

  #put(feed: Feed, entry: Entry): void {
    try {
      feed.known.add(entry.key);
      feed.put(entry);
      this.#problems.delete(entry.key);
    } catch (error) {
      const message = asError(error).message;
      if (this.#problems.get(entry.key) === message) return;
      this.#problems.set(entry.key, message);
      this.#log.warn(
        { key: entry.key, reason: message },
        'record not used; its name stays as it was',
      );
    }
  }

  #delete(feed: Feed, key: string): void {
    feed.known.delete(key);
    this.#problems.delete(key);
    feed.delete(key);
  }
}

/** What each family of records says to the zone. */
function feedsOf(zone: Zone): readonly Feed[] {
  const keyOf = <K, V>(kind: RecordKind<K, V>, path: string): K => {
    const key = kind.parsePath(path);
    if (key === undefined)
      throw new RecordError(`${path} is not the path of a ${kind.name} record`);
    return key;
  };
  const services: Feed = {
    prefix: serviceRecords.prefix,
    known: new Set(),
    put: ({ key, value }) => {
      zone.setService(keyOf(serviceRecords, key), serviceRecords.decode(value));
    },
    delete: (key) => {
      const name: ServiceName | undefined = serviceRecords.parsePath(key);
      if (name !== undefined) zone.deleteService(name);
    },
  };
  const endpoints: Feed = {
    prefix: endpointRecords.prefix,
    known: new Set(),
    put: ({ key, value }) => {
      const name = keyOf(endpointRecords, key);
      const { ipv4_addr: address, ports } = endpointRecords.decode(value);
      if (tryParseIpv4(address) === undefined) {
        throw new RecordError(`endpoint record's address "${address}" is not an IPv4 address`);
      }
      zone.setEndpoint(name, name.ordinal, { address, ports });
    },
    delete: (key) => {
      const name = endpointRecords.parsePath(key);
      if (name !== undefined) zone.deleteEndpoint(name, name.ordinal);
    },
  };
  return [services, endpoints];
}
