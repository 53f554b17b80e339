import type { JsonSchema } from '../schema/types.ts';
import type { ApiKind } from './api-kind.ts';
import { coreEventSchema, eventSchema } from './event-schemas.ts';
import { bool, integer, list, map, microTime, object, text, time } from './schema-builders.ts';

const namespace = object(
  'Namespace provides a scope for Names. Use of multiple namespaces is optional.',
  {
    spec: object('Spec defines the behavior of the Namespace.', {
      finalizers: list(
        { type: 'string' },
        'Finalizers is an opaque list of values that must be empty to permanently remove object from storage.',
      ),
    }),
    status: object('Status describes the current status of a Namespace.', {
      phase: text('Phase is the current lifecycle phase of the namespace: Active or Terminating.'),
      conditions: list(
        object(
          'NamespaceCondition contains details about state of namespace.',
          {
            type: text('Type of namespace controller condition.'),
            status: text('Status of the condition, one of True, False, Unknown.'),
            lastTransitionTime: time('Last time the condition transitioned.'),
            reason: text('Unique, one-word, CamelCase reason for the last transition.'),
            message: text('Human-readable message indicating details about last transition.'),
          },
          { required: ['type', 'status'] },
        ),
        "Represents the latest available observations of a namespace's current state.",
        { 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['type'] },
      ),
    }),
  },
);

const immutable = bool(
  'If true, the data cannot be updated: only object metadata can be modified.',
);

const secret = object(
  'Secret holds secret data of a certain type. The total bytes of the values in the Data field must be less than 1 MiB.',
  {
    data: map(
      { type: 'string', format: 'byte' },
      'Data contains the secret data. Each key must consist of alphanumeric characters, "-", "_" or ".". The serialized ' +
        'form of the secret data is a base64 encoded string, representing the arbitrary (possibly non-string) data value here.',
    ),
    stringData: map(
      { type: 'string' },
      'stringData allows specifying non-binary secret data in string form. It is a write-only input field for convenience: ' +
        'all keys and values are merged into the data field on write, overwriting any existing values.',
    ),
    type: text('Used to facilitate programmatic handling of secret data, e.g. Opaque.'),
    immutable,
  },
);

const configMap = object('ConfigMap holds configuration data for programs to consume.', {
  data: map(
    { type: 'string' },
    'Data contains the configuration data. Each key must consist of alphanumeric characters, "-", "_" or ".". Values with ' +
      'non-UTF-8 byte sequences must use the binaryData field.',
  ),
  binaryData: map(
    { type: 'string', format: 'byte' },
    'BinaryData contains the binary data, base64 encoded. Keys must not overlap with the ones in the data field.',
  ),
  immutable,
});

const serviceAccount = object(
  'ServiceAccount binds together a name, understood by users, and perhaps by peripheral systems, for an identity; and ' +
    'a principal that can be authenticated and authorized.',
  {
    secrets: list(
      object('A reference to a secret in the same namespace.', {
        kind: text('Kind of the referent.'),
        namespace: text('Namespace of the referent.'),
        name: text('Name of the referent.'),
        uid: text('UID of the referent.'),
        apiVersion: text('API version of the referent.'),
        resourceVersion: text('Specific resourceVersion to which this reference is made, if any.'),
        fieldPath: text('A piece of the object instead of the entire object.'),
      }),
      'Secrets is a list of the secrets in the same namespace that this account may use.',
    ),
    imagePullSecrets: list(
      object('A reference to a secret in the same namespace.', {
        name: text('Name of the referent.'),
      }),
      'References to secrets in the same namespace to use for pulling images.',
    ),
    automountServiceAccountToken: bool(
      'Whether programs that run as this service account have its token mounted.',
    ),
  },
);

const lease = object('Lease defines a lease concept: who holds something, and until when.', {
  spec: object('Specification of the Lease.', {
    holderIdentity: text('The identity of the holder of the current lease.'),
    leaseDurationSeconds: integer(
      'How long candidates for the lease need to wait to force acquire it, measured against the last observed renewTime.',
    ),
    acquireTime: microTime('When the current lease was acquired.'),
    renewTime: microTime('When the current holder of the lease last updated it.'),
    leaseTransitions: integer('The number of transitions of the lease between holders.'),
    strategy: text('The strategy for picking the leader for coordinated leader election.'),
    preferredHolder: text('A more optimal holder, to whom the lease should be given up.'),
  }),
});

const open: JsonSchema = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
const customResourceDefinition = object(
  'CustomResourceDefinition represents a resource that should be exposed on the API server. Its name MUST be in the ' +
    'format <.spec.name>.<.spec.group>.',
  {
    spec: {
      ...open,
      description:
        'How the user wants the resources to appear: group, names, scope and versions with their schemas.',
    },
    status: {
      ...open,
      description: 'Status indicates the actual state of the CustomResourceDefinition.',
    },
  },
);

const core = { group: '', version: 'v1', namespaced: true, subresources: [] };

/**
 * The built-in kinds of Kubernetes that the embedded server serves beside nap's own. Structural schemas:
 * they serve publishing, and can serve pruning, defaults and server-side apply as well. Descriptions
 * follow the Kubernetes API reference.
 */
export const builtinKinds: readonly ApiKind[] = [
  {
    ...core,
    kind: 'Namespace',
    plural: 'namespaces',
    namespaced: false,
    schema: namespace,
    subresources: ['status'],
  },
  { ...core, kind: 'Secret', plural: 'secrets', schema: secret },
  { ...core, kind: 'ConfigMap', plural: 'configmaps', schema: configMap },
  { ...core, kind: 'ServiceAccount', plural: 'serviceaccounts', schema: serviceAccount },
  { ...core, kind: 'Event', plural: 'events', schema: coreEventSchema },
  { ...core, group: 'events.k8s.io', kind: 'Event', plural: 'events', schema: eventSchema },
  { ...core, group: 'coordination.k8s.io', kind: 'Lease', plural: 'leases', schema: lease },
  {
    ...core,
    group: 'apiextensions.k8s.io',
    kind: 'CustomResourceDefinition',
    plural: 'customresourcedefinitions',
    namespaced: false,
    schema: customResourceDefinition,
    subresources: ['status'],
  },
];
