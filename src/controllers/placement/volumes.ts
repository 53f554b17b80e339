import type { ServiceIdentity } from '../../api/v1alpha1/names.ts';
import { volumeProject, type InstanceVolume } from '../../api/v1alpha1/resolve-volumes.ts';
import { volumeRecords } from '../../registry/records/volume.ts';
import type { Operation } from '../../registry/store.ts';
import type { ClusterState } from '../../scheduler/index.ts';
import type { Change, Intent } from './allocate.ts';
import type { PlacementBook } from './book.ts';
import { mountedBy } from './homes.ts';
import { ordinalOf } from './step.ts';
import type { Placed, VolumeRecords } from './types.ts';

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

/** Volume records that are not as they have to be, for what is placed and what a pass is about to place. */
export function volumeChanges(
  intents: readonly Intent[],
  changes: readonly Change[],
  from: {
    readonly book: Pick<PlacementBook, 'ofService'>;
    readonly state: Pick<ClusterState, 'host'>;
    /** Undefined: nobody keeps any. */
    readonly records: VolumeRecords | undefined;
  },
): { readonly key: string; readonly operation: Operation }[] {
  const { book, state, records } = from;
  if (records === undefined) return [];
  const placing = new Map<string, Change[]>();
  for (const change of changes) {
    const list = placing.get(change.key);
    if (list === undefined) placing.set(change.key, [change]);
    else list.push(change);
  }
  const result = new Map<string, { key: string; operation: Operation }>();
  for (const { key, identity, run } of intents) {
    if (run?.volumes === undefined) continue;
    const seats: Pick<Placed, 'host' | 'ordinal' | 'record'>[] = book.ofService(key);
    const placed = (placing.get(key) ?? []).flatMap(({ put, step }) =>
      put === undefined
        ? []
        : [{ host: put.key.host, ordinal: ordinalOf(step), record: put.record }],
    );
    for (const seat of [...seats, ...placed]) {
      const { host, ordinal } = seat;
      if (!Number.isFinite(ordinal)) continue;
      const machineID = state.host(host)?.info?.machineID ?? '';
      const volumes = mountedBy(seat, run.volumes(ordinal, { host, machineID }));
      for (const operation of planVolumeRecords(identity, host, volumes, records)) {
        result.set(operation.key, { key, operation });
      }
    }
  }
  return [...result.values()];
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
