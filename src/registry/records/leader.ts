import { z } from 'zod';
import { jsonRecord } from './record-kind.ts';

/**
 * Who may write decisions. Rides on the leading operator's lease. Every decision is a transaction on the
 * condition that this key is unchanged: its modRevision is the *epoch*, which no earlier leader can present.
 */
export const leaderRecord = z.looseObject({
  operator: z.string(),
  /** RFC 3339. */
  since: z.string(),
});
export type LeaderRecord = z.infer<typeof leaderRecord>;

/** `/nap/v1/leader` (a family of one). */
export const leaderRecords = jsonRecord('leader', '/nap/v1/', ['leader'], leaderRecord);
export const leaderPath = leaderRecords.path({ leader: 'leader' });
