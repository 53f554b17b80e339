import { isObject } from '../../api/json.ts';
import type { Entry } from '../../registry/store.ts';
import type { KubeObject } from '../objects/object.ts';
import type { CompiledSchema } from '../schema/types.ts';

/**
 * An object as the store has it. `object` carries its resourceVersion, is shared by everybody who
 * asks for it, and must never be changed: clone it first.
 */
export interface StoredObject {
  readonly key: string;
  readonly revision: bigint;
  readonly object: KubeObject;
}

/**
 * Reads an entry. Defaults that the schema has gained since the object was written are filled in.
 * A record that is not a Kubernetes object (written by hand, cut off) gives undefined.
 */
export function decodeEntry(entry: Entry, schema: CompiledSchema): StoredObject | undefined {
  let value: unknown;
  try {
    value = JSON.parse(entry.value);
  } catch {
    return undefined;
  }
  if (!isObject(value) || !isObject(value['metadata'])) return undefined;
  const { apiVersion, kind, metadata } = value;
  if (typeof apiVersion !== 'string' || typeof kind !== 'string') return undefined;
  if (typeof metadata['name'] !== 'string' || typeof metadata['uid'] !== 'string') return undefined;
  const object = schema.applyDefaults(value) as KubeObject;
  return {
    key: entry.key,
    revision: entry.modRevision,
    object: withRevision(object, entry.modRevision),
  };
}

/** The text that is stored: the object without its resourceVersion, which is the store's own revision. */
export function encodeObject(object: KubeObject): string {
  const metadata = { ...object.metadata };
  delete metadata.resourceVersion;
  return JSON.stringify({ ...object, metadata });
}

/** The same object with another resourceVersion; shares everything else. */
export function withRevision(object: KubeObject, revision: bigint): KubeObject {
  return { ...object, metadata: { ...object.metadata, resourceVersion: revision.toString() } };
}
