import { z } from 'zod';
import { jsonRecord } from './record-kind.ts';

/**
 * Where virtual IPs come from. Written by the leading operator; hosts route these ranges and turn connections to them. Other
 * ranges than the first are those of former settings in which services still have their address.
 */
export const virtualRangeRecord = z.looseObject({
  /** CIDRs; new services are given addresses of the first. */
  ranges: z.array(z.string()),
});

/** `/nap/v1/network/virtual-ips` (a family of one). */
export const virtualRangeRecords = jsonRecord(
  'virtual IP range',
  '/nap/v1/network/',
  ['name'],
  virtualRangeRecord,
);
export const virtualRangePath = virtualRangeRecords.path({ name: 'virtual-ips' });
