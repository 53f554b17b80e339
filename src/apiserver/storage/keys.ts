import type { Resource } from '../resources/resource.ts';

/** Everything of the embedded API server lives under this prefix of the store. */
export const storagePrefix = '/nap/apiserver/';

/** Where one kind lives; with a namespace, the part of it in that namespace. */
export function collectionPrefix(
  resource: Pick<Resource, 'storage' | 'namespaced'>,
  namespace?: string,
): string {
  const folder = `${storagePrefix}${resource.storage}/`;
  if (!resource.namespaced) return `${folder}cluster/`;
  return namespace === undefined ? folder : `${folder}${namespace}/`;
}

export function objectKey(
  resource: Pick<Resource, 'storage' | 'namespaced'>,
  namespace: string | undefined,
  name: string,
): string {
  return `${collectionPrefix(resource, namespace)}${name}`;
}

/** `<group or core>/<resource>` of a key, or undefined for a key of another shape. */
export function storageOfKey(key: string): string | undefined {
  const parts = key.slice(storagePrefix.length).split('/');
  return parts.length === 4 ? `${parts[0] ?? ''}/${parts[1] ?? ''}` : undefined;
}
