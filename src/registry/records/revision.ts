import { z } from 'zod';
import { jsonRecord } from './record-kind.ts';

/**
 * One release of a Project: what its spec said, kept so that it can be gone back to. Written by the leading operator only.
 * It stands in the registry and not in the Project's status, since it may be as large as the Project itself, and must not
 * go with a status that somebody overwrites; the status lists numbers and outcomes.
 */
export const revisionRecord = z.looseObject({
  /** UID of the Project: a new one of the same name starts anew. */
  uid: z.string(),
  /** Digest of what it runs; replicas do not count. */
  hash: z.string(),
  /** `Project.spec` without what steers the release itself. */
  spec: z.record(z.string(), z.unknown()),
  /** RFC 3339. */
  createdAt: z.string(),
  /** When all of it was ready for the first time. */
  readyAt: z.string().optional(),
  /** When its pre-deploy job had succeeded. */
  preDeployedAt: z.string().optional(),
  /** Set when the project had to be taken back from it. */
  failed: z
    .object({
      /** The Project's generation at that time: a later order to run it is another try. */
      generation: z.int(),
      service: z.string(),
      message: z.string(),
      /** RFC 3339. */
      at: z.string(),
    })
    .optional(),
});
export type RevisionRecord = z.infer<typeof revisionRecord>;

/** `/nap/v1/revisions/<ns>/<project>/<number>` */
export const revisionRecords = jsonRecord(
  'revision',
  '/nap/v1/revisions/',
  ['namespace', 'project', 'number'],
  revisionRecord,
);
