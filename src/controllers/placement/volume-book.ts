import type { ServiceIdentity } from '../../api/v1alpha1/names.ts';
import { volumeProject } from '../../api/v1alpha1/resolve-volumes.ts';
import { decide } from '../../registry/decide.ts';
import type { Revision, Store } from '../../registry/store.ts';
import type { Logger } from '../../telemetry/log.ts';
import type { VolumeRecords } from './types.ts';
import { planRelease } from './volumes.ts';

/** Lets volumes go with the Project, or the Service that stands alone, that they belong to. */
export class VolumeBook {
  readonly #store: Store;
  readonly #epoch: () => Revision;
  readonly #records: VolumeRecords;
  readonly #log: Logger;

  constructor(store: Store, epoch: () => Revision, records: VolumeRecords, log: Logger) {
    this.#store = store;
    this.#epoch = epoch;
    this.#records = records;
    this.#log = log;
  }

  /**
   * Call when nothing of the project is placed any more, and before its object goes: then it is done for sure. Rejects
   * when it could not be written, or when a record has just been changed: to be called again.
   */
  async release(
    of: Pick<ServiceIdentity, 'namespace' | 'project'>,
    signal: AbortSignal,
  ): Promise<void> {
    const released = planRelease(of, this.#records);
    if (released.length === 0) return;
    const result = await decide(
      this.#store,
      this.#epoch(),
      released.map(({ path, revision }) => ({
        type: 'unchanged',
        key: path,
        modRevision: revision,
      })),
      released.map(({ path, value }) => ({ type: 'put', key: path, value })),
      signal,
    );
    if (!result.committed) throw new Error('a volume record changed meanwhile; trying again');
    this.#log.info(
      { ...of, volumes: released.length },
      'released the volumes of a deleted project',
    );
  }

  /** The same for a Service that stands alone: it is a project of its own. */
  async releaseOfService(identity: ServiceIdentity, signal: AbortSignal): Promise<void> {
    await this.release({ namespace: identity.namespace, project: volumeProject(identity) }, signal);
  }
}
