import { z } from 'zod';
import { healthCheckSpec } from './health-check.ts';
import { resolvedHooks } from './hooks.ts';
import { restartPolicy } from './restart-policy.ts';
import { propagations } from './volume-string.ts';

/** A port of an instance. `hostPort` absent: reachable in the overlay only. */
export const portMapping = z.object({
  containerPort: z.int(),
  protocol: z.enum(['tcp', 'udp', 'sctp']),
  hostPort: z.int().optional(),
  /** Address of the host to listen on; absent = all. */
  hostIP: z.string().optional(),
});
export type PortMapping = z.infer<typeof portMapping>;

export const mount = z.discriminatedUnion('type', [
  /** `name` is the Docker volume's name, already made unique to the project. */
  z.object({
    type: z.literal('volume'),
    name: z.string(),
    target: z.string(),
    readOnly: z.boolean(),
  }),
  z.object({
    type: z.literal('bind'),
    source: z.string(),
    target: z.string(),
    readOnly: z.boolean(),
    /** Absent: the engine's default, rprivate. */
    propagation: z.enum(propagations).optional(),
  }),
  /** `options` as the kernel takes them, e.g. "mode=1777,size=67108864"; empty for none. */
  z.object({ type: z.literal('tmpfs'), target: z.string(), options: z.string() }),
]);
export type Mount = z.infer<typeof mount>;

/**
 * A file that the agent puts into the container. What stands in it is delivered apart, sealed for the host, as the
 * element of the same index of the delivery's `files`.
 */
export const configFile = z.object({
  target: z.string(),
  mode: z.int(),
  uid: z.int(),
  gid: z.int(),
  /** Stands for the content; absent where a change of it is not to replace the container, but does `onChange`. */
  hash: z.string().optional(),
  onChange: z
    .object({ signal: z.string().optional(), command: z.array(z.string()).optional() })
    .optional(),
});
export type ConfigFile = z.infer<typeof configFile>;

/** All that an agent needs to run one container: resolved, nothing left to look up. Its hash decides on recreation. */
export const containerSpec = z.looseObject({
  image: z.string(),
  command: z.array(z.string()).optional(),
  entrypoint: z.array(z.string()).optional(),
  environment: z.record(z.string(), z.string()),
  ports: z.array(portMapping),
  mounts: z.array(mount),
  files: z.array(configFile).optional(),
  /** Files whose content the agent renders; what they are made from is delivered apart, in the same order. */
  templates: z.array(z.object({ target: z.string() })).optional(),
  /** Variables whose values are delivered apart, like files. */
  sealedEnvironment: z.object({ names: z.array(z.string()), hash: z.string() }).optional(),
  /**
   * What its links give it. The variables are no part of the hash: as in Docker they are those of the time when the container is
   * made, and a change of the linked service's ports or variables replaces nobody else's containers.
   */
  links: z
    .object({
      hosts: z.record(z.string(), z.string()),
      environment: z.record(z.string(), z.string()),
    })
    .optional(),
  /** User's labels; nap's own (`nap.dev/…`) are added by the agent. */
  labels: z.record(z.string(), z.string()),
  hostname: z.string(),
  user: z.string().optional(),
  workingDir: z.string().optional(),
  pullPolicy: z.enum(['always', 'missing', 'never']),
  restart: restartPolicy,
  /** It comes to an end: exit code 0 alone is success, and it does not run again after that. */
  oneshot: z.boolean().optional(),
  /** Pause before the first restart. Absent: the engine's 100 ms. */
  restartMs: z.int().optional(),
  /** Absent: restarted for ever. */
  startLimit: z.object({ burst: z.int(), intervalMs: z.int() }).optional(),
  /** It stops when its host's lease cannot be proved any more. Absent: it goes on. */
  fencing: z.literal('stop').optional(),
  /** Absent: the image's own HEALTHCHECK, if it has one, and nothing is done about an unhealthy container. */
  healthCheck: healthCheckSpec.optional(),
  /** What is run around the main program. */
  hooks: resolvedHooks.optional(),
  /** Of the hooks before a start, and from the start until it is ready. Absent: see agent/hooks/stop-hooks.ts. 0: no limit. */
  timeoutStartMs: z.int().optional(),
  /** Of the hooks of a stop, and again of those after it. */
  timeoutStopMs: z.int().optional(),
  /** False: created but never started. Absent: true. */
  start: z.literal(false).optional(),
  stopSignal: z.string().optional(),
  stopGracePeriodMs: z.int(),
  /** Limits enforced by the engine. */
  limits: z.object({
    cpuMillis: z.int().optional(),
    memoryBytes: z.int().optional(),
    pids: z.int().optional(),
  }),
  /** What the scheduler set aside; memory is also the engine's soft limit. */
  reservations: z.object({ cpuMillis: z.int().optional(), memoryBytes: z.int().optional() }),
});
export type ContainerSpec = z.infer<typeof containerSpec>;
