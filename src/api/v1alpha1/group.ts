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
  /** On containers, networks and volumes: name of the host (agent) that owns them. */
  host: 'nap.dev/host',
} as const;

/** On Services: "true" while their Project is paused. */
export const pausedAnnotation = 'nap.dev/paused';

/** On Services: number of the Project's revision that they were made from. */
export const revisionAnnotation = 'nap.dev/revision';

/** Holds a deleted Project or Service back until nothing of it runs on any host. */
export const finalizer = 'nap.dev/teardown';
