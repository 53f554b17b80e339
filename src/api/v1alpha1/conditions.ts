import { z } from 'zod';

/** metav1.Condition. Types follow kstatus: Ready, Reconciling, Stalled; and nap's own Scheduled. */
export const condition = z.object({
  type: z.string().meta({ description: 'Name of the condition, e.g. Ready.' }),
  status: z.enum(['True', 'False', 'Unknown']),
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
