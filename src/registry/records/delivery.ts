import { z } from 'zod';
import { jsonRecord } from './record-kind.ts';

/**
 * Contents of config files and secret variables for one placed instance, sealed for its host (registry/seal.ts). Written
 * and removed by the leading operator together with the placement of the same key.
 */
export const deliveryRecord = z.looseObject({
  /** Of the bundle, as the placement's `delivery.hash` has it. */
  hash: z.string(),
  sealed: z.string(),
});

/** `/nap/v1/deliveries/<host>/<ns>/<project>/<service>/<ordinal>` */
export const deliveryRecords = jsonRecord(
  'delivery',
  '/nap/v1/deliveries/',
  ['host', 'namespace', 'project', 'service', 'ordinal'],
  deliveryRecord,
);
