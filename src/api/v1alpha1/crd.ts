import type { z } from 'zod';
import { group, version } from './group.ts';
import { hostSpec, hostStatus } from './host.ts';
import { projectRules, projectSpec, projectStatus } from './project.ts';
import type { ValidationRule } from './schema-extensions.ts';
import { serviceSpec } from './service-spec.ts';
import { serviceRules, serviceStatus } from './service.ts';
import { toStructuralSchema, type StructuralSchema } from './structural-schema.ts';

/** A column of `kubectl get`. */
export interface PrinterColumn {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'date';
  readonly jsonPath: string;
  readonly description: string;
  /** 1: only with -o wide. */
  readonly priority?: number;
}

/** apiextensions.k8s.io/v1 CustomResourceDefinition, as far as nap uses it. */
export interface CustomResourceDefinition {
  readonly apiVersion: 'apiextensions.k8s.io/v1';
  readonly kind: 'CustomResourceDefinition';
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly group: string;
    readonly scope: 'Namespaced' | 'Cluster';
    readonly names: {
      readonly plural: string;
      readonly singular: string;
      readonly kind: string;
      readonly listKind: string;
      readonly shortNames: readonly string[];
      readonly categories: readonly string[];
    };
    readonly versions: readonly {
      readonly name: string;
      readonly served: true;
      readonly storage: true;
      readonly additionalPrinterColumns: readonly PrinterColumn[];
      readonly subresources: {
        readonly status: Readonly<Record<string, never>>;
        readonly scale?: {
          readonly specReplicasPath: string;
          readonly statusReplicasPath: string;
          readonly labelSelectorPath: string;
        };
      };
      readonly schema: { readonly openAPIV3Schema: StructuralSchema };
    }[];
  };
}

interface Kind {
  readonly kind: string;
  readonly plural: string;
  readonly shortName: string;
  readonly scope: 'Namespaced' | 'Cluster';
  readonly categories: readonly string[];
  readonly description: string;
  readonly spec: z.ZodType;
  readonly specDescription: string;
  readonly specRequired: boolean;
  readonly status: z.ZodType;
  readonly rules: readonly ValidationRule[];
  readonly columns: readonly PrinterColumn[];
  readonly scale?: true;
}

function column(
  name: string,
  jsonPath: string,
  description: string,
  rest: Partial<PrinterColumn> = {},
): PrinterColumn {
  return { name, type: 'string', jsonPath, description, ...rest };
}

const wide = { priority: 1 };
const readyColumn = column(
  'Ready',
  '.status.conditions[?(@.type=="Ready")].status',
  'Whether all of it serves.',
);
const messageColumn = column(
  'Message',
  '.status.conditions[?(@.type=="Ready")].message',
  'What is ready, or what it waits for.',
  wide,
);
const ageColumn = column('Age', '.metadata.creationTimestamp', 'Time since it was created.', {
  type: 'date',
});

const project: Kind = {
  kind: 'Project',
  plural: 'projects',
  shortName: 'proj',
  scope: 'Namespaced',
  categories: ['nap', 'all'],
  description:
    'A Project is one application, what a compose file is: services that run in containers over many Docker hosts, ' +
    'find each other by name and are replaced when they or their hosts fail.',
  spec: projectSpec,
  specDescription: 'What shall run.',
  specRequired: true,
  status: projectStatus,
  rules: projectRules,
  columns: [
    readyColumn,
    column('Services', '.status.services', 'Ready services of all.'),
    column('Instances', '.status.instances', 'Ready instances of all.'),
    column('Status', '.status.state', 'The state in one word.'),
    column('URL', '.status.url', 'Where it is served, by its first route.'),
    ageColumn,
    messageColumn,
  ],
};

const service: Kind = {
  kind: 'Service',
  plural: 'services',
  shortName: 'napsvc',
  scope: 'Namespaced',
  categories: ['nap', 'all'],
  description:
    'A Service is a number of equal containers (instances) over many Docker hosts. A Project makes one for each of its ' +
    'services, called PROJECT-SERVICE; it is usable alone too.',
  spec: serviceSpec,
  specDescription: 'What shall run, and how many of it.',
  specRequired: true,
  status: serviceStatus,
  rules: serviceRules,
  columns: [
    readyColumn,
    column('Status', '.status.state', 'The state in one word.'),
    column('Instances', '.status.readyInstances', 'Ready instances of all wanted.'),
    column('Completions', '.status.completions', 'Of a oneshot: instances that succeeded, of all.'),
    column('Image', '.spec.image', 'The image that it runs.'),
    ageColumn,
    column('Virtual-IP', '.status.virtualIP', 'The address that stands for all instances.', wide),
    column('Schedule', '.spec.schedule.cron', 'When it runs, if not always.', wide),
    column('Last-Schedule', '.status.schedule.lastScheduleTime', 'Time of its last run.', {
      ...wide,
      type: 'date',
    }),
    column('Strategy', '.spec.placement.strategy', 'How hosts are chosen.', wide),
    messageColumn,
  ],
  scale: true,
};

const host: Kind = {
  kind: 'Host',
  plural: 'hosts',
  shortName: 'naphost',
  scope: 'Cluster',
  categories: ['nap'],
  description:
    'A Host is a machine with Docker on which instances run. Its agent makes it; labels on it are what ' +
    'placement.machineMetadata asks for.',
  spec: hostSpec,
  specDescription: 'What its owner wants of it.',
  specRequired: false,
  status: hostStatus,
  rules: [],
  columns: [
    column('Status', '.status.state', 'The state in one word.'),
    column('Address', '.status.address', 'Address by which other hosts reach it.'),
    column('Subnet', '.status.subnet', 'Overlay subnet of its containers.'),
    column('Instances', '.status.instances', 'Instances placed on it.', { type: 'integer' }),
    column('CPU', '.status.capacity.cpu', 'Processors that it has.'),
    column('Memory', '.status.capacity.memory', 'Memory that it has.'),
    column('Version', '.status.versions.agent', 'Version of nap on it.'),
    ageColumn,
    column('Reserved-CPU', '.status.allocated.cpu', 'Processors reserved by instances.', wide),
    column('Reserved-Memory', '.status.allocated.memory', 'Memory reserved by instances.', wide),
    column('Docker', '.status.versions.docker', 'Version of the Docker engine.', wide),
    column('Kernel', '.status.versions.kernel', 'Version of Linux.', wide),
    column('Machine', '.status.machineID', 'Machine ID.', wide),
  ],
};

/** The definitions of nap's kinds, ready to be applied. */
export function customResourceDefinitions(): CustomResourceDefinition[] {
  return [project, service, host].map(definition);
}

function definition(kind: Kind): CustomResourceDefinition {
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${kind.plural}.${group}` },
    spec: {
      group,
      scope: kind.scope,
      names: {
        plural: kind.plural,
        singular: kind.kind.toLowerCase(),
        kind: kind.kind,
        listKind: `${kind.kind}List`,
        shortNames: [kind.shortName],
        categories: kind.categories,
      },
      versions: [
        {
          name: version,
          served: true,
          storage: true,
          additionalPrinterColumns: kind.columns,
          subresources: {
            status: {},
            ...(kind.scale && {
              scale: {
                specReplicasPath: '.spec.replicas',
                statusReplicasPath: '.status.replicas',
                labelSelectorPath: '.status.selector',
              },
            }),
          },
          schema: { openAPIV3Schema: rootSchema(kind) },
        },
      ],
    },
  };
}

function rootSchema(kind: Kind): StructuralSchema {
  return {
    description: kind.description,
    type: 'object',
    ...(kind.specRequired && { required: ['spec'] }),
    ...(kind.rules.length > 0 && { 'x-kubernetes-validations': kind.rules }),
    properties: {
      apiVersion: { type: 'string', description: `${group}/${version}` },
      kind: { type: 'string', description: kind.kind },
      metadata: { type: 'object' },
      spec: { ...toStructuralSchema(kind.spec), description: kind.specDescription },
      status: {
        ...toStructuralSchema(kind.status),
        description: 'How it stands. Written by nap only.',
      },
    },
  };
}
