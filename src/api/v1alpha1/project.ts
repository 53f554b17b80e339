import { z } from 'zod';
import { conditions } from './conditions.ts';
import type { KubeObject } from './meta.ts';
import { rule } from './schema-extensions.ts';
import { serviceSpec } from './service-spec.ts';

/** Most services of one project: bounds the cost of the rules over them. */
export const maxServices = 100;

export const projectSpec = z.object({
  services: z.record(z.string(), serviceSpec).meta({
    description:
      'The services of the application by name; the name is how they find each other: ' +
      '{web: {image: "guestbook:3", ports: ["80:80"]}, redis: {image: "redis:7"}}.',
    maxProperties: maxServices,
    'x-kubernetes-validations': [
      rule(
        "self.all(name, name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))",
        'names of services are made of lower-case letters, digits and "-", beginning and ending with a letter or digit, e.g. redis-master',
      ),
      rule(
        "self.all(name, !has(self[name].links) || self[name].links.all(link, link.split(':')[0] in self))",
        'a link must name a service of this project (SERVICE or SERVICE:ALIAS): one of the links names none',
      ),
    ],
  }),
});
export type ProjectSpecInput = z.input<typeof projectSpec>;
export type ProjectSpec = z.output<typeof projectSpec>;

export const projectStatus = z.object({
  observedGeneration: z
    .int()
    .optional()
    .meta({ description: 'The metadata.generation that this status was computed from.' }),
  state: z
    .string()
    .optional()
    .meta({ description: 'One word for people: Running, Pending, Updating, Failed …' }),
  services: z.string().optional().meta({ description: 'Ready services of all: "3/3".' }),
  instances: z.string().optional().meta({ description: 'Ready instances of all: "6/6".' }),
  conditions: conditions.optional(),
});
export type ProjectStatus = z.infer<typeof projectStatus>;

/** Kind Project: one application, what a compose file is. */
export interface Project extends KubeObject {
  readonly spec: ProjectSpecInput;
  readonly status?: ProjectStatus;
}

/** Rules over the whole object: what they need is not all under spec. */
export const projectRules = [
  rule(
    "!self.metadata.name.contains('.')",
    'the name of a project becomes part of host names: use lower-case letters, digits and "-" only, no "."',
  ),
  rule(
    'self.spec.services.all(name, size(self.metadata.name) + size(name) + ' +
      '(has(self.spec.services[name].replicas) ? size(string(self.spec.services[name].replicas)) : 1) + 2 <= 63)',
    'instances are called PROJECT-SERVICE-NUMBER, which may have at most 63 characters: shorten the name of the project or of a service',
  ),
];
