/** Objects of nap's kinds for the contract suite. */

export const apiVersion = 'nap.dev/v1alpha1';

export interface Fixture {
  apiVersion: string;
  kind: string;
  metadata: Record<string, unknown>;
  spec: Record<string, unknown>;
}

export function service(
  name: string,
  spec: Record<string, unknown> = {},
  metadata: Record<string, unknown> = {},
): Fixture {
  return {
    apiVersion,
    kind: 'Service',
    metadata: { name, ...metadata },
    spec: { image: 'redis:7', ...spec },
  };
}

export function project(
  name: string,
  services: Record<string, unknown> = { web: { image: 'nginx:1' } },
  metadata: Record<string, unknown> = {},
): Fixture {
  return { apiVersion, kind: 'Project', metadata: { name, ...metadata }, spec: { services } };
}

export const servicesPath = (namespace: string): string =>
  `/apis/${apiVersion}/namespaces/${namespace}/services`;

export const projectsPath = (namespace: string): string =>
  `/apis/${apiVersion}/namespaces/${namespace}/projects`;

export const tableAccept =
  'application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json';
