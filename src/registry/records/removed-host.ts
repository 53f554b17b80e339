import { z } from 'zod';
import { jsonRecord } from './record-kind.ts';

/**
 * A host that was taken out of the cluster while its agent lived: emptied, then its Host object deleted. It gets no Host
 * object and no instances until its agent is started anew (has another session). Written by the leading operator.
 */
export const removedHostRecord = z.looseObject({ session: z.string() });

/** `/nap/v1/removed-hosts/<host>` */
export const removedHostRecords = jsonRecord(
  'removed host',
  '/nap/v1/removed-hosts/',
  ['host'],
  removedHostRecord,
);
