import { z } from 'zod';
import { condition } from './conditions.ts';
import type { KubeObject } from './meta.ts';
import type { serviceSpec } from './service-spec.ts';

export const instanceStatus = z.object({
  name: z.string().meta({ description: 'Name of the instance: hostname and DNS name.' }),
  ordinal: z.int(),
  host: z.string().optional().meta({ description: 'Host that it is placed on.' }),
  ip: z.string().optional().meta({ description: 'Address in the overlay.' }),
  phase: z.string().meta({
    description:
      'Pending, Placed, Pulling, Creating, Starting, Running, Stopping, Exited, Failed or Lost.',
  }),
  ready: z.boolean(),
  restarts: z.int(),
  reason: z
    .string()
    .optional()
    .meta({ description: 'Why it is pending, was restarted, moved or refused.' }),
  message: z.string().optional(),
});
export type InstanceStatus = z.infer<typeof instanceStatus>;

export const serviceStatus = z.object({
  observedGeneration: z.int().optional(),
  replicas: z.int().optional().meta({ description: 'Instances that exist.' }),
  readyReplicas: z.int().optional().meta({ description: 'Instances that serve.' }),
  updatedReplicas: z.int().optional().meta({ description: 'Instances that run the present spec.' }),
  selector: z.string().optional().meta({ description: 'For kubectl scale and autoscalers.' }),
  state: z
    .string()
    .optional()
    .meta({ description: 'One word for people: Running, Pending, Updating …' }),
  conditions: z.array(condition).optional(),
  instances: z.array(instanceStatus).optional(),
});
export type ServiceStatus = z.infer<typeof serviceStatus>;

/** Kind Service (services.nap.dev). A Project makes one for each entry; usable alone too. */
export interface Service extends KubeObject {
  readonly spec: z.input<typeof serviceSpec>;
  readonly status?: ServiceStatus;
}
