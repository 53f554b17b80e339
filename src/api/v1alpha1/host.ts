import { z } from 'zod';
import { condition } from './conditions.ts';
import type { KubeObject } from './meta.ts';

export const hostSpec = z.object({
  unschedulable: z
    .boolean()
    .optional()
    .meta({ description: 'Cordon: what runs here stays, nothing new is placed here.' }),
});
export type HostSpec = z.infer<typeof hostSpec>;

export const hostResources = z.object({
  cpu: z.string().meta({ description: 'Cores, e.g. "2" or "1.5".' }),
  memory: z.string().meta({ description: 'Kubernetes quantity, e.g. "4Gi".' }),
});

export const hostStatus = z.object({
  state: z.string().optional().meta({ description: 'One word: Ready, NotReady, Lost, Cordoned.' }),
  address: z.string().optional(),
  machineID: z.string().optional(),
  subnet: z.string().optional().meta({ description: 'Overlay subnet of its containers.' }),
  capacity: hostResources.optional(),
  allocated: hostResources.optional().meta({ description: 'What placed instances have reserved.' }),
  instances: z.int().optional().meta({ description: 'Instances placed here.' }),
  versions: z.object({ agent: z.string(), docker: z.string(), kernel: z.string() }).optional(),
  metadata: z
    .record(z.string(), z.string())
    .optional()
    .meta({ description: "The agent's --metadata; labels on this object win over them." }),
  conditions: z.array(condition).optional(),
});
export type HostStatus = z.infer<typeof hostStatus>;

/** Kind Host (cluster-scoped): a Docker host. Its agent's registration creates it. */
export interface Host extends KubeObject {
  readonly spec?: HostSpec;
  readonly status?: HostStatus;
}
