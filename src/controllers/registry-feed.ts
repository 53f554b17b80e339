import { serviceId } from '../api/v1alpha1/names.ts';
import type { CacheChange } from '../registry/record-cache.ts';
import { RecordWatch, type RecordWatchOptions } from '../registry/record-watch.ts';
import {
  graceRecords,
  homeRecords,
  hostRecords,
  instanceRecords,
  placementRecords,
  removedHostRecords,
  runRecords,
  serviceRecords,
  volumeRecords,
  type InstanceKey,
  type InstanceRecord,
} from '../registry/records/index.ts';
import type { Store } from '../registry/store.ts';
import type { Clock } from '../runtime/clock.ts';
import type { Task } from '../runtime/supervise.ts';
import type { Logger } from '../telemetry/log.ts';
import type { HostHealth } from './host/health.ts';
import type { HostKeeper } from './host/keeper.ts';
import type { InstanceBook, PlacementBook } from './placement/book.ts';
import type { PlacementLoop } from './placement/loop.ts';
import type { Readiness } from './placement/readiness.ts';

/** Who hears of changes in the registry. */
export interface RegistrySinks {
  readonly book: PlacementBook;
  readonly instances: InstanceBook;
  readonly readiness: Readiness;
  readonly health: HostHealth;
  readonly keeper: () => HostKeeper;
  readonly loop: () => PlacementLoop;
  /** The status of a service, by serviceId, may have changed. */
  readonly touchService: (key: string) => void;
  readonly touchHost: (host: string) => void;
  /** An agent says something else of an instance than before. */
  readonly instanceChanged: (
    key: InstanceKey & { readonly host: string },
    before: InstanceRecord,
    after: InstanceRecord,
  ) => void;
}

/** Follows all records that the operator decides by, and enters each change into the books. */
export class RegistryFeed {
  readonly #sinks: RegistrySinks;
  readonly #clock: Clock;
  readonly #watches;

  constructor(store: Store, sinks: RegistrySinks, clock: Clock, log: Logger) {
    this.#sinks = sinks;
    this.#clock = clock;
    const telling = (onChange: (change: CacheChange) => void): RecordWatchOptions => ({
      clock,
      log,
      onChange: onChange.bind(this),
    });
    this.#watches = {
      hosts: new RecordWatch(store, hostRecords, telling(this.#hostsChanged)),
      grace: new RecordWatch(store, graceRecords, telling(this.#graceChanged)),
      placements: new RecordWatch(store, placementRecords, telling(this.#placementsChanged)),
      instances: new RecordWatch(store, instanceRecords, telling(this.#instancesChanged)),
      services: new RecordWatch(store, serviceRecords, telling(this.#serviceRecordsChanged)),
      removedHosts: new RecordWatch(store, removedHostRecords, telling(this.#removedChanged)),
      homes: new RecordWatch(
        store,
        homeRecords,
        telling(() => undefined),
      ),
      runs: new RecordWatch(
        store,
        runRecords,
        telling(() => undefined),
      ),
      volumes: new RecordWatch(store, volumeRecords, telling(this.#volumesChanged)),
    };
  }

  /** Service records as the registry has them, by path; live. */
  get serviceRecords() {
    return this.#watches.services.records;
  }

  /** Volume records as the registry has them, by path; live. */
  get volumeRecords() {
    return this.#watches.volumes.records;
  }

  /** Home records as the registry has them, by path; live. */
  get homeRecords() {
    return this.#watches.homes.records;
  }

  /** Run records as the registry has them, by path; live. */
  get runRecords() {
    return this.#watches.runs.records;
  }

  /** Milliseconds for which hosts may have vanished unseen; 0 while connected. */
  staleMs(): number {
    return this.#watches.hosts.staleMs();
  }

  tasks(): Task[] {
    return Object.entries(this.#watches).map(([name, watch]) => ({
      name: `watch of ${name}`,
      run: (signal) => watch.run(signal),
    }));
  }

  /** Resolves when everything has been read once and entered; rejects when `signal` aborts before. */
  async whenSynced(signal: AbortSignal): Promise<void> {
    await Promise.all(Object.values(this.#watches).map((watch) => watch.whenSynced(signal)));
    // Not before now could one tell that a host has no record.
    for (const host of this.#sinks.book.hosts()) this.#knowHost(host);
  }

  /** What leaders write is read once more: nothing that an earlier one has decided is missing afterwards. */
  async catchUp(signal: AbortSignal): Promise<void> {
    const { placements, services, removedHosts, homes, volumes } = this.#watches;
    await Promise.all(
      [placements, services, removedHosts, homes, volumes].map((watch) => watch.catchUp(signal)),
    );
  }

  #hostsChanged({ changed }: CacheChange): void {
    const { records, broken } = this.#watches.hosts;
    for (const path of changed) {
      const host = hostRecords.parsePath(path)?.host;
      if (host === undefined) continue;
      const record = records.get(path);
      if (record !== undefined) this.#sinks.keeper().registered(host, record.value);
      // An unreadable record still proves that the host's lease is alive.
      else if (broken.has(path)) this.#sinks.health.present(host);
      else this.#sinks.keeper().missing(host);
    }
  }

  #removedChanged({ changed }: CacheChange): void {
    const { records } = this.#watches.removedHosts;
    for (const path of changed) {
      const host = removedHostRecords.parsePath(path)?.host;
      if (host !== undefined) this.#sinks.keeper().removed(host, records.get(path)?.value.session);
    }
  }

  #graceChanged({ changed }: CacheChange): void {
    const { records } = this.#watches.grace;
    for (const path of changed) {
      const host = graceRecords.parsePath(path)?.host;
      if (host === undefined) continue;
      const until = Date.parse(records.get(path)?.value.until ?? '');
      this.#sinks.keeper().grace(host, Number.isNaN(until) ? undefined : until);
    }
  }

  #placementsChanged({ changed, revision }: CacheChange): void {
    const { records, broken } = this.#watches.placements;
    let roomAppeared = false;
    for (const path of changed) {
      const key = placementRecords.parsePath(path);
      if (key === undefined) continue;
      const wreck = broken.get(path);
      const record = records.get(path);
      const modRevision = wreck?.modRevision ?? record?.modRevision;
      if (modRevision === undefined) {
        if (!this.#sinks.book.delete(path, revision)) continue;
        roomAppeared = true;
      } else if (
        !this.#sinks.book.put(key, path, modRevision, record?.value, wreck !== undefined)
      ) {
        continue;
      }
      // Not by us: somebody has to look at it.
      this.#sinks.loop().mark(serviceId(key));
      this.#sinks.touchHost(key.host);
      if (this.#watches.hosts.synced) this.#knowHost(key.host);
    }
    if (roomAppeared) this.#sinks.loop().roomAppeared();
  }

  #instancesChanged({ changed }: CacheChange): void {
    const { records } = this.#watches.instances;
    const now = this.#clock.monotonic();
    const touched = new Set<string>();
    for (const path of changed) {
      const key = instanceRecords.parsePath(path);
      if (key === undefined) continue;
      const record = records.get(path);
      if (record === undefined) this.#sinks.instances.delete(key);
      else {
        const before = this.#sinks.instances.put(key, record.value);
        if (before !== undefined) this.#sinks.instanceChanged(key, before, record.value);
      }
      this.#sinks.readiness.observe(placementRecords.path(key), record?.value, now);
      touched.add(serviceId(key));
    }
    for (const service of touched) {
      this.#sinks.loop().instanceChanged(service);
      this.#sinks.touchService(service);
    }
  }

  #serviceRecordsChanged({ changed }: CacheChange): void {
    const { records, broken } = this.#watches.services;
    for (const path of changed) {
      const key = serviceRecords.parsePath(path);
      if (key === undefined) continue;
      const record = broken.has(path) ? undefined : records.get(path)?.value;
      this.#sinks.loop().serviceRecordChanged(serviceId(key), record);
    }
  }

  /** One that is gone, though instances mount it, has to be written again. */
  #volumesChanged({ changed }: CacheChange): void {
    const { records } = this.#watches.volumes;
    const { book, loop } = this.#sinks;
    const gone = [...changed].filter((path) => !records.has(path));
    const hosts = new Set(gone.map((path) => volumeRecords.parsePath(path)?.host));
    for (const host of hosts) {
      if (host !== undefined) for (const service of book.servicesOn(host)) loop().mark(service);
    }
  }

  /** A host that only a placement speaks of. */
  #knowHost(host: string): void {
    if (!this.#sinks.health.knows(host)) this.#sinks.keeper().missing(host);
  }
}
