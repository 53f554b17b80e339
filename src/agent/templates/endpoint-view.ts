import { serviceId } from '../../api/v1alpha1/names.ts';
import type { EndpointRecord } from '../../registry/records/index.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { ServiceFeed, ServiceKey } from '../service-feed.ts';

/**
 * An outage of the registry, or a restore of it, can end with all leases gone at once, while all that they stood for runs.
 * The last ready instances of a service that still exists therefore count for so long after their records have gone.
 */
const lastOneStaysMs = 10_000;

const none: ReadonlyMap<string, EndpointRecord> = new Map();

/** The feed as templates see it: unknown is not empty, and neither is a blink. */
export type Feed = Pick<ServiceFeed, 'synced' | 'subscribe'>;

/** The ready instances of all services, from the agent's one feed of them. */
export class EndpointView {
  readonly #feed: Feed;
  readonly #clock: Clock;
  readonly #ready = new Map<string, Map<string, EndpointRecord>>();
  /** What a service had before it had nothing. */
  readonly #held = new Map<
    string,
    { readonly last: ReadonlyMap<string, EndpointRecord>; readonly cancel: () => void }
  >();
  /** What has gone since things were settled last. */
  readonly #gone = new Map<string, Map<string, EndpointRecord>>();
  /** Uids of services that there are. */
  readonly #services = new Map<string, string>();
  /** When services were made anew under an old name, monotonic: what goes soon after was the old one's, and is not held. */
  readonly #anew = new Map<string, number>();
  readonly #changed = new Set<string>();
  readonly #onChange: (serviceIds: ReadonlySet<string>) => void;
  #wasSynced = false;
  #all = false;

  /** @param onChange told the ids of services whose instances changed; an empty set: all may have. */
  constructor(feed: Feed, clock: Clock, onChange: (serviceIds: ReadonlySet<string>) => void) {
    this.#feed = feed;
    this.#clock = clock;
    this.#onChange = onChange;
    feed.subscribe({
      service: (key, record) => {
        this.#service(serviceId(key), record?.uid);
      },
      endpoint: (key, seat, record) => {
        this.#endpoint(serviceId(key), seat, record);
      },
      settled: () => {
        this.#settled();
      },
    });
  }

  /** Whether all has been read once: before that, nothing can be said to be empty. */
  get synced(): boolean {
    return this.#feed.synced;
  }

  of(service: ServiceKey): ReadonlyMap<string, EndpointRecord> {
    const id = serviceId(service);
    return this.#ready.get(id) ?? this.#held.get(id)?.last ?? none;
  }

  #service(id: string, uid: string | undefined): void {
    const before = this.#services.get(id);
    if (uid === before) return;
    if (uid === undefined) this.#services.delete(id);
    else this.#services.set(id, uid);
    if (uid !== undefined && before !== undefined) this.#anew.set(id, this.#clock.monotonic());
    else this.#anew.delete(id);
    if (before !== undefined && this.#release(id)) this.#changed.add(id);
  }

  #endpoint(id: string, seat: string, record: EndpointRecord | undefined): void {
    const ready = this.#ready.get(id);
    if (record !== undefined) {
      this.#release(id);
      this.#anew.delete(id);
      if (ready === undefined) this.#ready.set(id, new Map([[seat, record]]));
      else ready.set(seat, record);
      this.#changed.add(id);
      return;
    }
    const last = ready?.get(seat);
    if (ready === undefined || last === undefined) return;
    this.#changed.add(id);
    ready.delete(seat);
    const gone = this.#gone.get(id);
    if (gone === undefined) this.#gone.set(id, new Map([[seat, last]]));
    else gone.set(seat, last);
  }

  /** All that went together with the last one stays a while. */
  #hold(id: string, last: ReadonlyMap<string, EndpointRecord>): void {
    if ((this.#ready.get(id)?.size ?? 0) > 0) return;
    this.#ready.delete(id);
    if (!this.#services.has(id)) return;
    const anewAt = this.#anew.get(id);
    if (anewAt !== undefined && this.#clock.monotonic() - anewAt < lastOneStaysMs) return;
    const cancel = this.#clock.schedule(() => {
      this.#held.delete(id);
      this.#onChange(new Set([id]));
    }, lastOneStaysMs);
    this.#held.set(id, { last, cancel });
  }

  #release(id: string): boolean {
    const held = this.#held.get(id);
    held?.cancel();
    return this.#held.delete(id);
  }

  #settled(): void {
    for (const [id, last] of this.#gone) this.#hold(id, last);
    this.#gone.clear();
    if (!this.#wasSynced && this.synced) {
      this.#wasSynced = true;
      this.#all = true;
    }
    if (this.#all) this.#onChange(new Set());
    else if (this.#changed.size > 0) this.#onChange(new Set(this.#changed));
    this.#all = false;
    this.#changed.clear();
  }
}
