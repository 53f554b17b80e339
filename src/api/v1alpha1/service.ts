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

const time = (description: string) =>
  z.string().optional().meta({ format: 'date-time', description });

const runSummary = z.object({
  name: z.string().meta({ description: 'Name of its Service object.' }),
  scheduledAt: z.string().meta({ format: 'date-time', description: 'The time that it is for.' }),
  state: z.string().meta({ description: 'Running, Completed, Failed …' }),
  completionTime: time('When it was done.'),
});

const scheduleStatus = z.object({
  observed: z.string().optional().meta({
    description: 'Cron expression and time zone that nextScheduleTime was computed from.',
  }),
  lastScheduleTime: time('The last time that a run was started for, or left out.'),
  lastSuccessfulTime: time('When a run was last done.'),
  nextScheduleTime: time('When the next run is due.'),
  active: z.int().optional().meta({ description: 'Runs that have not ended.' }),
  runs: z.array(runSummary).optional().meta({
    description: 'The runs that are kept, the latest first.',
    'x-kubernetes-list-type': 'atomic',
  }),
});
export type ScheduleStatus = z.infer<typeof scheduleStatus>;

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
  virtualIP: z.string().optional().meta({
    description:
      'Address in the overlay that stands for all instances; absent with endpointMode dns, or while there is none to be had.',
  }),
  selector: z.string().optional().meta({ description: 'For kubectl scale and autoscalers.' }),
  state: z
    .string()
    .optional()
    .meta({ description: 'One word for people: Running, Pending, Updating, Failed …' }),
  run: z.string().optional().meta({
    description: 'Of a oneshot: the run (annotation nap.dev/run) that this status is about.',
  }),
  completions: z
    .string()
    .optional()
    .meta({ description: 'Of a oneshot: instances that have succeeded, of all: "2/4".' }),
  succeeded: z.int().optional().meta({ description: 'Instances that have ended with success.' }),
  failed: z.int().optional().meta({ description: 'Tries that have failed.' }),
  active: z.int().optional().meta({ description: 'Instances that run, or are about to.' }),
  startTime: time('When the present run began.'),
  completionTime: time('When all of it was done.'),
  schedule: scheduleStatus.optional().meta({ description: 'Of a scheduled service: its runs.' }),
  urls: z.array(z.string()).optional().meta({
    description: 'Where its routes are served.',
    'x-kubernetes-list-type': 'atomic',
  }),
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
