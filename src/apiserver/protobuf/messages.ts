/*
 * The few protobuf messages of Kubernetes that clients send to this server, by field number, from the
 * generated.proto files of k8s.io/api and k8s.io/apimachinery. Fields that only a server fills in
 * (the status of reviews) are left out: decoders skip what they do not know.
 */

/** `type` is a scalar type of protobuf or the name of another message; `map` has string keys. */
interface FieldDescriptor {
  readonly id: number;
  readonly type: string;
  readonly rule?: 'repeated' | 'map';
  /** In Go a pointer: zero says something, and is kept. Elsewhere zero is absence. */
  readonly pointer?: boolean;
}

export type MessageDescriptor = Readonly<Record<string, FieldDescriptor>>;

const one = (id: number, type = 'string'): FieldDescriptor => ({ id, type });
const pointer = (id: number, type: string): FieldDescriptor => ({ id, type, pointer: true });
const many = (id: number, type = 'string'): FieldDescriptor => ({ id, type, rule: 'repeated' });
const map = (id: number, type = 'string'): FieldDescriptor => ({ id, type, rule: 'map' });

const metadata = one(1, 'ObjectMeta');

export const messages: Readonly<Record<string, MessageDescriptor>> = {
  TypeMeta: { apiVersion: one(1), kind: one(2) },
  Unknown: {
    typeMeta: one(1, 'TypeMeta'),
    raw: one(2, 'bytes'),
    contentEncoding: one(3),
    contentType: one(4),
  },
  // Time and MicroTime have one form on the wire; the name decides how it is printed.
  Time: { seconds: one(1, 'int64'), nanos: one(2, 'int32') },
  MicroTime: { seconds: one(1, 'int64'), nanos: one(2, 'int32') },
  FieldsV1: { Raw: one(1, 'bytes') },
  ObjectMeta: {
    name: one(1),
    generateName: one(2),
    namespace: one(3),
    selfLink: one(4),
    uid: one(5),
    resourceVersion: one(6),
    generation: one(7, 'int64'),
    creationTimestamp: one(8, 'Time'),
    deletionTimestamp: one(9, 'Time'),
    deletionGracePeriodSeconds: pointer(10, 'int64'),
    labels: map(11),
    annotations: map(12),
    ownerReferences: many(13, 'OwnerReference'),
    finalizers: many(14),
    managedFields: many(17, 'ManagedFieldsEntry'),
  },
  OwnerReference: {
    kind: one(1),
    name: one(3),
    uid: one(4),
    apiVersion: one(5),
    controller: pointer(6, 'bool'),
    blockOwnerDeletion: pointer(7, 'bool'),
  },
  ManagedFieldsEntry: {
    manager: one(1),
    operation: one(2),
    apiVersion: one(3),
    time: one(4, 'Time'),
    fieldsType: one(6),
    fieldsV1: one(7, 'FieldsV1'),
    subresource: one(8),
  },
  ObjectReference: {
    kind: one(1),
    namespace: one(2),
    name: one(3),
    uid: one(4),
    apiVersion: one(5),
    resourceVersion: one(6),
    fieldPath: one(7),
  },
  LocalObjectReference: { name: one(1) },
  Namespace: { metadata, spec: one(2, 'NamespaceSpec'), status: one(3, 'NamespaceStatus') },
  NamespaceSpec: { finalizers: many(1) },
  NamespaceStatus: { phase: one(1) },
  Secret: {
    metadata,
    data: map(2, 'bytes'),
    type: one(3),
    stringData: map(4),
    immutable: pointer(5, 'bool'),
  },
  ConfigMap: {
    metadata,
    data: map(2),
    binaryData: map(3, 'bytes'),
    immutable: pointer(4, 'bool'),
  },
  ServiceAccount: {
    metadata,
    secrets: many(2, 'ObjectReference'),
    imagePullSecrets: many(3, 'LocalObjectReference'),
    automountServiceAccountToken: pointer(4, 'bool'),
  },
  EventSource: { component: one(1), host: one(2) },
  EventSeries: { count: one(1, 'int32'), lastObservedTime: one(2, 'MicroTime') },
  CoreEvent: {
    metadata,
    involvedObject: one(2, 'ObjectReference'),
    reason: one(3),
    message: one(4),
    source: one(5, 'EventSource'),
    firstTimestamp: one(6, 'Time'),
    lastTimestamp: one(7, 'Time'),
    count: one(8, 'int32'),
    type: one(9),
    eventTime: one(10, 'MicroTime'),
    series: one(11, 'EventSeries'),
    action: one(12),
    related: one(13, 'ObjectReference'),
    reportingComponent: one(14),
    reportingInstance: one(15),
  },
  Event: {
    metadata,
    eventTime: one(2, 'MicroTime'),
    series: one(3, 'EventSeries'),
    reportingController: one(4),
    reportingInstance: one(5),
    action: one(6),
    reason: one(7),
    regarding: one(8, 'ObjectReference'),
    related: one(9, 'ObjectReference'),
    note: one(10),
    type: one(11),
    deprecatedSource: one(12, 'EventSource'),
    deprecatedFirstTimestamp: one(13, 'Time'),
    deprecatedLastTimestamp: one(14, 'Time'),
    deprecatedCount: one(15, 'int32'),
  },
  Lease: { metadata, spec: one(2, 'LeaseSpec') },
  LeaseSpec: {
    holderIdentity: pointer(1, 'string'),
    leaseDurationSeconds: pointer(2, 'int32'),
    acquireTime: one(3, 'MicroTime'),
    renewTime: one(4, 'MicroTime'),
    leaseTransitions: pointer(5, 'int32'),
    strategy: one(6),
    preferredHolder: one(7),
  },
  ResourceAttributes: {
    namespace: one(1),
    verb: one(2),
    group: one(3),
    version: one(4),
    resource: one(5),
    subresource: one(6),
    name: one(7),
  },
  NonResourceAttributes: { path: one(1), verb: one(2) },
  ExtraValue: { items: many(1) },
  SelfSubjectAccessReview: { metadata, spec: one(2, 'SelfSubjectAccessReviewSpec') },
  SelfSubjectAccessReviewSpec: {
    resourceAttributes: one(1, 'ResourceAttributes'),
    nonResourceAttributes: one(2, 'NonResourceAttributes'),
  },
  SubjectAccessReview: { metadata, spec: one(2, 'SubjectAccessReviewSpec') },
  SubjectAccessReviewSpec: {
    resourceAttributes: one(1, 'ResourceAttributes'),
    nonResourceAttributes: one(2, 'NonResourceAttributes'),
    user: one(3),
    groups: many(4),
    extra: map(5, 'ExtraValue'),
    uid: one(6),
  },
  SelfSubjectRulesReview: { metadata, spec: one(2, 'SelfSubjectRulesReviewSpec') },
  SelfSubjectRulesReviewSpec: { namespace: one(1) },
  SelfSubjectReview: { metadata },
  TokenRequest: { metadata, spec: one(2, 'TokenRequestSpec') },
  TokenRequestSpec: {
    audiences: many(1),
    boundObjectRef: one(3, 'BoundObjectReference'),
    expirationSeconds: pointer(4, 'int64'),
  },
  BoundObjectReference: { kind: one(1), apiVersion: one(2), name: one(3), uid: one(4) },
  DeleteOptions: {
    gracePeriodSeconds: pointer(1, 'int64'),
    preconditions: one(2, 'Preconditions'),
    orphanDependents: pointer(3, 'bool'),
    propagationPolicy: pointer(4, 'string'),
    dryRun: many(5),
  },
  Preconditions: { uid: pointer(1, 'string'), resourceVersion: pointer(2, 'string') },
};

/** Message of an object by `apiVersion/kind`. */
const messageNames: Readonly<Record<string, string>> = {
  'v1/Namespace': 'Namespace',
  'v1/Secret': 'Secret',
  'v1/ConfigMap': 'ConfigMap',
  'v1/ServiceAccount': 'ServiceAccount',
  'v1/Event': 'CoreEvent',
  'events.k8s.io/v1/Event': 'Event',
  'coordination.k8s.io/v1/Lease': 'Lease',
  'authorization.k8s.io/v1/SelfSubjectAccessReview': 'SelfSubjectAccessReview',
  'authorization.k8s.io/v1/SelfSubjectRulesReview': 'SelfSubjectRulesReview',
  'authorization.k8s.io/v1/SubjectAccessReview': 'SubjectAccessReview',
  'authorization.k8s.io/v1/LocalSubjectAccessReview': 'SubjectAccessReview',
  'authentication.k8s.io/v1/SelfSubjectReview': 'SelfSubjectReview',
  'authentication.k8s.io/v1/TokenRequest': 'TokenRequest',
};

/** The message that holds an object of this kind; undefined if this server does not decode it. */
export function messageOf(apiVersion: string, kind: string): string | undefined {
  // Every group version has DeleteOptions of its own, all alike.
  if (kind === 'DeleteOptions') return 'DeleteOptions';
  const name = `${apiVersion}/${kind}`;
  return Object.hasOwn(messageNames, name) ? messageNames[name] : undefined;
}
