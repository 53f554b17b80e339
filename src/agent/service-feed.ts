import { tryParseIpv4 } from '../network/address/cidr.ts';
import { tryParseIpv6 } from '../network/address/dual-stack.ts';
import type { CacheChange } from '../registry/record-cache.ts';
import { RecordWatch } from '../registry/record-watch.ts';
import {
  endpointRecord,
  endpointRecords,
  serviceRecords,
  type EndpointRecord,
  type RecordKind,
  type ServiceRecord,
} from '../registry/records/index.ts';
import type { RecordSource } from '../registry/record-watch.ts';
import type { Revision } from '../registry/store.ts';
import type { Clock } from '../runtime/clock.ts';
import { DataPlane } from './data-plane.ts';
import { isAborted } from '../runtime/aborted.ts';
import { linkSignals } from '../runtime/linked-signal.ts';
import { supervise } from '../runtime/supervise.ts';
import type { Logger } from '../telemetry/log.ts';

/** Names of a service, as in the paths of its records. */
export interface ServiceKey {
  readonly namespace: string;
  readonly project: string;
  readonly service: string;
}

/** Hears of services and endpoints. Must not throw. */
export interface ServiceSink {
  /** @param record undefined: it is gone */
  service(key: ServiceKey, record: ServiceRecord | undefined): void;
  /** @param record undefined: it does not serve any more */
  endpoint(key: ServiceKey, seat: string, record: EndpointRecord | undefined): void;
  /** What was told since the last call belongs together. */
  settled(): void;
}

/** An endpoint record whose address somebody could not be sent to is not one. */
const checkedEndpoints: RecordKind<ServiceKey & { readonly ordinal: string }, EndpointRecord> = {
  ...endpointRecords,
  decode: (text) => {
    const record = endpointRecords.decode(text);
    return endpointRecord
      .refine(({ ipv4_addr: address }) => tryParseIpv4(address) !== undefined, {
        message: `the address "${record.ipv4_addr}" is not an IPv4 address`,
        path: ['ipv4_addr'],
      })
      .refine(({ ipv6_addr: address = '::' }) => tryParseIpv6(address) !== undefined, {
        message: `the address "${String(record.ipv6_addr)}" is not an IPv6 address`,
        path: ['ipv6_addr'],
      })
      .parse(record);
  },
};

/**
 * All services of the cluster and their ready endpoints, as far as this host knows: read once for all that an agent makes
 * of them. While the store is away, the last known state stands; a record that cannot be read counts as it was before.
 */
export class ServiceFeed {
  /** How far this host is with what it makes of them. */
  readonly dataPlane = new DataPlane(this);
  readonly #services: RecordWatch<ServiceKey, ServiceRecord>;
  readonly #endpoints: RecordWatch<ServiceKey & { readonly ordinal: string }, EndpointRecord>;
  readonly #sinks = new Set<ServiceSink>();
  readonly #log: Logger;
  readonly #clock: Clock;
  #again = new AbortController();

  constructor(options: {
    readonly store: RecordSource;
    readonly log: Logger;
    readonly clock: Clock;
  }) {
    const { store, log, clock } = options;
    this.#log = log;
    this.#clock = clock;
    this.#services = new RecordWatch(store, serviceRecords, {
      clock,
      log,
      onChange: (change) => {
        this.#servicesChanged(change);
      },
    });
    this.#endpoints = new RecordWatch(store, checkedEndpoints, {
      clock,
      log,
      onChange: (change) => {
        this.#endpointsChanged(change);
      },
    });
  }

  /** Whether everything has been read once. Before that, nothing can be said not to exist. */
  get synced(): boolean {
    return this.#services.synced && this.#endpoints.synced;
  }

  /** Every change of endpoints up to here has been told. */
  get revision(): Revision {
    return this.#endpoints.revision;
  }

  /** What is known of a service; undefined: there is none, if `synced`. */
  find(key: ServiceKey): ServiceRecord | undefined {
    return this.#services.get(key)?.value;
  }

  /** Whether everything that is there could be read. */
  get complete(): boolean {
    return this.#services.broken.size === 0 && this.#endpoints.broken.size === 0;
  }

  /** Records that cannot be read: path → why. */
  problems(): ReadonlyMap<string, string> {
    const broken = [...this.#services.broken.values(), ...this.#endpoints.broken.values()];
    return new Map(broken.map(({ path, problem }) => [path, problem] as const));
  }

  /** Tells `sink` all that is known, and from then on what changes. The returned function ends it. */
  subscribe(sink: ServiceSink): () => void {
    for (const { key, value } of this.#services.records.values()) sink.service(key, value);
    for (const { key, value } of this.#endpoints.records.values()) {
      sink.endpoint(key, key.ordinal, value);
    }
    if (this.synced) sink.settled();
    this.#sinks.add(sink);
    return () => this.#sinks.delete(sink);
  }

  /** Follows the records until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const restart = { baseMs: 200, capMs: 5_000 };
    while (!isAborted(signal)) {
      this.#again = new AbortController();
      const either = linkSignals(signal, this.#again.signal);
      await supervise(
        [
          { name: 'services', run: (stop) => this.#services.run(stop), restart },
          { name: 'endpoints', run: (stop) => this.#endpoints.run(stop), restart },
        ],
        { log: this.#log, clock: this.#clock },
        either.signal,
      ).finally(either.unlink);
    }
  }

  /** Reads all records anew, and follows them by new watches. Until then the last known state stands. */
  reread(): void {
    this.#again.abort();
  }

  #servicesChanged({ changed }: CacheChange): void {
    for (const path of changed) {
      const key = serviceRecords.parsePath(path);
      if (key === undefined) continue;
      const record = this.#services.records.get(path)?.value;
      for (const sink of this.#sinks) sink.service(key, record);
    }
    this.#settled();
  }

  #endpointsChanged({ changed }: CacheChange): void {
    for (const path of changed) {
      const key = endpointRecords.parsePath(path);
      if (key === undefined) continue;
      const record = this.#endpoints.records.get(path)?.value;
      for (const sink of this.#sinks) sink.endpoint(key, key.ordinal, record);
    }
    this.#settled();
  }

  #settled(): void {
    for (const sink of this.#sinks) sink.settled();
    this.dataPlane.changed();
  }
}
