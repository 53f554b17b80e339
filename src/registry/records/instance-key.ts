/** Names one instance: ordinal `ordinal` (from 1, in decimal) of a service of a project of a namespace. */
export interface InstanceKey {
  readonly namespace: string;
  /** `standaloneProject` for a Service that no Project owns. */
  readonly project: string;
  readonly service: string;
  readonly ordinal: string;
}

/** Stands where a project's name would, for Services that no Project owns. Not a valid Kubernetes name, so it cannot clash. */
export const standaloneProject = '_';

/** `<project>-<service>-<ordinal>`, or `<service>-<ordinal>` for a standalone service: hostname and DNS name. */
export function instanceName(key: InstanceKey): string {
  const service = `${key.service}-${key.ordinal}`;
  return key.project === standaloneProject ? service : `${key.project}-${service}`;
}

/** A map key: unique for each instance of the cluster. */
export function instanceId(key: InstanceKey): string {
  return `${key.namespace}/${key.project}/${key.service}/${key.ordinal}`;
}
