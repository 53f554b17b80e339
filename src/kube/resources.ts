import { group, version } from '../api/v1alpha1/group.ts';
import type { Host } from '../api/v1alpha1/host.ts';
import type { KubeObject } from '../api/v1alpha1/meta.ts';
import type { Project } from '../api/v1alpha1/project.ts';
import type { Service } from '../api/v1alpha1/service.ts';

/** Where the API server serves one kind, and what its objects look like. */
export interface ResourceDefinition<T extends KubeObject = KubeObject> {
  /** API group; '' is the core group. */
  readonly group: string;
  readonly version: string;
  /** Name in paths, e.g. "projects". */
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  /** Never set: carries the type of the objects. */
  readonly object?: T;
}

/** core/v1 ConfigMap. */
export interface ConfigMap extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
  readonly binaryData?: Readonly<Record<string, string>>;
}

/** core/v1 Secret. Values are base64. */
export interface Secret extends KubeObject {
  readonly type?: string;
  readonly data?: Readonly<Record<string, string>>;
}

/** coordination.k8s.io/v1 Lease. Times are MicroTime: RFC 3339 with exactly six fractional digits. */
export interface Lease extends KubeObject {
  readonly spec?: {
    readonly holderIdentity?: string | null;
    readonly leaseDurationSeconds?: number | null;
    readonly acquireTime?: string | null;
    readonly renewTime?: string | null;
    readonly leaseTransitions?: number | null;
  };
}

/** What an Event is about. */
export interface ObjectReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
}

/** core/v1 Event. firstTimestamp and lastTimestamp have whole seconds, eventTime is MicroTime. */
export interface CoreEvent extends KubeObject {
  readonly involvedObject: ObjectReference;
  readonly reason?: string;
  readonly message?: string;
  readonly type?: string;
  readonly count?: number;
  readonly firstTimestamp?: string | null;
  readonly lastTimestamp?: string | null;
  readonly eventTime?: string | null;
  readonly action?: string;
  readonly source?: { readonly component?: string; readonly host?: string };
  readonly reportingComponent?: string;
  readonly reportingInstance?: string;
}

function define<T extends KubeObject>(
  ofGroup: string,
  ofVersion: string,
  plural: string,
  kind: string,
  namespaced = true,
): ResourceDefinition<T> {
  return { group: ofGroup, version: ofVersion, plural, kind, namespaced };
}

export const projects = define<Project>(group, version, 'projects', 'Project');
export const services = define<Service>(group, version, 'services', 'Service');
export const hosts = define<Host>(group, version, 'hosts', 'Host', false);
export const namespaces = define('', 'v1', 'namespaces', 'Namespace', false);
export const configMaps = define<ConfigMap>('', 'v1', 'configmaps', 'ConfigMap');
export const secrets = define<Secret>('', 'v1', 'secrets', 'Secret');
export const coreEvents = define<CoreEvent>('', 'v1', 'events', 'Event');
export const leases = define<Lease>('coordination.k8s.io', 'v1', 'leases', 'Lease');

/** "v1" or "nap.dev/v1alpha1". */
export function apiVersionOf(resource: ResourceDefinition): string {
  return resource.group === '' ? resource.version : `${resource.group}/${resource.version}`;
}

/** Which object of a resource. `namespace` is left out for cluster-scoped resources. */
export interface ObjectName {
  readonly namespace?: string;
  readonly name: string;
}

/** Path of a collection; of all namespaces when `namespace` is not given. */
export function collectionPath(resource: ResourceDefinition, namespace?: string): string {
  const root = resource.group === '' ? '/api' : `/apis/${resource.group}`;
  const scope =
    resource.namespaced && namespace !== undefined
      ? `/namespaces/${encodeURIComponent(namespace)}`
      : '';
  return `${root}/${resource.version}${scope}/${resource.plural}`;
}

/** Path of one object, or of its subresource. Throws TypeError for a namespaced object without a namespace. */
export function objectPath(
  resource: ResourceDefinition,
  name: ObjectName,
  subresource?: 'status' | 'scale',
): string {
  if (resource.namespaced && name.namespace === undefined) {
    throw new TypeError(`${resource.kind} ${name.name}: a namespace is needed`);
  }
  const path = `${collectionPath(resource, name.namespace)}/${encodeURIComponent(name.name)}`;
  return subresource === undefined ? path : `${path}/${subresource}`;
}
