import { z } from 'zod';
import { condition } from './conditions.ts';
import type { KubeObject } from './meta.ts';
import { serviceSpec } from './service-spec.ts';

export const projectSpec = z.object({
  services: z.record(z.string(), serviceSpec).meta({
    description: 'The services of the application by name; the name is how they find each other.',
  }),
});
export type ProjectSpecInput = z.input<typeof projectSpec>;
export type ProjectSpec = z.output<typeof projectSpec>;

export const projectStatus = z.object({
  observedGeneration: z.int().optional(),
  state: z
    .string()
    .optional()
    .meta({ description: 'One word for people: Running, Pending, Updating …' }),
  services: z.string().optional().meta({ description: 'Ready services of all: "3/3".' }),
  instances: z.string().optional().meta({ description: 'Ready instances of all: "6/6".' }),
  conditions: z.array(condition).optional(),
});
export type ProjectStatus = z.infer<typeof projectStatus>;

/** Kind Project: one application, what a compose file is. */
export interface Project extends KubeObject {
  readonly spec: ProjectSpecInput;
  readonly status?: ProjectStatus;
}
