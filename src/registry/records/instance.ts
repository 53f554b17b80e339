import { z } from 'zod';
import { jsonRecord } from './record-kind.ts';

/** Where an instance is in its life; see the state diagram in src/agent/plan.ts. */
export const instancePhase = z.enum([
  'Pulling',
  'Creating',
  'Starting',
  'Running',
  /** A data-only container, which is never started. */
  'Created',
  'Draining',
  'Stopping',
  'Exited',
  'Failed',
]);
export type InstancePhase = z.infer<typeof instancePhase>;

/** What an agent sees of one instance. Written by the host's agent, rides on its lease. */
export const instanceRecord = z.looseObject({
  /** The placement's `id`. */
  id: z.string(),
  specHash: z.string(),
  phase: instancePhase,
  /** Serves: other instances may be sent to it. */
  ready: z.boolean(),
  containerId: z.string().optional(),
  /** Overlay IPv4 address. */
  ip: z.string().optional(),
  /** Starts after the first one. */
  restarts: z.int(),
  exitCode: z.int().optional(),
  /** CamelCase word: `ImagePullFailed`, `CrashLoop`, `OOMKilled` … */
  reason: z.string().optional(),
  /** For people: pull progress, the engine's error, when the next start is due. */
  message: z.string().optional(),
  /** Absent: nothing is checked. */
  health: z.enum(['starting', 'healthy', 'unhealthy']).optional(),
  /** How often its container has gone from healthy to unhealthy. Absent: never. */
  flaps: z.int().optional(),
  /** RFC 3339 time of the present container's start. */
  startedAt: z.string().optional(),
});
export type InstanceRecord = z.infer<typeof instanceRecord>;

/** `/nap/v1/instances/<host>/<ns>/<project>/<service>/<ordinal>` */
export const instanceRecords = jsonRecord(
  'instance',
  '/nap/v1/instances/',
  ['host', 'namespace', 'project', 'service', 'ordinal'],
  instanceRecord,
);
