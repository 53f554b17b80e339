import { z } from 'zod';
import { jsonRecord } from './record-kind.ts';

/**
 * The host on which an instance last had its named volumes. Written by the leading operator, without a lease: it outlives
 * the instance, so that a new one of the same number finds its data again. It counts for as long as the host has a record
 * of one of the volumes.
 */
export const homeRecord = z.looseObject({ host: z.string() });
export type HomeRecord = z.infer<typeof homeRecord>;

/** `/nap/v1/homes/<ns>/<project>/<service>/<ordinal>` */
export const homeRecords = jsonRecord(
  'home',
  '/nap/v1/homes/',
  ['namespace', 'project', 'service', 'ordinal'],
  homeRecord,
);
