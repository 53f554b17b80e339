import type { InstanceRecord } from '../../registry/records/instance.ts';
import { parseSeat, seatKey } from '../../api/v1alpha1/seat.ts';
import { serviceId, type InstanceKey, type ServiceIdentity } from '../../api/v1alpha1/names.ts';
import type { PlacementRecord } from '../../registry/records/placement.ts';
import type { Revision } from '../../registry/store.ts';
import type { ClusterState } from '../../scheduler/index.ts';
import { needsOf } from './demand.ts';
import type { Placed } from './types.ts';

/** Key of a placement or instance record. */
export type HostedKey = InstanceKey & { readonly host: string };

/**
 * All placements, by service and by host, and with them the scheduler's ClusterState: what a pass may believe. It is
 * fed by the watch and, at once, by the operator's own commits; whatever comes late is recognised by its revision.
 */
export class PlacementBook {
  readonly #state: ClusterState;
  readonly #byPath = new Map<string, Placed & { readonly service: string }>();
  readonly #byService = new Map<
    string,
    { readonly identity: ServiceIdentity; readonly placed: Map<string, Placed> }
  >();
  readonly #byHost = new Map<string, Map<string, number>>();
  /** Paths that were deleted by ourselves, until the watch has told so too. */
  readonly #deleted = new Map<string, Revision>();

  constructor(state: ClusterState) {
    this.#state = state;
  }

  /** A placement is there. Returns false when something newer is known already. */
  put(
    key: HostedKey,
    path: string,
    modRevision: Revision,
    record: PlacementRecord | undefined,
    broken = false,
  ): boolean {
    const before = this.#byPath.get(path);
    if (before !== undefined && before.modRevision >= modRevision) return false;
    const deletedAt = this.#deleted.get(path);
    if (deletedAt !== undefined && deletedAt >= modRevision) return false;
    this.#deleted.delete(path);
    if (before !== undefined) this.#drop(path);
    const service = serviceId(key);
    const seat = parseSeat(key.ordinal);
    const placed = {
      ordinal: seat?.ordinal ?? Infinity,
      host: key.host,
      path,
      modRevision,
      record,
      service,
      ...(broken ? { broken } : {}),
      ...(seat?.second === true ? { second: true } : {}),
    };
    this.#byPath.set(path, placed);
    let entry = this.#byService.get(service);
    if (entry === undefined) {
      const { namespace, project, service: name } = key;
      entry = { identity: { namespace, project, service: name }, placed: new Map() };
      this.#byService.set(service, entry);
    }
    entry.placed.set(path, placed);
    const counts = this.#byHost.get(key.host) ?? new Map<string, number>();
    counts.set(service, (counts.get(service) ?? 0) + 1);
    this.#byHost.set(key.host, counts);
    // What has ended takes no room, and keeps nobody away.
    if (record?.finished !== true) {
      this.#state.place({ id: path, service, ...needsOf(record?.container) }, key.host);
    }
    return true;
  }

  /** A placement is gone, as of `revision`; `own`: by our own commit. Returns false when that is old news. */
  delete(path: string, revision: Revision, own = false): boolean {
    if (own) this.#deleted.set(path, revision);
    else if ((this.#deleted.get(path) ?? 0n) <= revision) this.#deleted.delete(path);
    const before = this.#byPath.get(path);
    if (before === undefined || before.modRevision > revision) return false;
    this.#drop(path);
    return true;
  }

  /** Puts what is known of these paths into the ClusterState again, after a pass tried something that failed. */
  restore(paths: Iterable<string>): void {
    for (const path of paths) {
      const placed = this.#byPath.get(path);
      if (placed === undefined || placed.record?.finished === true) this.#state.unplace(path);
      else {
        const needs = needsOf(placed.record?.container);
        this.#state.place({ id: path, service: placed.service, ...needs }, placed.host);
      }
    }
  }

  at(path: string): Placed | undefined {
    return this.#byPath.get(path);
  }

  /** Key of the service that the placement at `path` belongs to. */
  serviceAt(path: string): string | undefined {
    return this.#byPath.get(path)?.service;
  }

  paths(): Iterable<string> {
    return this.#byPath.keys();
  }

  /** All placements of a service, by its serviceId. */
  ofService(service: string): Placed[] {
    return [...(this.#byService.get(service)?.placed.values() ?? [])];
  }

  /** Every service that has placements. */
  services(): Iterable<[string, ServiceIdentity]> {
    return [...this.#byService].map(([key, { identity }]) => [key, identity]);
  }

  identityOf(service: string): ServiceIdentity | undefined {
    return this.#byService.get(service)?.identity;
  }

  /** serviceIds of what is placed on a host. */
  servicesOn(host: string): string[] {
    return [...(this.#byHost.get(host)?.keys() ?? [])];
  }

  /** Hosts that something is placed on. */
  hosts(): string[] {
    return [...this.#byHost.keys()];
  }

  #drop(path: string): void {
    const placed = this.#byPath.get(path);
    if (placed === undefined) return;
    this.#byPath.delete(path);
    this.#state.unplace(path);
    const entry = this.#byService.get(placed.service);
    entry?.placed.delete(path);
    if (entry?.placed.size === 0) this.#byService.delete(placed.service);
    const counts = this.#byHost.get(placed.host);
    const left = (counts?.get(placed.service) ?? 0) - 1;
    if (left > 0) counts?.set(placed.service, left);
    else counts?.delete(placed.service);
    if (counts?.size === 0) this.#byHost.delete(placed.host);
  }
}

/** What the agents say of instances, by service. */
export class InstanceBook {
  readonly #byService = new Map<
    string,
    Map<string, { readonly key: HostedKey; readonly record: InstanceRecord }>
  >();

  /** Returns what was said before. */
  put(key: HostedKey, record: InstanceRecord): InstanceRecord | undefined {
    const service = serviceId(key);
    let records = this.#byService.get(service);
    if (records === undefined) {
      records = new Map<string, { readonly key: HostedKey; readonly record: InstanceRecord }>();
      this.#byService.set(service, records);
    }
    const before = records.get(suffix(key))?.record;
    records.set(suffix(key), { key, record });
    return before;
  }

  delete(key: HostedKey): void {
    const records = this.#byService.get(serviceId(key));
    records?.delete(suffix(key));
    if (records?.size === 0) this.#byService.delete(serviceId(key));
  }

  /** What the host's agent says of the instance that is placed so. */
  of(
    service: string,
    placed: Pick<Placed, 'host' | 'ordinal' | 'second'>,
  ): InstanceRecord | undefined {
    const seat = seatKey(placed.ordinal, placed.second === true);
    return this.#byService.get(service)?.get(`${placed.host}/${seat}`)?.record;
  }

  ofService(service: string): { readonly key: HostedKey; readonly record: InstanceRecord }[] {
    return [...(this.#byService.get(service)?.values() ?? [])];
  }
}

function suffix(key: HostedKey): string {
  return `${key.host}/${key.ordinal}`;
}
