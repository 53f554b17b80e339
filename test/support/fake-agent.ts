import {
  endpointRecords,
  hostRecords,
  instanceRecords,
  placementRecords,
  type HostRecord,
  type InstanceKey,
  type InstanceRecord,
  type PlacementRecord,
} from '../../src/registry/records/index.ts';
import { graceRecords } from '../../src/registry/records/host.ts';
import { isSecondSeat, plainOrdinal, seatKey } from '../../src/api/v1alpha1/seat.ts';
import type { Lease, Store } from '../../src/registry/store.ts';

type InstanceReport = Partial<InstanceRecord>;

export interface FakeAgentOptions {
  readonly metadata?: Readonly<Record<string, string>>;
  readonly cpuMillis?: number;
  readonly memoryBytes?: number;
  /** Key that deliveries are sealed for. Default: it takes none. */
  readonly sealingKey?: string;
  /** TTL of its lease. Default 5,000 ms. */
  readonly ttlMs?: number;
  /** Address in the overlay of its subnet's gateway is 10.77.<index>.1. */
  readonly index?: number;
  /** What becomes of an instance; default: it runs and is ready at once. `undefined`: not a word is said about it. */
  readonly behave?: (
    placement: PlacementRecord,
    key: { readonly service: string; readonly ordinal: string },
  ) => InstanceReport | undefined;
}

/**
 * Plays the agent of a host: registers it, mirrors its placements into instance and endpoint records, and counts what
 * it would have started and stopped. No container is ever made.
 */
export class FakeAgent {
  readonly host: string;
  /** Placement ids that were started, in order. */
  readonly started: string[] = [];
  /** Placement ids that were stopped. */
  readonly stopped: string[] = [];
  readonly #store: Store;
  readonly #options: FakeAgentOptions;
  readonly #running = new Map<string, { id: string; text: string }>();
  #lease: Lease | undefined;
  #stop = new AbortController();
  #following: Promise<void> | undefined;
  #behave: FakeAgentOptions['behave'];

  constructor(store: Store, host: string, options: FakeAgentOptions = {}) {
    this.#store = store;
    this.host = host;
    this.#options = options;
    this.#behave = options.behave;
  }

  get record(): HostRecord {
    const {
      metadata = {},
      cpuMillis = 4_000,
      memoryBytes = 8 * 1024 ** 3,
      index = 1,
    } = this.#options;
    return {
      name: this.host,
      machineID: `machine-${this.host}`,
      address: `10.0.0.${String(index)}`,
      metadata,
      capacity: { cpuMillis, memoryBytes },
      versions: { agent: '0.1.0', docker: '20.10', kernel: '6.1' },
      subnet: `10.77.${String(index)}.0/24`,
      session: String(index),
      startedAt: '2026-01-01T00:00:00Z',
      ready: true,
      problems: [],
      ...(this.#options.sealingKey === undefined ? {} : { sealingKey: this.#options.sealingKey }),
    };
  }

  /** Ordinals by service that run here now, e.g. ["web/1"]. */
  get running(): string[] {
    return [...this.#running.keys()].sort();
  }

  /** Takes a lease, registers, and follows its placements. */
  async start(): Promise<void> {
    this.#stop = new AbortController();
    this.#lease = await this.#store.grantLease(this.#options.ttlMs ?? 5_000);
    await this.#put(graceRecords.path({ host: this.host }), undefined);
    await this.#put(hostRecords.path({ host: this.host }), hostRecords.encode(this.record), true);
    this.#following = this.#follow(this.#stop.signal);
  }

  /** The host dies: its lease is gone at once (as if its TTL had run out), its containers with it. */
  async die(): Promise<void> {
    this.#stop.abort();
    await this.#following;
    await this.#lease?.release();
    this.#running.clear();
  }

  /** The host is cut off: its records go, its containers run on. */
  async cut(): Promise<void> {
    this.#stop.abort();
    await this.#following;
    await this.#lease?.release();
  }

  /** The agent stops for an upgrade: it says so, and its containers run on. */
  async leaveFor(ms: number): Promise<void> {
    const until = new Date(Date.now() + ms).toISOString();
    const path = graceRecords.path({ host: this.host });
    await this.#put(path, graceRecords.encode({ until, reason: 'upgrade' }));
    await this.cut();
  }

  /** Instances behave so from now on; those that run are looked at again. */
  async behave(behave: FakeAgentOptions['behave']): Promise<void> {
    this.#behave = behave;
    const { entries } = await this.#store.list(this.#prefix);
    for (const { key, value } of entries) {
      if (!this.#stop.signal.aborted) await this.#placed(key, value);
    }
  }

  get #prefix(): string {
    return `${placementRecords.prefix}${this.host}/`;
  }

  async #follow(signal: AbortSignal): Promise<void> {
    for await (const batch of this.#store.watch(this.#prefix, {}, signal)) {
      try {
        if (batch.type === 'snapshot') {
          const present = new Set(batch.entries.map(({ key }) => key));
          for (const [path] of [...this.#running].map(([name]) => [this.#pathOf(name)] as const)) {
            if (!present.has(path)) await this.#gone(path);
          }
          for (const { key, value } of batch.entries) await this.#placed(key, value);
        } else if (batch.type === 'events') {
          for (const event of batch.events) {
            if (event.type === 'put') await this.#placed(event.entry.key, event.entry.value);
            else await this.#gone(event.key);
          }
        }
      } catch (error) {
        if (signal.aborted) return;
        throw error;
      }
    }
  }

  async #placed(path: string, text: string): Promise<void> {
    const key = placementRecords.parsePath(path);
    if (key === undefined) return;
    let placement: PlacementRecord;
    try {
      placement = placementRecords.decode(text);
    } catch {
      // What runs goes on running when its record cannot be read.
      return;
    }
    // Its predecessor still stops somewhere.
    if (placement.hold === true) return;
    const name = nameOf(key);
    const before = this.#running.get(name);
    if (before?.id !== placement.id) {
      if (before !== undefined) this.stopped.push(before.id);
      this.started.push(placement.id);
    }
    this.#running.set(name, { id: placement.id, text });
    const report = this.#behave === undefined ? {} : this.#behave(placement, key);
    if (report === undefined) return;
    const ip = `10.77.${String(this.#options.index ?? 1)}.${String(10 + (Number(key.ordinal) % 200))}`;
    const record: InstanceRecord = {
      id: placement.id,
      specHash: placement.specHash,
      phase: 'Running',
      ready: true,
      ip,
      restarts: 0,
      ...report,
    };
    await this.#put(instanceRecords.path(key), instanceRecords.encode(record), true);
    const { namespace, project, service } = key;
    const ordinal = seatKey(plainOrdinal(key.ordinal), placement.beside === true);
    const endpoint = endpointRecords.path({ namespace, project, service, ordinal });
    if (record.ready) {
      const value = endpointRecords.encode({ host: this.host, ipv4_addr: ip, ports: [] });
      await this.#put(endpoint, value, true);
    } else await this.#put(endpoint, undefined);
    if (placement.beside !== true) {
      await this.#withdraw({ ...key, ordinal: seatKey(plainOrdinal(key.ordinal), true) });
    }
  }

  async #gone(path: string): Promise<void> {
    const key = placementRecords.parsePath(path);
    if (key === undefined) return;
    const before = this.#running.get(nameOf(key));
    if (before !== undefined) this.stopped.push(before.id);
    this.#running.delete(nameOf(key));
    await this.#put(instanceRecords.path(key), undefined);
    // Its successor may have taken the endpoint over, here or elsewhere.
    const plain = plainOrdinal(key.ordinal);
    const other = nameOf({ ...key, ordinal: seatKey(plain, !isSecondSeat(key.ordinal)) });
    if (!this.#running.has(other)) await this.#withdraw({ ...key, ordinal: plain });
  }

  /** Only an endpoint of this host is ours to remove. */
  async #withdraw(key: InstanceKey): Promise<void> {
    const endpoint = endpointRecords.path(key);
    const entry = await this.#store.get(endpoint);
    if (entry !== undefined && endpointRecords.decode(entry.value).host === this.host) {
      await this.#put(endpoint, undefined);
    }
  }

  #pathOf(name: string): string {
    return `${this.#prefix}${name}`;
  }

  async #put(path: string, value: string | undefined, leased = false): Promise<void> {
    // Without its lease the host has nothing to say.
    if (leased && this.#lease?.lost.aborted === true) return;
    const lease = leased ? this.#lease?.id : undefined;
    await this.#store.commit(
      [],
      [
        value === undefined
          ? { type: 'delete', key: path }
          : { type: 'put', key: path, value, ...(lease === undefined ? {} : { lease }) },
      ],
    );
  }
}

/** "default/guestbook/web/1": what of a placement's path comes after the host. */
function nameOf(key: {
  readonly namespace: string;
  readonly project: string;
  readonly service: string;
  readonly ordinal: string;
}): string {
  return `${key.namespace}/${key.project}/${key.service}/${key.ordinal}`;
}
