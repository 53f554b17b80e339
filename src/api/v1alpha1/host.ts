import { z } from 'zod';
import { conditions } from './conditions.ts';
import { durationExample } from './duration.ts';
import type { KubeObject } from './meta.ts';

export const hostSpec = z.object({
  unschedulable: z
    .boolean()
    .optional()
    .meta({ description: 'Cordon: what runs here stays, nothing new is placed here.' }),
  drain: z
    .object({
      deadline: z.string().max(40).optional().meta({
        description:
          'After this long the rest moves at once, without waiting until replacements serve: "10m". Default: it waits.',
        pattern: durationExample,
      }),
    })
    .optional()
    .meta({
      description:
        'Empties the host: what runs here is started elsewhere and then stopped here, service by service; nothing new is ' +
        'placed here. What has its volume here, or fits nowhere else, stays, and the condition Drained says why. Global ' +
        'services leave last. Example: {deadline: 10m}, or {} without one.',
    }),
});
export type HostSpec = z.infer<typeof hostSpec>;

export const hostResources = z.object({
  cpu: z.string().meta({ description: 'Processors: "2" or "1.5".' }),
  memory: z.string().meta({ description: 'Kubernetes quantity: "4Gi".' }),
});

export const hostStatus = z.object({
  state: z
    .string()
    .optional()
    .meta({ description: 'One word: Ready, NotReady, Lost, Cordoned, Draining, Drained.' }),
  address: z.string().optional().meta({ description: 'Address by which other hosts reach it.' }),
  machineID: z
    .string()
    .optional()
    .meta({ description: 'Stable across reboots and renames; placement.machineID asks for it.' }),
  subnet: z.string().optional().meta({ description: 'Overlay subnet of its containers.' }),
  capacity: hostResources.optional().meta({ description: 'What it has.' }),
  allocated: hostResources.optional().meta({ description: 'What placed instances have reserved.' }),
  instances: z.int().optional().meta({ description: 'Instances placed here.' }),
  versions: z
    .object({
      agent: z.string().meta({ description: 'Version of nap.' }),
      docker: z.string().meta({ description: 'Version of the Docker engine.' }),
      kernel: z.string().meta({ description: 'Version of Linux.' }),
    })
    .optional()
    .meta({ description: 'What runs on it.' }),
  metadata: z.record(z.string(), z.string()).optional().meta({
    description: "The agent's --metadata; labels on this object win over them.",
  }),
  conditions: conditions.optional(),
});
export type HostStatus = z.infer<typeof hostStatus>;

/** Kind Host (cluster-scoped): a Docker host. Its agent's registration creates it. */
export interface Host extends KubeObject {
  readonly spec?: HostSpec;
  readonly status?: HostStatus;
}
