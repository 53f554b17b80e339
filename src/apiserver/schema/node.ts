import type { JsonSchema, ValidationRule } from './types.ts';
import { objectMetaSchema } from './object-meta.ts';

/** The schema is not one that this server (or Kubernetes) can work with. */
export class SchemaError extends Error {
  override readonly name = 'SchemaError';
  readonly retryable = false;
}

/** A schema node prepared for walking objects: no lookups by name in the original are needed. */
export interface SchemaNode {
  readonly schema: JsonSchema;
  /** Declared fields. A Map, so that a field called "constructor" is nothing special. */
  readonly fields: ReadonlyMap<string, SchemaNode>;
  /** Schema of the values of a map. */
  readonly values: SchemaNode | undefined;
  /** Values of a map may be anything (`additionalProperties: true`). */
  readonly openValues: boolean;
  readonly items: SchemaNode | undefined;
  readonly nullable: boolean;
  readonly preserve: boolean;
  /** The root, or an embedded resource: apiVersion, kind and metadata are always there. */
  readonly resource: boolean;
  readonly rules: readonly ValidationRule[];
  /** Defaulting has to look inside: for absent fields, or for nulls to replace or drop. */
  readonly hasDefaults: boolean;
  readonly hasRules: boolean;
  /** A list of type set or map is here or below. */
  readonly hasListTypes: boolean;
  readonly hasResources: boolean;
}

const typeNames = new Set(['object', 'array', 'string', 'integer', 'number', 'boolean']);

/**
 * Prepares a structural schema and refuses one that is not structural.
 *
 * @throws SchemaError with the place of the fault.
 */
export function compileNode(schema: JsonSchema, at: string, root: boolean): SchemaNode {
  checkStructural(schema, at);
  const resource = root || schema['x-kubernetes-embedded-resource'] === true;
  const fields = new Map<string, SchemaNode>();
  const add = (name: string, value: JsonSchema): void => {
    fields.set(name, compileNode(value, at === '' ? name : `${at}.${name}`, false));
  };
  for (const [name, value] of Object.entries(schema.properties ?? {})) add(name, value);
  if (resource) {
    add('apiVersion', { type: 'string' });
    add('kind', { type: 'string' });
    add('metadata', objectMetaSchema);
  }
  const extra = schema.additionalProperties;
  const values = typeof extra === 'object' ? compileNode(extra, `${at}[*]`, false) : undefined;
  const items = schema.items && compileNode(schema.items, `${at}[*]`, false);
  const children = [...fields.values(), values, items].filter((child) => child !== undefined);
  const listType = schema['x-kubernetes-list-type'];
  const rules = [
    ...(schema['x-kubernetes-validations'] ?? []),
    ...(schema.allOf ?? []).flatMap((branch) => branch['x-kubernetes-validations'] ?? []),
  ];
  return {
    schema,
    fields,
    values,
    openValues: extra === true,
    items,
    nullable: schema.nullable === true,
    preserve: schema['x-kubernetes-preserve-unknown-fields'] === true,
    resource,
    rules,
    hasDefaults:
      fields.size > 0 ||
      [values, items].some((c) => c && (c.hasDefaults || c.schema.default !== undefined)),
    hasRules: rules.length > 0 || children.some((child) => child.hasRules),
    hasListTypes:
      listType === 'set' || listType === 'map' || children.some((child) => child.hasListTypes),
    hasResources: resource || children.some((child) => child.hasResources),
  };
}

function checkStructural(schema: JsonSchema, at: string): void {
  const place = at === '' ? 'the schema' : at;
  const refuse = (why: string): never => {
    throw new SchemaError(`${place}: ${why}`);
  };
  if ('$ref' in schema) refuse('$ref is not allowed');
  const typeless =
    schema['x-kubernetes-int-or-string'] === true ||
    schema['x-kubernetes-preserve-unknown-fields'] === true;
  if (schema.type === undefined && !typeless) refuse('type is required');
  if (schema.type !== undefined && !typeNames.has(schema.type)) {
    refuse(`type "${schema.type}" is not known`);
  }
  if (schema.type !== undefined && schema['x-kubernetes-int-or-string'] === true) {
    refuse('type must be absent with x-kubernetes-int-or-string');
  }
  if (schema.properties && schema.additionalProperties) {
    refuse('properties and additionalProperties exclude each other');
  }
  if (schema.type === 'array' && !schema.items) refuse('items is required for arrays');
  if (schema.items && Array.isArray(schema.items)) refuse('items must be a single schema');
  if (schema['x-kubernetes-embedded-resource'] === true && schema.type !== 'object') {
    refuse('an embedded resource must be of type object');
  }
  if (schema['x-kubernetes-list-type'] === 'map') {
    const keys = schema['x-kubernetes-list-map-keys'] ?? [];
    if (keys.length === 0) refuse('x-kubernetes-list-map-keys is required for lists of type map');
    for (const key of keys) {
      const field = schema.items?.properties?.[key];
      if (!field) return refuse(`list map key ${key} is not a field of the items`);
      if (field.default === undefined && !schema.items.required?.includes(key)) {
        refuse(`list map key ${key} must be required or have a default`);
      }
    }
  }
}
