import { z } from 'zod';
import { conditions } from './conditions.ts';
import type { KubeObject } from './meta.ts';
import { projectPlacementRules } from './placement-spec.ts';
import { networkSpec } from './network-spec.ts';
import { rule } from './schema-extensions.ts';
import { configDefinition } from './config-mount.ts';
import { serviceSpec } from './service-spec.ts';
import { volumeDefinitions } from './volume-definition.ts';

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
        "self.all(name, !has(self[name].links) || self[name].links.all(link, link.contains('/') || link.split(':')[0] in self))",
        'a link must name a service of this project (SERVICE or SERVICE:ALIAS) or of another one (PROJECT/SERVICE): one of the links names none',
      ),
      rule(
        'self.all(name, !has(self[name].network))',
        'in a Project, isolation is the same for all its services: say it once, under spec.network',
      ),
      ...projectPlacementRules,
    ],
  }),
  network: networkSpec('How the network treats the project: {isolation: strict}.'),
  volumes: volumeDefinitions(
    'How the named volumes of the project are made and how long they live, by the name that services mount them under; ' +
      'one that is not defined here is a local one that is retained: {data: {reclaimPolicy: delete}, "logs-%i": {driver: local}}.',
  ),
  configs: z
    .record(z.string(), configDefinition)
    .meta({
      description:
        'Contents of files that services mount (as source, under configs of a service): ' +
        '{app: {content: "debug = false"}, key: {secret: {name: tls, key: tls.key}}}.',
      maxProperties: 100,
    })
    .optional(),
  preDeploy: z
    .string()
    .max(63)
    .meta({
      description:
        'A oneshot of the project that runs to its end on each new revision, before any other service is made or changed: ' +
        'migrate. If it fails, the release has failed: nothing else is touched, and the last revision that was ready goes on. ' +
        'Once for each revision: neither a rollback nor rollbackTo runs it again for one that it has succeeded for; ' +
        'what it did is not undone. It may depend on no other service of the project.',
    })
    .optional(),
  rebalance: z
    .enum(['off', 'on'])
    .meta({
      description:
        'Whether instances move when hosts have become unequal, e.g. when one has joined: "on" or "off" (in quotes: bare ' +
        'words are booleans in YAML). Default: off. Each is started on its new host before it is stopped on the old one. ' +
        'Only services with strategy spread, at rest, and bound to no host by volumes, machineID or machineOf. ' +
        'status.rebalance says what would move, also when it is off.',
    })
    .optional(),
  rebalanceMoves: z
    .int()
    .min(1)
    .max(100)
    .meta({
      description: 'Most instances that rebalancing moves at a time. Default 1. Example: 2.',
      format: 'int32',
    })
    .optional(),
  paused: z
    .boolean()
    .meta({
      description:
        'true: nothing of the project is changed, whatever the spec says, and updates stop where they are; what fails or ' +
        'loses its host is still made anew.',
    })
    .optional(),
  rollbackTo: z
    .int()
    .min(1)
    .meta({
      description:
        'Runs this revision (status.revisions lists those that are kept) in place of what services, volumes and configs ' +
        'say, for as long as it stands here: 3. Replicas stay as they are.',
    })
    .optional(),
  revisionHistoryLimit: z.int().min(0).max(100).default(10).meta({
    description: 'How many old revisions are kept besides the one that runs.',
    format: 'int32',
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
  rebalance: z.array(z.string()).optional().meta({
    description:
      'Moves that would make hosts more equal, at most 20: "shop-web-3 from a to b: a has 3 of the service, b none".',
    'x-kubernetes-list-type': 'atomic',
  }),
  instances: z.string().optional().meta({ description: 'Ready instances of all: "6/6".' }),
  url: z.string().optional().meta({
    description: 'First of the URLs of its services, which have all of theirs in their status.',
  }),
  revision: z
    .int()
    .optional()
    .meta({ description: 'Number of the revision that runs, or is being brought to run.' }),
  revisions: z
    .array(
      z.object({
        number: z.int().meta({ description: 'For spec.rollbackTo.' }),
        createdAt: z.string().meta({ format: 'date-time', description: 'When the spec said so.' }),
        state: z.string().meta({
          description: 'Ready: all of it was ready once; Failed: taken back; New: neither.',
        }),
      }),
    )
    .optional()
    .meta({
      description: 'The revisions that are kept, oldest first.',
      'x-kubernetes-list-type': 'atomic',
    }),
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
    '!has(self.spec.preDeploy) || self.spec.preDeploy in self.spec.services',
    'preDeploy must name a service of this project',
  ),
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
