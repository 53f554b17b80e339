import { z } from 'zod';
import { jsonRecord } from './record-kind.ts';

/**
 * How far a oneshot has come with its present run. Written by the leading operator only, without a lease: it is what is left
 * of a run whose hosts are gone, so that nothing that has ended runs again. It goes with the Service object, or when that
 * is no oneshot any more.
 */
export const runRecord = z.looseObject({
  /** UID of the Service object: a new one of the same name runs anew. */
  uid: z.string(),
  /** Which run: another one for each change of the spec. Placements that belong to it say so. */
  run: z.string(),
  /** RFC 3339: when the first instance could have been made. */
  startedAt: z.string(),
  /** Numbers of the instances that have ended with success: "1-3,5". */
  succeeded: z.string(),
  /** Tries that have failed, oldest first. */
  failures: z.array(
    z.object({
      /** The placement's id. */
      id: z.string(),
      ordinal: z.int(),
      /** RFC 3339: when it was taken note of. */
      at: z.string(),
      /** What its agent said. */
      reason: z.string().optional(),
      message: z.string().optional(),
    }),
  ),
  /** RFC 3339: when the last instance was done. */
  completedAt: z.string().optional(),
});
export type RunRecord = z.infer<typeof runRecord>;

/** `/nap/v1/runs/<ns>/<project>/<service>` */
export const runRecords = jsonRecord(
  'run',
  '/nap/v1/runs/',
  ['namespace', 'project', 'service'],
  runRecord,
);
