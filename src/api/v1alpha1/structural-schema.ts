import { z } from 'zod';
import { isObject } from '../json.ts';

/** A Kubernetes structural schema, or a part of one. */
export type StructuralSchema = Readonly<Record<string, unknown>>;

/** What may be copied as it is; anything else in a generated schema is a mistake that must not go unnoticed. */
const copied = [
  'description',
  'type',
  'format',
  'default',
  'enum',
  'pattern',
  'minLength',
  'maxLength',
  'minimum',
  'maximum',
  'minItems',
  'maxItems',
  'minProperties',
  'maxProperties',
  'required',
  'x-kubernetes-list-type',
  'x-kubernetes-list-map-keys',
  'x-kubernetes-map-type',
  'x-kubernetes-validations',
] as const;
const rewritten = ['anyOf', 'intOrString', 'items', 'properties', 'additionalProperties'];

/**
 * Turns a zod schema into a structural one
 * (https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema).
 * zod comes close; what remains: unions of integer and string become `x-kubernetes-int-or-string`, and the bounds that
 * zod gives every integer go.
 * @throws {Error} for what a structural schema cannot say
 */
export function toStructuralSchema(schema: z.ZodType): StructuralSchema {
  return convert(z.toJSONSchema(schema, { target: 'openapi-3.0', io: 'input' }), '');
}

function convert(node: unknown, path: string): StructuralSchema {
  if (!isObject(node)) throw new Error(`${path}: not a schema`);
  const unknown = Object.keys(node).filter(
    (key) => !rewritten.includes(key) && !(copied as readonly string[]).includes(key),
  );
  if (unknown.length > 0) throw new Error(`${path}: ${unknown.join(', ')} cannot be structural`);
  const result: Record<string, unknown> = {};
  for (const key of copied) {
    const value = node[key];
    if (value === undefined || Math.abs(Number(value)) === Number.MAX_SAFE_INTEGER) continue;
    result[key] = value;
  }
  if (node['intOrString'] === true) {
    delete result['type'];
    result['x-kubernetes-int-or-string'] = true;
    result['anyOf'] = [{ type: 'integer' }, { type: 'string' }];
  } else if (node['anyOf'] !== undefined) {
    throw new Error(`${path}: a union that is not integer or string cannot be structural`);
  }
  if (result['type'] === 'integer') result['format'] ??= 'int64';
  if (isObject(node['properties'])) {
    if (isObject(node['additionalProperties'])) {
      throw new Error(`${path}: properties and additionalProperties exclude each other`);
    }
    result['properties'] = Object.fromEntries(
      Object.entries(node['properties']).map(([name, child]) => [
        name,
        convert(child, `${path}.${name}`),
      ]),
    );
  } else if (isObject(node['additionalProperties'])) {
    result['additionalProperties'] = convert(node['additionalProperties'], `${path}.*`);
  }
  if (node['items'] !== undefined) result['items'] = convert(node['items'], `${path}[]`);
  return result;
}
