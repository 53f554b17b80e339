import type { ServiceIdentity } from '../../api/v1alpha1/names.ts';
import { volumeProject, type InstanceVolume } from '../../api/v1alpha1/resolve-volumes.ts';
import type { CachedRecord } from '../../registry/record-cache.ts';
import { volumeRecords, type VolumeRecord } from '../../registry/records/volume.ts';
import type { Operation } from '../../registry/store.ts';

/** Key of a volume record. */
export interface VolumeKey {
  readonly host: string;
  readonly namespace: string;
  readonly project: string;
  readonly volume: string;
}

/** Volume records as the registry has them, by path. */
export type VolumeRecords = ReadonlyMap<string, CachedRecord<VolumeKey, VolumeRecord>>;

/**
 * Records that have to be written so that each volume of an instance on a host is known. One that is released stays
 * so until the host's agent has removed the volume and the record with it: what was deleted never comes to life again.
 */
export function planVolumeRecords(
  identity: ServiceIdentity,
  host: string,
  volumes: readonly InstanceVolume[],
  records: VolumeRecords,
): Operation[] {
  const operations: Operation[] = [];
  for (const { name, volume, reclaimPolicy, external } of volumes) {
    if (external) continue;
    const { namespace } = identity;
    const path = volumeRecords.path({ host, namespace, project: volumeProject(identity), volume });
    const present = records.get(path)?.value;
    if (present?.released === true || present?.reclaimPolicy === reclaimPolicy) continue;
    operations.push({
      type: 'put',
      key: path,
      value: volumeRecords.encode({ ...present, name, reclaimPolicy }),
    });
  }
  return operations;
}

/**
 * What to write when a Project (or a Service that stands alone) is deleted: its volumes that are to be deleted with it
 * are released, on all hosts, also those that are away. Conditional on the records being as they were read.
 */
export function planRelease(
  of: { readonly namespace: string; readonly project: string },
  records: VolumeRecords,
): { readonly path: string; readonly revision: bigint; readonly value: string }[] {
  const released = [];
  for (const [path, { key, value, modRevision }] of records) {
    if (key.namespace !== of.namespace || key.project !== of.project) continue;
    if (value.reclaimPolicy !== 'delete' || value.released === true) continue;
    released.push({
      path,
      revision: modRevision,
      value: volumeRecords.encode({ ...value, released: true }),
    });
  }
  return released;
}
