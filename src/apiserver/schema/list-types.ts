import { canonicalJson, isObject } from '../../api/json.ts';
import { cause } from './cause.ts';
import type { LocatedCause } from './cause.ts';
import type { FieldPath } from './field-path.ts';
import type { SchemaNode } from './node.ts';

/** Duplicates in lists of type set and map; each offending value is named once. */
export function validateListTypes(value: unknown, node: SchemaNode): LocatedCause[] {
  const causes: LocatedCause[] = [];
  walk(value, node, [], causes);
  return causes;
}

function walk(
  value: unknown,
  node: SchemaNode | undefined,
  path: FieldPath,
  causes: LocatedCause[],
): void {
  if (!node?.hasListTypes) return;
  if (Array.isArray(value)) {
    const type = node.schema['x-kubernetes-list-type'];
    if (type === 'set') duplicates(value, value, path, causes);
    if (type === 'map') {
      const keys = node.schema['x-kubernetes-list-map-keys'] ?? [];
      const wrong = value.findIndex((item) => item !== null && !isObject(item));
      if (wrong >= 0) {
        const detail = 'must be an object for an array of list-type map';
        causes.push(cause('FieldValueInvalid', [...path, wrong], value[wrong], detail, path));
      } else {
        duplicates(
          value.map((item) => listKey(item, keys)),
          value,
          path,
          causes,
        );
      }
    }
    value.forEach((item, i) => {
      walk(item, node.items, [...path, i], causes);
    });
  } else if (isObject(value)) {
    for (const key of Object.keys(value)) {
      const field = node.fields.get(key);
      if (field) walk(value[key], field, [...path, key], causes);
      else if (node.values) walk(value[key], node.values, [...path, { key }], causes);
    }
  }
}

function listKey(item: unknown, keys: readonly string[]): unknown {
  if (!isObject(item)) return {};
  return Object.fromEntries(
    keys.filter((key) => Object.hasOwn(item, key)).map((key) => [key, item[key]]),
  );
}

function duplicates(
  keys: readonly unknown[],
  items: readonly unknown[],
  path: FieldPath,
  causes: LocatedCause[],
): void {
  if (items.length < 2) return;
  const seen = new Map<string, number>();
  keys.forEach((key, i) => {
    const text = canonicalJson(key);
    const times = seen.get(text) ?? 0;
    seen.set(text, times + 1);
    if (times === 1) causes.push(cause('FieldValueDuplicate', [...path, i], key, '', path));
  });
}
