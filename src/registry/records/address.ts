import { z } from 'zod';
import { jsonRecord, type RecordKind } from './record-kind.ts';

/**
 * Whose an address in the overlay is: what every host must know to let packets from it in. Written by the agent of the host that
 * holds the subnet, before the container starts, and removed by it with the container. It has no lease: an address goes on being
 * its container's while the agent is away, and what the container sends goes on being let in.
 */
export const addressRecord = z.looseObject({
  /** For people. */
  host: z.string(),
  namespace: z.string(),
  project: z.string(),
  service: z.string(),
});
export type AddressRecord = z.infer<typeof addressRecord>;

interface AddressKey {
  /** CIDR of the host's subnet. */
  readonly subnet: string;
  readonly address: string;
}

const records = jsonRecord(
  'address',
  '/nap/v1/addresses/',
  ['subnet', 'address'] as const,
  addressRecord,
);

/** `/nap/v1/addresses/10.77.3.0-24/10.77.3.5`; the key's subnet is the CIDR in its usual form. */
export const addressRecords: RecordKind<AddressKey, AddressRecord> = {
  ...records,
  path: ({ subnet, address }) => records.path({ subnet: subnet.replace('/', '-'), address }),
  parsePath(path) {
    const parsed = records.parsePath(path);
    return parsed && { ...parsed, subnet: parsed.subnet.replace('-', '/') };
  },
};
