/** Names one instance: ordinal `ordinal` (from 1, in decimal) of a service of a project of a namespace. */
export interface InstanceKey {
  readonly namespace: string;
  /** `standaloneProject` for a Service that no Project owns. */
  readonly project: string;
  readonly service: string;
  readonly ordinal: string;
}

/** Which service: what its instances have in common. */
export type ServiceIdentity = Omit<InstanceKey, 'ordinal'>;

/** Stands where a project's name would, for Services that no Project owns. Not a valid Kubernetes name, so it cannot clash. */
export const standaloneProject = '_';

/** Longest DNS label (RFC 1035, 2.3.4), and so the longest name of an instance. */
export const maxLabelLength = 63;

/** RFC 1123 label, as Kubernetes checks it; the length is checked apart. */
export const dnsLabelPattern = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;

export function isDnsLabel(name: string): boolean {
  return name.length <= maxLabelLength && dnsLabelPattern.test(name);
}

/** `<project>-<service>-<ordinal>`, or `<service>-<ordinal>` for a standalone service: hostname and DNS name. */
export function instanceName(key: InstanceKey): string {
  const service = `${key.service}-${key.ordinal}`;
  return key.project === standaloneProject ? service : `${key.project}-${service}`;
}

/** A map key: unique for each instance of the cluster. */
export function instanceId(key: InstanceKey): string {
  return `${serviceId(key)}/${key.ordinal}`;
}

/** A map key: unique for each service of the cluster. */
export function serviceId(identity: ServiceIdentity): string {
  return `${identity.namespace}/${identity.project}/${identity.service}`;
}

/** metadata.name of the Service object that a Project makes for its entry `service`. */
export function ownedServiceName(project: string, service: string): string {
  return `${project}-${service}`;
}

/**
 * Name of a project's volume on a host, in Docker: `<namespace>_<project>_<volume>`. A standalone service is a project
 * of its own, so that two of them in one namespace never share data by accident: `<namespace>__<service>_<volume>`.
 * Unambiguous, since namespaces, projects and services hold no underscore.
 */
export function dockerVolumeName(identity: ServiceIdentity, volume: string): string {
  const project =
    identity.project === standaloneProject ? `_${identity.service}` : identity.project;
  return `${identity.namespace}_${project}_${volume}`;
}
