import { z } from 'zod';
import { jsonRecord } from './record-kind.ts';

/** An operator that could lead, or does. Rides on that operator's lease. */
export const candidateRecord = z.looseObject({
  /** Its caches are filled, and the API server answers it. */
  fit: z.boolean(),
});

/** `/nap/v1/candidates/<operator>` */
export const candidateRecords = jsonRecord(
  'candidate',
  '/nap/v1/candidates/',
  ['operator'],
  candidateRecord,
);
