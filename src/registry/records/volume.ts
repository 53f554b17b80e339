import { z } from 'zod';
import { jsonRecord } from './record-kind.ts';

/**
 * A named volume of a project that may hold data on a host. Written by the leading operator when it places an instance
 * that mounts it, without a lease: it is the memory of hosts that are away. Removed by the host's agent when it has
 * removed the volume.
 */
export const volumeRecord = z.looseObject({
  /** The engine's name. */
  name: z.string(),
  reclaimPolicy: z.enum(['retain', 'delete']),
  /** Nobody wants the data any more: the agent removes the volume as soon as no container has it. */
  released: z.boolean().optional(),
});
export type VolumeRecord = z.infer<typeof volumeRecord>;

/** `/nap/v1/volumes/<host>/<ns>/<project>/<volume>`; `_<service>` stands for the project of a standalone service. */
export const volumeRecords = jsonRecord(
  'volume',
  '/nap/v1/volumes/',
  ['host', 'namespace', 'project', 'volume'],
  volumeRecord,
);
