import type { JsonSchema } from '../schema/types.ts';

/** Short forms for writing schemas by hand; each takes the description that `kubectl explain` prints. */

export function text(description: string): JsonSchema {
  return { type: 'string', description };
}

export function bool(description: string): JsonSchema {
  return { type: 'boolean', description };
}

export function integer(description: string): JsonSchema {
  return { type: 'integer', format: 'int32', description };
}

/** metav1.Time: null is the zero time. */
export function time(description: string): JsonSchema {
  return { type: 'string', format: 'date-time', nullable: true, description };
}

/** metav1.MicroTime: as time, with six digits of the second. */
export function microTime(description: string): JsonSchema {
  return time(description);
}

export function map(values: JsonSchema, description: string): JsonSchema {
  return { type: 'object', additionalProperties: values, description };
}

export function list(
  items: JsonSchema,
  description: string,
  more: Partial<JsonSchema> = { 'x-kubernetes-list-type': 'atomic' },
): JsonSchema {
  return { type: 'array', items, description, ...more };
}

export function object(
  description: string,
  properties: Readonly<Record<string, JsonSchema>>,
  more: Partial<JsonSchema> = {},
): JsonSchema {
  return { type: 'object', description, properties, ...more };
}
