import { z } from 'zod';

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
  }),
]);
export type Mount = z.infer<typeof mount>;

/** All that an agent needs to run one container: resolved, nothing left to look up. Its hash decides on recreation. */
export const containerSpec = z.looseObject({
  image: z.string(),
  command: z.array(z.string()).optional(),
  entrypoint: z.array(z.string()).optional(),
  environment: z.record(z.string(), z.string()),
  ports: z.array(portMapping),
  mounts: z.array(mount),
  /** User's labels; nap's own (`nap.dev/…`) are added by the agent. */
  labels: z.record(z.string(), z.string()),
  hostname: z.string(),
  user: z.string().optional(),
  workingDir: z.string().optional(),
  pullPolicy: z.enum(['always', 'missing', 'never']),
  restart: z.enum(['always', 'no']),
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
