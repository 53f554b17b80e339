import { cloneJson, isObject, type JsonObject } from '../../api/json.ts';
import type { SchemaNode } from './node.ts';

/**
 * Copies the declared part of an object. Follows k8s.io/apiextensions-apiserver's pruning: under
 * x-kubernetes-preserve-unknown-fields unknown fields stay, but declared ones are still pruned inside.
 */
export function prune(
  object: JsonObject,
  node: SchemaNode,
): { object: JsonObject; unknown: string[] } {
  const unknown: string[] = [];
  return { object: pruneValue(object, node, '', unknown) as JsonObject, unknown: unknown.sort() };
}

function pruneValue(
  value: unknown,
  node: SchemaNode | undefined,
  path: string,
  unknown: string[],
): unknown {
  if (Array.isArray(value)) {
    if (!node) return value.map(cloneJson);
    // A list where none is declared keeps its place: validation says what is wrong with it.
    return value.map((item, i) => pruneValue(item, node.items, `${path}[${i}]`, unknown));
  }
  if (!isObject(value) || !node) return cloneJson(value);
  const out: JsonObject = {};
  for (const key of Object.keys(value)) {
    const at = path === '' ? key : `${path}.${key}`;
    const field = node.fields.get(key);
    if (key === '__proto__') unknown.push(at);
    else if (field) out[key] = pruneValue(value[key], field, at, unknown);
    else if (node.values) out[key] = pruneValue(value[key], node.values, at, unknown);
    else if (node.openValues || node.preserve) out[key] = cloneJson(value[key]);
    // An object where a scalar or a list is declared is a wrong type, not a heap of unknown fields.
    else if (node.schema.type !== 'object') out[key] = cloneJson(value[key]);
    else unknown.push(at);
  }
  return out;
}
