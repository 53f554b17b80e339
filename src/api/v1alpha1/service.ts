import { z } from 'zod';
import { conditions } from './conditions.ts';
import type { KubeObject } from './meta.ts';
import { rule } from './schema-extensions.ts';
import type { serviceSpec } from './service-spec.ts';

export const instanceStatus = z.object({
  name: z.string().meta({ description: 'Name of the instance: hostname and DNS name.' }),
  ordinal: z.int().meta({ description: 'Its number within the service, from 1.' }),
  host: z.string().optional().meta({ description: 'Host that it is placed on.' }),
  ip: z.string().optional().meta({ description: 'Address in the overlay.' }),
  phase: z.string().meta({
    description:
      'Pending, Placed, Pulling, Creating, Starting, Running, Stopping, Exited, Failed or Lost.',
  }),
  ready: z.boolean().meta({ description: 'Whether it serves.' }),
  restarts: z.int().meta({ description: 'How often its container was started again.' }),
  health: z.string().optional().meta({
    description: 'starting, healthy or unhealthy, by its health check; absent without one.',
  }),
  flaps: z
    .int()
    .optional()
    .meta({ description: 'How often its container has gone from healthy to unhealthy.' }),
  reason: z
    .string()
    .optional()
    .meta({ description: 'CamelCase reason why it is pending, was restarted, moved or refused.' }),
  message: z.string().optional().meta({ description: 'The same for people.' }),
});
export type InstanceStatus = z.infer<typeof instanceStatus>;

export const serviceStatus = z.object({
  observedGeneration: z
    .int()
    .optional()
    .meta({ description: 'The metadata.generation that this status was computed from.' }),
  replicas: z.int().optional().meta({ description: 'Instances that exist.' }),
  readyReplicas: z.int().optional().meta({ description: 'Instances that serve.' }),
  updatedReplicas: z.int().optional().meta({ description: 'Instances that run the present spec.' }),
  readyInstances: z
    .string()
    .optional()
    .meta({ description: 'Ready instances of all wanted, for people: "3/3".' }),
  selector: z.string().optional().meta({ description: 'For kubectl scale and autoscalers.' }),
  state: z
    .string()
    .optional()
    .meta({ description: 'One word for people: Running, Pending, Updating, Failed …' }),
  conditions: conditions.optional(),
  instances: z
    .array(instanceStatus)
    .optional()
    .meta({
      description: 'Each instance, by ordinal.',
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['name'],
    }),
});
export type ServiceStatus = z.infer<typeof serviceStatus>;

/** Kind Service (services.nap.dev). A Project makes one for each entry; usable alone too. */
export interface Service extends KubeObject {
  readonly spec: z.input<typeof serviceSpec>;
  readonly status?: ServiceStatus;
}

/** Rules over the whole object. */
export const serviceRules = [
  rule(
    "!self.metadata.name.contains('.')",
    'the name of a service becomes a host name: use lower-case letters, digits and "-" only, no "."',
  ),
  rule(
    'size(self.metadata.name) + (has(self.spec.replicas) ? size(string(self.spec.replicas)) : 1) + 1 <= 63',
    'instances are called SERVICE-NUMBER, which may have at most 63 characters: shorten the name',
  ),
];
