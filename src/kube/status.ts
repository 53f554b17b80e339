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
  if (!isRecord(from) || !isRecord(to)) return equal(from, to) ? undefined : to;
  const patch: Record<string, unknown> = {};
  for (const key of new Set([...Object.keys(from), ...Object.keys(to)])) {
    const [was, is] = [from[key], to[key]];
    if (is === undefined) {
      if (was !== undefined) patch[key] = null;
      continue;
    }
    // An object that is new goes in whole: a merge into nothing would keep its nulls out.
    const change = isRecord(was) ? mergePatch(was, is) : equal(was, is) ? undefined : is;
    if (change !== undefined) patch[key] = change;
  }
  return Object.keys(patch).length === 0 ? undefined : patch;
}

/** Deep equality of JSON values; the order of properties and properties that are `undefined` do not count. */
export function equal(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (Array.isArray(a) || Array.isArray(b)) {
    return (
      Array.isArray(a) &&
      Array.isArray(b) &&
      a.length === b.length &&
      a.every((item, i) => equal(item, b[i]))
    );
  }
  if (!isRecord(a) || !isRecord(b)) return false;
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].every((key) => equal(a[key], b[key]));
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
