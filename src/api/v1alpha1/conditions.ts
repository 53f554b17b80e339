import { z } from 'zod';

/** metav1.Condition. Types follow kstatus: Ready, Reconciling, Stalled; and nap's own Scheduled. */
export const condition = z.object({
  type: z
    .string()
    .meta({ description: 'Name of the condition: Ready, Reconciling, Stalled, Scheduled.' }),
  status: z
    .enum(['True', 'False', 'Unknown'])
    .meta({ description: 'Whether it holds; Unknown when that cannot be told.' }),
  observedGeneration: z
    .int()
    .optional()
    .meta({ description: 'The metadata.generation that the condition was computed from.' }),
  lastTransitionTime: z.string().meta({
    format: 'date-time',
    description: 'When the status last went from one value to another.',
  }),
  reason: z.string().meta({ description: 'CamelCase reason of the last transition.' }),
  message: z.string().meta({ description: 'The same for people.' }),
});
export type Condition = z.infer<typeof condition>;

/** A status's list of conditions, one of each type. */
export const conditions = z.array(condition).meta({
  description: 'Conditions as kstatus reads them (kubectl wait, Flux, Argo CD).',
  'x-kubernetes-list-type': 'map',
  'x-kubernetes-list-map-keys': ['type'],
});
