import { cloneJson, isObject, type JsonObject } from '../../api/json.ts';
import type { SchemaNode } from './node.ts';

/**
 * Fills in defaults, as k8s.io/apiextensions-apiserver's defaulting does: a default stands in for an
 * absent field and for a null that is not allowed; such a null without a default is dropped; defaults
 * are only looked for inside objects that exist.
 */
export function applyDefaults(object: JsonObject, node: SchemaNode): JsonObject {
  return fill(object, node) as JsonObject;
}

function fill(value: unknown, node: SchemaNode | undefined): unknown {
  if (!node?.hasDefaults) return cloneJson(value);
  if (Array.isArray(value)) {
    const items = node.items;
    return value.map((item) => fill(replaceNull(item, items), items));
  }
  if (!isObject(value)) return value;
  const out: JsonObject = {};
  for (const key of Object.keys(value)) {
    if (key === '__proto__') continue;
    const field = node.fields.get(key);
    const child = field ?? node.values;
    const next = replaceNull(value[key], child);
    if (next === null && field && !field.nullable && !isTypeless(field)) continue;
    out[key] = fill(next, child);
  }
  for (const [key, field] of node.fields) {
    if (field.schema.default !== undefined && !Object.hasOwn(out, key)) {
      out[key] = fill(cloneJson(field.schema.default), field);
    }
  }
  return out;
}

function replaceNull(value: unknown, node: SchemaNode | undefined): unknown {
  if (value !== null || !node || node.nullable || node.schema.default === undefined) return value;
  return cloneJson(node.schema.default);
}

/** Without a declared type null may be meant as a value. */
function isTypeless(node: SchemaNode): boolean {
  return node.schema.type === undefined && node.preserve;
}
