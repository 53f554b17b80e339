import { z } from 'zod';
import { jsonRecord } from './record-kind.ts';

/**
 * How hosts agree that nobody sends to an instance any more, before it is stopped:
 *
 * 1. The agent that is to stop it removes its endpoint record; the removal has a revision.
 * 2. It then writes a *drain* record that asks all hosts for word of that revision.
 * 3. Each host whose data plane (names, virtual IPs) has taken in all endpoint changes up to there says so in its *applied* record.
 * 4. When the applied records of all hosts that have one say so, nobody sends. A host whose lease is gone has none.
 *
 * Nothing of this is written while nothing is stopped. Both records ride on the lease of the host's agent.
 */
const revision = z.string().regex(/^[0-9]{1,19}$/);

/** "Tell me when you have taken this in." One for all instances that are being stopped on a host. */
export const drainRecord = z.looseObject({
  /** Revision of the store, of a change of endpoint records. */
  revision,
  /** How many hosts are asked: the more there are, the less often each of them answers. */
  hosts: z.int(),
});
export type DrainRecord = z.infer<typeof drainRecord>;

/** `/nap/v1/drains/<host>` of the host that asks. */
export const drainRecords = jsonRecord('drain', '/nap/v1/drains/', ['host'], drainRecord);

/** "I send to nobody whose endpoint was gone by then." There while an agent runs; written again only when one is asked. */
export const appliedRecord = z.looseObject({ revision });
export type AppliedRecord = z.infer<typeof appliedRecord>;

/** `/nap/v1/applied/<host>` */
export const appliedRecords = jsonRecord('applied', '/nap/v1/applied/', ['host'], appliedRecord);
