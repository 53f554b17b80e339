export const group = 'nap.dev';
export const version = 'v1alpha1';
export const apiVersion = `${group}/${version}`;

/** Labels and annotations that nap puts on Kubernetes objects and containers. */
export const labels = {
  project: 'nap.dev/project',
  service: 'nap.dev/service',
  namespace: 'nap.dev/namespace',
  ordinal: 'nap.dev/ordinal',
  /** On containers of the second seat only (api/v1alpha1/seat.ts): "b". */
  seat: 'nap.dev/seat',
  /** On containers: the placement's id. */
  instance: 'nap.dev/instance',
  /** On containers: content hash of the container spec that it was made from. */
  specHash: 'nap.dev/spec-hash',
  /** On containers with hooks for their end: these, as JSON, so that they are known when the placement is gone. */
  stopHooks: 'nap.dev/stop-hooks',
  /** On the container of a hook, which is no instance: which hook it is, e.g. "startPre/0". */
  hook: 'nap.dev/hook',
  /** On the container of a hook: id of the container that it belongs to, and which run of that. */
  hookOf: 'nap.dev/hook-of',
  /** On containers, networks and volumes: name of the host (agent) that owns them. */
  host: 'nap.dev/host',
  /** On Services that are runs of a scheduled one: that one's name in its project. */
  schedule: 'nap.dev/schedule',
  /** On containers that stop when their host loses touch with the cluster: "stop". */
  fencing: 'nap.dev/fencing',
} as const;

/** On containers that run one command and go: name of the host whose agent made them. */
export const onceLabel = 'nap.dev/once';

/** On Services: "true" while their Project is paused. */
export const pausedAnnotation = 'nap.dev/paused';

/** On Services: number of the Project's revision that they were made from. */
export const revisionAnnotation = 'nap.dev/revision';

/** On Services of type oneshot: any text; another one is another run. Projects count their pre-deploy job's runs with it. */
export const runAnnotation = 'nap.dev/run';

/** On Services of type oneshot: the run (the text above) that needs not be made, since it has been. */
export const ranAnnotation = 'nap.dev/ran';

/** On runs of a scheduled Service: the time that they are for, RFC 3339. */
export const scheduledAtAnnotation = 'nap.dev/scheduled-at';

/** On Secrets with a certificate that the operator obtained: URL of the authority's directory. Others it never touches. */
export const acmeDirectoryAnnotation = 'nap.dev/acme-directory';

/** On the same: the names that the certificate is for, and the Service that asked for it. */
export const acmeNamesAnnotation = 'nap.dev/acme-names';
export const acmeServiceAnnotation = 'nap.dev/acme-service';

/** Holds a deleted Project or Service back until nothing of it runs on any host. */
export const finalizer = 'nap.dev/teardown';
