import type { KubeObject } from '../api/v1alpha1/meta.ts';
import type { KubeClient } from './client.ts';
import { isNotFound } from './errors.ts';
import type { ResourceDefinition } from './resources.ts';

/** Whether `finalizer` holds the object. */
export function hasFinalizer(object: KubeObject, finalizer: string): boolean {
  return object.metadata.finalizers?.includes(finalizer) ?? false;
}

/** Adds it when it is absent and the object is not being deleted; gives the object as it is then. */
export async function addFinalizer<T extends KubeObject>(
  client: KubeClient,
  resource: ResourceDefinition<T>,
  object: T,
  finalizer: string,
  signal?: AbortSignal,
): Promise<T> {
  if (object.metadata.deletionTimestamp !== undefined || hasFinalizer(object, finalizer)) {
    return object;
  }
  const finalizers = [...(object.metadata.finalizers ?? []), finalizer];
  return patchFinalizers(client, resource, object, finalizers, signal);
}

/** Removes it if it is there. An object that is gone already is fine. */
export async function removeFinalizer<T extends KubeObject>(
  client: KubeClient,
  resource: ResourceDefinition<T>,
  object: T,
  finalizer: string,
  signal?: AbortSignal,
): Promise<void> {
  if (!hasFinalizer(object, finalizer)) return;
  const finalizers = (object.metadata.finalizers ?? []).filter((other) => other !== finalizer);
  try {
    await patchFinalizers(client, resource, object, finalizers, signal);
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

/** With the resource version as a precondition: others' finalizers must not be lost to a stale list. */
function patchFinalizers<T extends KubeObject>(
  client: KubeClient,
  resource: ResourceDefinition<T>,
  object: T,
  finalizers: readonly string[],
  signal?: AbortSignal,
): Promise<T> {
  const { resourceVersion } = object.metadata;
  const body = {
    metadata: { finalizers, ...(resourceVersion !== undefined && { resourceVersion }) },
  };
  return client.patch(resource, object.metadata, { type: 'merge', body }, signal);
}
