import type { ServiceIdentity } from '../../api/v1alpha1/names.ts';
import { containsAddress, parseCidr, tryParseIpv4 } from '../../network/address/cidr.ts';
import type { CacheChange } from '../../registry/record-cache.ts';
import { RecordWatch, type RecordSource } from '../../registry/record-watch.ts';
import { addressRecords, type AddressRecord } from '../../registry/records/index.ts';
import type { Revision } from '../../registry/store.ts';
import type { Clock } from '../../runtime/clock.ts';
import { supervise } from '../../runtime/supervise.ts';
import type { Logger } from '../../telemetry/log.ts';

/** Hears whose addresses are. Must not throw. */
export interface AddressSink {
  /** @param owner undefined: it is nobody's any more */
  address(address: string, owner: ServiceIdentity | undefined): void;
  /** What was told since the last call belongs together. */
  settled(): void;
}

/** A record as it stands. */
interface Standing {
  readonly owner: ServiceIdentity;
  readonly modRevision: Revision;
}

/**
 * Whose the addresses of the whole overlay are, as far as this host knows. While the store is away, the last known state
 * stands; a record that cannot be read counts as it was before. A record for an address that does not lie in its subnet is none.
 */
export class AddressFeed {
  readonly #watch;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #sinks = new Set<AddressSink>();
  /** Address → paths of its records. There is one, except when the size of subnets has been changed. */
  readonly #byAddress = new Map<string, Set<string>>();
  readonly #bySubnet = new Map<string, Set<string>>();

  constructor(options: {
    readonly store: RecordSource;
    readonly log: Logger;
    readonly clock: Clock;
  }) {
    const { store, log, clock } = options;
    this.#log = log;
    this.#clock = clock;
    this.#watch = new RecordWatch(store, addressRecords, {
      clock,
      log,
      onChange: (change) => {
        this.#changed(change);
      },
    });
  }

  /** Whether everything has been read once. Before that, nobody can be said to have no address. */
  get synced(): boolean {
    return this.#watch.synced;
  }

  /** Whether everything that is there could be read. */
  get complete(): boolean {
    return this.#watch.broken.size === 0;
  }

  /** Every change up to here has been told. */
  get revision(): Revision {
    return this.#watch.revision;
  }

  /** Paths of the records of a subnet (CIDR), readable or not. */
  of(subnet: string): Iterable<string> {
    return this.#bySubnet.get(subnet) ?? [];
  }

  /** What stands at a path; undefined: nothing that could be read. */
  at(path: string): AddressRecord | undefined {
    return this.#watch.records.get(path)?.value;
  }

  /** Tells `sink` all that is known, and from then on what changes. The returned function ends it. */
  subscribe(sink: AddressSink): () => void {
    for (const address of this.#byAddress.keys()) sink.address(address, this.#ownerOf(address));
    if (this.synced) sink.settled();
    this.#sinks.add(sink);
    return () => this.#sinks.delete(sink);
  }

  /** Follows the records until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const restart = { baseMs: 200, capMs: 5_000 };
    await supervise(
      [{ name: 'addresses', run: (stop) => this.#watch.run(stop), restart }],
      { log: this.#log, clock: this.#clock },
      signal,
    );
  }

  #changed({ changed }: CacheChange): void {
    for (const path of changed) {
      const key = addressRecords.parsePath(path);
      if (key === undefined) continue;
      const isThere = this.#watch.records.has(path) || this.#watch.broken.has(path);
      note(this.#bySubnet, key.subnet, path, isThere);
      if (!liesIn(key)) continue;
      note(this.#byAddress, key.address, path, this.#watch.records.has(path));
      const owner = this.#ownerOf(key.address);
      for (const sink of this.#sinks) sink.address(key.address, owner);
    }
    for (const sink of this.#sinks) sink.settled();
  }

  /** The latest word counts. */
  #ownerOf(address: string): ServiceIdentity | undefined {
    let latest: Standing | undefined;
    for (const path of this.#byAddress.get(address) ?? []) {
      const record = this.#watch.records.get(path);
      if (record === undefined) continue;
      if (latest === undefined || record.modRevision > latest.modRevision) {
        const { namespace, project, service } = record.value;
        latest = { owner: { namespace, project, service }, modRevision: record.modRevision };
      }
    }
    return latest?.owner;
  }
}

function note(index: Map<string, Set<string>>, key: string, path: string, isThere: boolean): void {
  const paths = index.get(key);
  if (isThere) index.set(key, (paths ?? new Set()).add(path));
  else if (paths?.delete(path) === true && paths.size === 0) index.delete(key);
}

function liesIn(key: { readonly subnet: string; readonly address: string }): boolean {
  const address = tryParseIpv4(key.address);
  try {
    return address !== undefined && containsAddress(parseCidr(key.subnet), address);
  } catch {
    return false;
  }
}
