import { kubernetesFormats } from './formats.ts';
import { objectMetaSchema } from './object-meta.ts';
import type { JsonSchema } from './types.ts';

/** A JSON Schema (draft 7) document for ajv. */
export type AjvSchema = Record<string, unknown>;

const copied = [
  'enum',
  'minimum',
  'maximum',
  'multipleOf',
  'minLength',
  'maxLength',
  'pattern',
  'minItems',
  'maxItems',
  'uniqueItems',
  'minProperties',
  'maxProperties',
  'required',
] as const;

/**
 * OpenAPI v3's dialect to JSON Schema: `nullable` becomes a type, the boolean exclusive limits become
 * numbers, x-kubernetes-int-or-string becomes two types. Unknown fields are left to pruning.
 */
export function toAjvSchema(schema: JsonSchema, resource: boolean): AjvSchema {
  const out: AjvSchema = {};
  for (const key of copied) if (schema[key] !== undefined) out[key] = schema[key];
  if (schema.exclusiveMinimum === true) {
    out['exclusiveMinimum'] = schema.minimum;
    delete out['minimum'];
  }
  if (schema.exclusiveMaximum === true) {
    out['exclusiveMaximum'] = schema.maximum;
    delete out['maximum'];
  }
  if (schema.format !== undefined && Object.hasOwn(kubernetesFormats, schema.format)) {
    out['format'] = schema.format;
  }
  const types = schema['x-kubernetes-int-or-string'] ? ['integer', 'string'] : [schema.type];
  if (types[0] !== undefined) out['type'] = schema.nullable ? [...types, 'null'] : types;
  if (schema.nullable && schema.enum && !schema.enum.includes(null)) {
    out['enum'] = [...schema.enum, null];
  }
  const properties = Object.entries(schema.properties ?? {});
  const embedded = resource || schema['x-kubernetes-embedded-resource'] === true;
  if (properties.length > 0 || embedded) {
    out['properties'] = {
      ...Object.fromEntries(properties.map(([k, v]) => [k, toAjvSchema(v, false)])),
      ...(embedded && {
        apiVersion: { type: ['string'] },
        kind: { type: ['string'] },
        metadata: toAjvSchema(objectMetaSchema, false),
      }),
    };
  }
  if (typeof schema.additionalProperties === 'object') {
    out['additionalProperties'] = toAjvSchema(schema.additionalProperties, false);
  }
  if (schema.items) out['items'] = toAjvSchema(schema.items, false);
  for (const key of ['allOf', 'anyOf', 'oneOf'] as const) {
    const branches = schema[key];
    if (branches) out[key] = branches.map((branch) => toAjvSchema(branch, false));
  }
  if (schema.not) out['not'] = toAjvSchema(schema.not, false);
  return out;
}
