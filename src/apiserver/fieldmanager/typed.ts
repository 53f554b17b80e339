import { isObject, type JsonObject } from '../../api/json.ts';
import { objectMetaSchema } from '../schema/object-meta.ts';
import type { JsonSchema } from '../schema/types.ts';
import { fieldElement, keyElement, valueElement } from './field-set.ts';
import type { FieldSet, PathElement } from './field-set.ts';
import { FieldSet as Fields } from './field-set.ts';

/**
 * What merging needs to know of a schema: which objects and lists are merged item by item and which are
 * one value. As in structured-merge-diff a value without a declared type is a granular map, an atomic
 * list or a scalar, by what it is.
 */
export type MergeType =
  | { readonly kind: 'scalar' }
  | { readonly kind: 'map'; readonly atomic: boolean; readonly map: MapType }
  | {
      readonly kind: 'list';
      readonly atomic: boolean;
      /** Empty for sets. */
      readonly keys: readonly string[];
      readonly keyDefaults: JsonObject;
      readonly items: MergeType;
    }
  | { readonly kind: 'any' };

interface MapType {
  readonly fields: ReadonlyMap<string, MergeType>;
  /** Type of undeclared fields; undefined where there may be none. */
  readonly values: MergeType | undefined;
}

const anyType: MergeType = { kind: 'any' };
const cache = new WeakMap<JsonSchema, MergeType>();

/** The merge type of a whole object (apiVersion, kind and metadata included). */
export function mergeTypeOf(schema: JsonSchema): MergeType {
  let type = cache.get(schema);
  if (!type) {
    type = convert(schema, true);
    cache.set(schema, type);
  }
  return type;
}

function convert(schema: JsonSchema, root: boolean): MergeType {
  const resource = root || schema['x-kubernetes-embedded-resource'] === true;
  if (schema.type === 'array') {
    const listType = schema['x-kubernetes-list-type'] ?? 'atomic';
    const keys = listType === 'map' ? (schema['x-kubernetes-list-map-keys'] ?? []) : [];
    const defaults = keys.map((key) => [key, schema.items?.properties?.[key]?.default] as const);
    return {
      kind: 'list',
      atomic: listType === 'atomic',
      keys,
      keyDefaults: Object.fromEntries(defaults.filter(([, value]) => value !== undefined)),
      items: schema.items ? convert(schema.items, false) : anyType,
    };
  }
  if (schema.type === 'object' || resource) {
    const fields = new Map<string, MergeType>();
    for (const [name, child] of Object.entries(schema.properties ?? {})) {
      fields.set(name, convert(child, false));
    }
    if (resource) {
      fields.set('apiVersion', { kind: 'scalar' });
      fields.set('kind', { kind: 'scalar' });
      fields.set('metadata', convert(objectMetaSchema, false));
    }
    const extra = schema.additionalProperties;
    const open = schema['x-kubernetes-preserve-unknown-fields'] === true || extra === true;
    const values = typeof extra === 'object' ? convert(extra, false) : open ? anyType : undefined;
    return {
      kind: 'map',
      atomic: schema['x-kubernetes-map-type'] === 'atomic',
      map: { fields, values },
    };
  }
  return schema.type === undefined && schema['x-kubernetes-preserve-unknown-fields'] === true
    ? anyType
    : { kind: 'scalar' };
}

const openMap: MapType = { fields: new Map(), values: anyType };

/** How a value is treated: as a leaf (scalars, atomic parts, values of a wrong type), a map or a list. */
export type Shape =
  | { readonly as: 'leaf' }
  | { readonly as: 'map'; readonly map: MapType }
  | { readonly as: 'list'; readonly list: MergeType & { kind: 'list' } };

const leaf: Shape = { as: 'leaf' };

/**
 * The common shape of up to two values of one field; `undefined` is absence. 'differ' when one is a map
 * and the other a list or scalar: then nothing can be merged.
 */
export function shapeOf(type: MergeType, a: unknown, b: unknown): Shape | 'differ' {
  const empty = (value: unknown): boolean =>
    value === undefined ||
    value === null ||
    (Array.isArray(value) ? value.length === 0 : isObject(value) && isEmptyObject(value));
  switch (type.kind) {
    case 'scalar':
      return leaf;
    case 'map':
    case 'any': {
      if (type.kind === 'map' && type.atomic) return leaf;
      const fits = [a, b].filter((value) => value !== undefined && value !== null);
      const maps = fits.filter(isObject).length;
      if (maps === 0) return leaf;
      if (maps < fits.length) return 'differ';
      // Both empty: a leaf, which keeps empty and null apart.
      if (empty(a) && empty(b)) return leaf;
      return { as: 'map', map: type.kind === 'map' ? type.map : openMap };
    }
    case 'list': {
      if (type.atomic) return leaf;
      const fits = [a, b].filter((value) => value !== undefined && value !== null);
      const lists = fits.filter((value) => Array.isArray(value)).length;
      if (lists === 0) return leaf;
      if (lists < fits.length) return 'differ';
      if (empty(a) && empty(b)) return leaf;
      const indexable = [a, b].every(
        (value) =>
          !Array.isArray(value) ||
          value.every((item) => typeof itemElement(type, item) === 'string'),
      );
      return indexable ? { as: 'list', list: type } : leaf;
    }
  }
}

function isEmptyObject(value: JsonObject): boolean {
  return Object.keys(value).length === 0;
}

/** The type of one field of a map; undefined when it may not be there. */
export function fieldType(map: MapType, name: string): MergeType | undefined {
  return map.fields.get(name) ?? map.values;
}

/** The path element of a list item, or what keeps it from having one. */
export function itemElement(
  list: MergeType & { kind: 'list' },
  item: unknown,
): PathElement | { readonly problem: string } {
  if (list.keys.length === 0) {
    if (item === null || typeof item === 'object') {
      return { problem: 'the items of a set must be scalars' };
    }
    return valueElement(item);
  }
  if (!isObject(item)) return { problem: 'the items of a list of type map must be objects' };
  const keys: JsonObject = {};
  for (const key of list.keys) {
    const value = item[key] ?? list.keyDefaults[key];
    if (value !== undefined) keys[key] = value;
  }
  if (Object.keys(keys).length === 0) {
    const names = list.keys.map((key) => JSON.stringify(key)).join(' ');
    return { problem: `the item omits all key fields [${names}]` };
  }
  return keyElement(keys);
}

/** Names of a map in order; `__proto__` can never be a field. */
export function fieldNames(...maps: unknown[]): string[] {
  const names = new Set<string>();
  for (const map of maps) if (isObject(map)) for (const name of Object.keys(map)) names.add(name);
  names.delete('__proto__');
  return [...names];
}

/** The fields that an applied object sets. */
export function fieldSetOf(value: unknown, type: MergeType): FieldSet {
  const set = new Fields();
  collect(value, type, [], set);
  return set;
}

function collect(value: unknown, type: MergeType, path: PathElement[], set: FieldSet): void {
  const shape = shapeOf(type, value, undefined);
  if (shape === 'differ' || shape.as === 'leaf') {
    // Empty maps and lists are leaves too: who sends one says that it shall be there.
    set.insert(path);
    return;
  }
  if (shape.as === 'list') {
    for (const item of value as unknown[]) {
      const at = [...path, itemElement(shape.list, item) as PathElement];
      collect(item, shape.list.items, at, set);
      set.insert(at);
    }
    return;
  }
  const object = value as JsonObject;
  for (const name of fieldNames(object)) {
    const at = [...path, fieldElement(name)];
    collect(object[name], fieldType(shape.map, name) ?? anyType, at, set);
    // Entries of a map are owned as such; declared fields only by what is in them.
    if (!shape.map.fields.has(name)) set.insert(at);
  }
}

/** With each declared field above a member made a member too, so that emptied parents can go. */
export function withNamedParents(set: FieldSet, type: MergeType | undefined): FieldSet {
  const out = new Fields();
  for (const member of set.members) out.members.add(member);
  const map = type?.kind === 'map' ? type.map : type?.kind === 'any' ? openMap : undefined;
  for (const [element, child] of set.children) {
    const name = element.startsWith('f:') ? element.slice(2) : undefined;
    if (name !== undefined && map?.fields.has(name)) out.members.add(element);
    let below: MergeType | undefined;
    if (name !== undefined && map) below = fieldType(map, name);
    else if (type?.kind === 'list') below = type.items;
    out.children.set(element, withNamedParents(child, below));
  }
  return out;
}
