import {
  managedFieldsEntrySchema,
  objectMetaSchema,
  ownerReferenceSchema,
} from '../schema/object-meta.ts';
import type { JsonSchema } from '../schema/types.ts';
import type { ApiKind } from './api-kind.ts';
import { bool, integer, list, object, text } from './schema-builders.ts';

const metaPackage = 'io.k8s.apimachinery.pkg.apis.meta.v1';

/** A schema as published: it may refer to another definition by name instead of having content. */
export interface PublishedSchema extends Omit<JsonSchema, 'properties' | 'items'> {
  /** Name of a definition. */
  readonly ref?: string;
  readonly properties?: Readonly<Record<string, PublishedSchema>>;
  readonly items?: PublishedSchema;
  readonly 'x-kubernetes-group-version-kind'?: readonly GroupVersionKind[];
}

export interface GroupVersionKind {
  readonly group: string;
  readonly kind: string;
  readonly version: string;
}

export const metaNames = {
  objectMeta: `${metaPackage}.ObjectMeta`,
  ownerReference: `${metaPackage}.OwnerReference`,
  managedFieldsEntry: `${metaPackage}.ManagedFieldsEntry`,
  listMeta: `${metaPackage}.ListMeta`,
  deleteOptions: `${metaPackage}.DeleteOptions`,
  status: `${metaPackage}.Status`,
  patch: `${metaPackage}.Patch`,
  scale: 'io.k8s.api.autoscaling.v1.Scale',
  intOrString: 'io.k8s.apimachinery.pkg.util.intstr.IntOrString',
} as const;

export function groupVersionKind(kind: ApiKind): GroupVersionKind {
  return { group: kind.group, kind: kind.kind, version: kind.version };
}

/** Group and version as in apiVersion. */
export function groupVersionOf(kind: ApiKind): string {
  return kind.group === '' ? kind.version : `${kind.group}/${kind.version}`;
}

/** Kubernetes' names: `dev.nap.v1alpha1.Project`, `io.k8s.api.core.v1.Secret`. */
export function definitionName(kind: ApiKind): string {
  if (kind.group === 'apiextensions.k8s.io') {
    return `io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.${kind.version}.${kind.kind}`;
  }
  const short = /^([a-z]+)\.k8s\.io$/.exec(kind.group)?.[1];
  const reversed = kind.group.split('.').reverse().join('.');
  const prefix = kind.group === '' ? 'io.k8s.api.core' : short ? `io.k8s.api.${short}` : reversed;
  return `${prefix}.${kind.version}.${kind.kind}`;
}

const apiVersion = text(
  'APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas ' +
    'to the latest internal value, and may reject unrecognized values.',
);
const kindName = text(
  'Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint ' +
    'the client submits requests to. Cannot be updated. In CamelCase.',
);

/** The definitions that the given kinds need, by name: themselves, their lists and the shared ones. */
export function definitions(kinds: readonly ApiKind[]): Map<string, PublishedSchema> {
  const out = new Map<string, PublishedSchema>();
  for (const kind of kinds) {
    out.set(definitionName(kind), publishedKind(kind));
    out.set(`${definitionName(kind)}List`, publishedList(kind));
  }
  for (const [name, schema] of sharedDefinitions(kinds)) out.set(name, schema);
  return new Map([...out].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function publishedKind(kind: ApiKind): PublishedSchema {
  return {
    ...kind.schema,
    properties: {
      apiVersion,
      kind: kindName,
      metadata: {
        description:
          "Standard object's metadata: name, namespace, labels, annotations and what the system keeps.",
        ref: metaNames.objectMeta,
      },
      ...without(kind.schema.properties ?? {}, ['apiVersion', 'kind', 'metadata']),
    },
    'x-kubernetes-group-version-kind': [groupVersionKind(kind)],
  };
}

function without<T>(record: Readonly<Record<string, T>>, names: readonly string[]) {
  return Object.fromEntries(Object.entries(record).filter(([name]) => !names.includes(name)));
}

function publishedList(kind: ApiKind): PublishedSchema {
  return {
    type: 'object',
    description: `${kind.kind}List is a list of ${kind.kind}`,
    required: ['items'],
    properties: {
      apiVersion,
      kind: kindName,
      metadata: { description: 'Standard list metadata.', ref: metaNames.listMeta },
      items: {
        type: 'array',
        description: `List of ${kind.plural}.`,
        items: { ref: definitionName(kind) },
      },
    },
    'x-kubernetes-group-version-kind': [{ ...groupVersionKind(kind), kind: `${kind.kind}List` }],
  };
}

function sharedDefinitions(kinds: readonly ApiKind[]): [string, PublishedSchema][] {
  const versions = new Map(kinds.map((kind) => [groupVersionOf(kind), kind]));
  const inEveryGroup = (name: string): GroupVersionKind[] =>
    [...versions.values()].map((kind) => ({ ...groupVersionKind(kind), kind: name }));
  const metaProperties = objectMetaSchema.properties ?? {};
  const shared: [string, PublishedSchema][] = [
    [metaNames.ownerReference, ownerReferenceSchema],
    [metaNames.managedFieldsEntry, managedFieldsEntrySchema],
    [
      metaNames.objectMeta,
      {
        ...objectMetaSchema,
        properties: {
          ...metaProperties,
          ownerReferences: {
            ...metaProperties['ownerReferences'],
            items: { ref: metaNames.ownerReference },
          },
          managedFields: {
            ...metaProperties['managedFields'],
            items: { ref: metaNames.managedFieldsEntry },
          },
        },
      },
    ],
    [metaNames.listMeta, listMeta],
    [metaNames.intOrString, intOrString],
    [
      metaNames.deleteOptions,
      { ...deleteOptions, 'x-kubernetes-group-version-kind': inEveryGroup('DeleteOptions') },
    ],
    [
      metaNames.status,
      {
        ...status,
        'x-kubernetes-group-version-kind': [{ group: '', version: 'v1', kind: 'Status' }],
      },
    ],
    [metaNames.patch, object('A patch to a Kubernetes object, of the request’s content type.', {})],
  ];
  if (kinds.some((kind) => kind.subresources.includes('scale'))) {
    const gvk = { group: 'autoscaling', version: 'v1', kind: 'Scale' };
    shared.push([metaNames.scale, { ...scale, 'x-kubernetes-group-version-kind': [gvk] }]);
  }
  return shared;
}

const intOrString: PublishedSchema = {
  'x-kubernetes-int-or-string': true,
  description: 'A whole number or a string.',
};

const listMeta: PublishedSchema = object('ListMeta describes metadata that lists must have.', {
  continue: text(
    'Set if the user set a limit on the number of items returned: the server has more data available, to be had with this value.',
  ),
  remainingItemCount: integer('The number of subsequent items in the list which are not included.'),
  resourceVersion: text(
    "String that identifies the server's internal version of this object, to start a watch from.",
  ),
  selfLink: text('Deprecated: a legacy read-only field that is no longer populated by the system.'),
});

const deleteOptions: PublishedSchema = object(
  'DeleteOptions may be provided when deleting an API object.',
  {
    apiVersion,
    kind: kindName,
    dryRun: list(
      { type: 'string' },
      'When present, indicates that modifications should not be persisted: "All".',
    ),
    gracePeriodSeconds: integer('The duration in seconds before the object should be deleted.'),
    orphanDependents: bool('Deprecated: please use the PropagationPolicy.'),
    preconditions: object('Must be fulfilled before a deletion is carried out.', {
      resourceVersion: text('Specifies the target ResourceVersion.'),
      uid: text('Specifies the target UID.'),
    }),
    propagationPolicy: text(
      'Whether and how garbage collection will be performed: Orphan, Background or Foreground.',
    ),
  },
);

const status: PublishedSchema = object(
  "Status is a return value for calls that don't return other objects.",
  {
    apiVersion,
    kind: kindName,
    code: integer('Suggested HTTP return code for this status, 0 if not set.'),
    details: {
      type: 'object',
      'x-kubernetes-preserve-unknown-fields': true,
      description: 'Extended data associated with the reason.',
    },
    message: text('A human-readable description of the status of this operation.'),
    metadata: { description: 'Standard list metadata.', ref: metaNames.listMeta } as JsonSchema,
    reason: text(
      'A machine-readable description of why this operation is in the "Failure" status.',
    ),
    status: text('Status of the operation: "Success" or "Failure".'),
  },
);

const scale: PublishedSchema = object('Scale represents a scaling request for a resource.', {
  apiVersion,
  kind: kindName,
  metadata: { description: 'Standard object metadata.', ref: metaNames.objectMeta } as JsonSchema,
  spec: object('Defines the behavior of the scale.', {
    replicas: integer('The desired number of instances for the scaled object.'),
  }),
  status: object('The current status of the scale. Read-only.', {
    replicas: integer('The actual number of observed instances of the scaled object.'),
    selector: text('The label query over the instances, in string form.'),
  }),
});
