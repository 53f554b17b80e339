import { z } from 'zod';
import { jsonRecord } from './record-kind.ts';

/** What a Docker host says of itself. Written by its agent, rides on the agent's lease. */
export const hostRecord = z.looseObject({
  name: z.string(),
  /** Stable across reboots and renames (`/etc/machine-id` or what `--machine-id` says). */
  machineID: z.string(),
  /** IPv4 address by which other hosts reach this one. */
  address: z.string(),
  /** Labels given to the agent with `--metadata`; labels on the Host object win over them. */
  metadata: z.record(z.string(), z.string()).default({}),
  capacity: z.object({ cpuMillis: z.number(), memoryBytes: z.number() }),
  versions: z.object({ agent: z.string(), docker: z.string(), kernel: z.string() }),
  /** The overlay subnet that the host holds, CIDR; absent until it has one. */
  subnet: z.string().optional(),
  /** Changes with each start of the agent. */
  session: z.string(),
  /** RFC 3339 time of the agent's start. */
  startedAt: z.string(),
  /** False with the reasons in `problems` while the host cannot take instances (engine down, no overlay …). */
  ready: z.boolean(),
  problems: z.array(z.string()).default([]),
  /** How its network compares with what the registry says; absent: an agent that does not tell. */
  network: z
    .object({
      /** What is wrong now. */
      problems: z.array(z.string()),
      /** What was wrong in the last minute and has been put right. */
      repaired: z.array(z.string()),
    })
    .optional(),
  /** Public key for which deliveries are sealed (registry/seal.ts); absent: an agent that takes none. */
  sealingKey: z.string().optional(),
});
export type HostRecord = z.infer<typeof hostRecord>;

/** `/nap/v1/hosts/<host>` */
export const hostRecords = jsonRecord('host', '/nap/v1/hosts/', ['host'], hostRecord);

/**
 * A planned absence: written by an agent that stops on purpose (upgrade, SIGTERM), without a lease, and removed by
 * the same host's next agent. Until `until` (RFC 3339) the host is not lost, though its lease may be gone.
 */
export const graceRecord = z.looseObject({ until: z.string(), reason: z.string() });

/** `/nap/v1/grace/<host>` */
export const graceRecords = jsonRecord('grace', '/nap/v1/grace/', ['host'], graceRecord);
