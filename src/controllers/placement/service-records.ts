import { equalJson } from '../../api/json.ts';
import { serviceId, type ServiceIdentity } from '../../api/v1alpha1/names.ts';
import type { CachedRecord } from '../../registry/record-cache.ts';
import { serviceRecords, type ServiceRecord } from '../../registry/records/service.ts';
import type { Operation } from '../../registry/store.ts';
import type { MeshPortBook } from '../mesh-port-book.ts';
import type { VirtualIpBook } from '../virtual-ip-book.ts';
import type { Intent } from './allocate.ts';

/** Service records as the registry has them, by path. */
export type CachedServices = ReadonlyMap<string, CachedRecord<ServiceIdentity, ServiceRecord>>;

/** What every host must know of services: what the registry says of them, and what we have written since. */
export class ServiceRecordBook {
  readonly #cached: CachedServices;
  readonly #virtualIps: Pick<VirtualIpBook, 'addressed'>;
  readonly #meshPorts: Pick<MeshPortBook, 'admitted'>;
  readonly #freed: (paths: readonly string[]) => void;
  readonly #written = new Map<string, ServiceRecord | undefined>();

  /** @param freed told of services (by path) that wait for a port which another one has given up */
  constructor(
    cached: CachedServices,
    virtualIps: Pick<VirtualIpBook, 'addressed'>,
    meshPorts: Pick<MeshPortBook, 'admitted'>,
    freed: (paths: readonly string[]) => void,
  ) {
    this.#cached = cached;
    this.#virtualIps = virtualIps;
    this.#meshPorts = meshPorts;
    this.#freed = freed;
  }

  /** The record of a service, as last written or read. */
  recordOf(identity: ServiceIdentity): ServiceRecord | undefined {
    return this.#present(serviceId(identity), serviceRecords.path(identity));
  }

  /**
   * A record changed in the registry. Says whether it is not as we wrote it, and has to be written again.
   * @param record undefined: gone or unreadable
   */
  changed(key: string, record: ServiceRecord | undefined): boolean {
    if (this.#written.has(key) && equalJson(this.#written.get(key), record)) return false;
    this.#written.set(key, record);
    return true;
  }

  /** What has to be written, or removed, for a service; undefined: nothing. */
  change({ key, identity, run }: Intent): Operation | undefined {
    const path = serviceRecords.path(identity);
    const present = this.#present(key, path);
    const { record, freed } = this.#meshPorts.admitted(path, run?.record);
    this.#freed(freed);
    const wanted =
      run?.addressed === true && record !== undefined
        ? this.#virtualIps.addressed(path, record)
        : record;
    if (equalJson(present, wanted)) return undefined;
    const exists = present !== undefined || this.#cached.has(path);
    if (wanted === undefined && !exists) return undefined;
    this.#written.set(key, wanted);
    return wanted === undefined
      ? { type: 'delete', key: path }
      : { type: 'put', key: path, value: serviceRecords.encode(wanted) };
  }

  /** A write was refused, or nobody asks for the service any more. */
  forget(key: string): void {
    this.#written.delete(key);
  }

  #present(key: string, path: string): ServiceRecord | undefined {
    return this.#written.has(key) ? this.#written.get(key) : this.#cached.get(path)?.value;
  }

  /** Of a service that nothing else is known of. */
  identityOf(key: string): ServiceIdentity | undefined {
    for (const record of this.#cached.values()) {
      if (serviceId(record.key) === key) return record.key;
    }
    return undefined;
  }
}
