import { equalJson, isObject, type JsonObject } from '../api/json.ts';
import type { KubeObject } from '../api/v1alpha1/meta.ts';
import type { KubeClient } from './client.ts';
import type { ResourceDefinition } from './resources.ts';

/**
 * Makes the object's status equal to `status`, with a merge patch of what differs. Gives the object as it is then, or
 * `undefined`, without a write, when it is equal already: a needless write would wake every watcher, ourselves included,
 * for ever.
 */
export async function writeStatus<T extends KubeObject & { readonly status?: object }>(
  client: KubeClient,
  resource: ResourceDefinition<T>,
  object: T,
  status: NonNullable<T['status']>,
  signal?: AbortSignal,
): Promise<T | undefined> {
  const patch = mergePatch(object.status ?? {}, status);
  if (patch === undefined) return undefined;
  const { uid } = object.metadata;
  // The uid is a precondition: a new object of the same name must not get the status of the old one.
  const body = { ...(uid !== undefined && { metadata: { uid } }), status: patch };
  return client.patchStatus(resource, object.metadata, { type: 'merge', body }, signal);
}

/**
 * The RFC 7386 patch that makes `to` of `from`; `undefined` when they are equal. A property that is `undefined` counts
 * as absent. Arrays are replaced whole.
 */
export function mergePatch(from: unknown, to: unknown): unknown {
  if (!isObject(from) || !isObject(to)) return equalJson(from, to) ? undefined : to;
  const patch: JsonObject = {};
  for (const key of new Set([...Object.keys(from), ...Object.keys(to)])) {
    const [was, is] = [from[key], to[key]];
    if (is === undefined) {
      if (was !== undefined) patch[key] = null;
      continue;
    }
    // An object that is new goes in whole: a merge into nothing would keep its nulls out.
    const change = isObject(was) ? mergePatch(was, is) : equalJson(was, is) ? undefined : is;
    if (change !== undefined) patch[key] = change;
  }
  return Object.keys(patch).length === 0 ? undefined : patch;
}
