import { isObject } from '../../api/json.ts';
import { cause, noValue } from './cause.ts';
import type { LocatedCause } from './cause.ts';
import type { FieldPath } from './field-path.ts';
import type { SchemaNode } from './node.ts';

/**
 * An embedded resource (x-kubernetes-embedded-resource) must say what it is. The root is left to the
 * server, which knows the kind from the URL.
 */
export function validateEmbeddedResources(value: unknown, root: SchemaNode): LocatedCause[] {
  const causes: LocatedCause[] = [];
  walk(value, root, [], causes);
  return causes;
}

function walk(
  value: unknown,
  node: SchemaNode | undefined,
  path: FieldPath,
  causes: LocatedCause[],
): void {
  if (!node?.hasResources) return;
  if (Array.isArray(value)) {
    value.forEach((item, i) => {
      walk(item, node.items, [...path, i], causes);
    });
  }
  if (!isObject(value)) return;
  if (node.resource && path.length > 0) {
    for (const field of ['apiVersion', 'kind']) {
      if (value[field] === undefined || value[field] === '') {
        causes.push(
          cause('FieldValueRequired', [...path, field], noValue, 'must not be empty', path),
        );
      }
    }
  }
  for (const key of Object.keys(value)) {
    const field = node.fields.get(key);
    if (field) walk(value[key], field, [...path, key], causes);
    else if (node.values) walk(value[key], node.values, [...path, { key }], causes);
  }
}
