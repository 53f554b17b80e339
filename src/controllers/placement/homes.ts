import type { InstanceKey, ServiceIdentity } from '../../api/v1alpha1/names.ts';
import { volumeProject, type InstanceVolume } from '../../api/v1alpha1/resolve-volumes.ts';
import type { CachedRecord } from '../../registry/record-cache.ts';
import { homeRecords, type HomeRecord } from '../../registry/records/home.ts';
import { volumeRecords } from '../../registry/records/volume.ts';
import type { Operation } from '../../registry/store.ts';
import type { OnlyHost } from '../../scheduler/index.ts';
import type { HostStanding, Placed, VolumeRecords } from './types.ts';

/** Home records as the registry has them, by path. */
export type HomeRecords = ReadonlyMap<string, CachedRecord<InstanceKey, HomeRecord>>;

/** What is known of where data is. */
export interface HomeSources {
  readonly homes: HomeRecords;
  readonly volumes: VolumeRecords;
  standing(host: string): HostStanding;
}

/** Volumes whose data is on one host only: not those of a plug-in, or with options, which may be anywhere. */
export function boundVolumes(volumes: readonly InstanceVolume[]): InstanceVolume[] {
  return volumes.filter(
    ({ external, driver, driverOpts }) =>
      !external && (driver === undefined || driver === 'local') && driverOpts === undefined,
  );
}

/** Those of a service's volumes that an instance has now: it may be of a spec that had none of them. */
export function mountedBy(
  { record }: Pick<Placed, 'record'>,
  volumes: readonly InstanceVolume[],
): readonly InstanceVolume[] {
  // What cannot be read may mount them all.
  if (record === undefined) return volumes;
  const names = record.container.mounts.map((mount) => mount.type === 'volume' && mount.name);
  return volumes.filter(({ name }) => names.includes(name));
}

/** Where an instance's data is. */
export interface Home {
  readonly host: string;
  /** As the user calls them. */
  readonly volumes: readonly string[];
  /** The host is given up: the data cannot be waited for. */
  readonly lost: boolean;
}

/** The host that has data of an instance; undefined when there is none, or none is known. */
export function homeOf(
  identity: ServiceIdentity,
  ordinal: number,
  volumesOn: (host: string) => readonly InstanceVolume[],
  sources: HomeSources,
): Home | undefined {
  const path = homeRecords.path({ ...identity, ordinal: String(ordinal) });
  const host = sources.homes.get(path)?.value.host;
  if (host === undefined) return undefined;
  const bound = boundVolumes(volumesOn(host));
  const { namespace } = identity;
  const project = volumeProject(identity);
  const here = bound.filter(({ volume }) => {
    const record = sources.volumes.get(volumeRecords.path({ host, namespace, project, volume }));
    return record !== undefined && record.value.released !== true;
  });
  if (here.length === 0) return undefined;
  const lost = sources.standing(host) === 'lost';
  return { host, volumes: here.map(({ volume }) => volume), lost };
}

/** What that means for the scheduler. */
export function onlyHome(home: Home | undefined): OnlyHost | undefined {
  return home === undefined || home.lost ? undefined : { host: home.host, why: 'volume' };
}

/** What to write so that an instance's home is where it is placed. */
export function planHome(
  identity: ServiceIdentity,
  ordinal: number,
  host: string,
  volumes: readonly InstanceVolume[],
  homes: HomeRecords,
): Operation | undefined {
  if (boundVolumes(volumes).length === 0) return undefined;
  const path = homeRecords.path({ ...identity, ordinal: String(ordinal) });
  const present = homes.get(path)?.value;
  if (present?.host === host) return undefined;
  return { type: 'put', key: path, value: homeRecords.encode({ ...present, host }) };
}
