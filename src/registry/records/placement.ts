import { z } from 'zod';
import { containerSpec } from '../../api/v1alpha1/container-spec.ts';
import { jsonRecord } from './record-kind.ts';

export type { ContainerSpec, Mount, PortMapping } from '../../api/v1alpha1/container-spec.ts';

/** The decision that an instance runs on a host. Written by the leading operator only. */
export const placementRecord = z.looseObject({
  /** Identity of this instance of the ordinal: a moved or recreated instance has another one. */
  id: z.string(),
  /** UID of the Service object that it was made for. */
  serviceUID: z.string(),
  /** Content hash of `container`. The agent recreates the container when it changes. */
  specHash: z.string(),
  container: containerSpec,
  /** RFC 3339. */
  placedAt: z.string(),
});
export type PlacementRecord = z.infer<typeof placementRecord>;

/** `/nap/v1/placements/<host>/<ns>/<project>/<service>/<ordinal>` */
export const placementRecords = jsonRecord(
  'placement',
  '/nap/v1/placements/',
  ['host', 'namespace', 'project', 'service', 'ordinal'],
  placementRecord,
);
