import { badRequest } from '../errors/api-error.ts';
import type { KubeObject, ObjectMeta } from '../objects/object.ts';
import { groupVersion, type Column, type Resource } from '../resources/resource.ts';
import type { Accepted } from './accept.ts';

/** How an answer with objects is to look. */
export interface Presentation extends Accepted {
  readonly includeObject: 'None' | 'Metadata' | 'Object';
  readonly nowMs: number;
}

interface TableRow {
  readonly cells: (string | number | boolean | null)[];
  readonly object?: unknown;
}

export interface ListMeta {
  readonly resourceVersion: string;
  readonly continue?: string;
  readonly remainingItemCount?: number;
}

/** Reads `includeObject` of a table request. */
export function includeObject(query: URLSearchParams): Presentation['includeObject'] {
  const value = query.get('includeObject') ?? 'Metadata';
  if (value === '' || value === 'Metadata') return 'Metadata';
  if (value === 'None' || value === 'Object') return value;
  throw badRequest(`unrecognized includeObject value: "${value}"`);
}

/** The object in the version of `resource`, whichever version it is stored in. */
export function served(resource: Resource, object: KubeObject): KubeObject {
  return resource.strategy.fromStorage?.(object) ?? object;
}

/** One object in the form asked for. */
export function presentOne(resource: Resource, stored: KubeObject, how: Presentation): unknown {
  const object = served(resource, stored);
  switch (how.form) {
    case 'object':
      return object;
    case 'partial':
      return partial(object, how);
    case 'table': {
      const { resourceVersion = '' } = object.metadata;
      return table(resource, [object], { resourceVersion }, how);
    }
  }
}

/** A list in the form asked for. */
export function presentList(
  resource: Resource,
  items: readonly KubeObject[],
  metadata: ListMeta,
  how: Presentation,
): unknown {
  const objects = items.map((item) => served(resource, item));
  switch (how.form) {
    case 'object':
      return {
        apiVersion: groupVersion(resource),
        kind: resource.listKind,
        metadata,
        items: objects,
      };
    case 'partial':
      return {
        apiVersion: `meta.k8s.io/${how.metaVersion}`,
        kind: 'PartialObjectMetadataList',
        metadata,
        items: objects.map((object) => partial(object, how)),
      };
    case 'table':
      return table(resource, objects, metadata, how);
  }
}

/** An event of a watch: in table form every event but the first leaves the column definitions out. */
export function presentEvent(
  resource: Resource,
  stored: KubeObject,
  how: Presentation,
  first: boolean,
): unknown {
  const one = presentOne(resource, stored, how);
  if (how.form !== 'table' || first) return one;
  return { ...(one as Record<string, unknown>), columnDefinitions: null };
}

function partial(object: KubeObject, how: Presentation): unknown {
  return {
    kind: 'PartialObjectMetadata',
    apiVersion: `meta.k8s.io/${how.metaVersion}`,
    metadata: object.metadata satisfies ObjectMeta,
  };
}

function table(
  resource: Resource,
  objects: readonly KubeObject[],
  metadata: ListMeta,
  how: Presentation,
): unknown {
  return {
    kind: 'Table',
    apiVersion: `meta.k8s.io/${how.metaVersion}`,
    metadata,
    columnDefinitions: resource.columns.map(definition),
    rows: objects.map((object): TableRow => {
      const cells = resource.columns.map((column) => column.read(object, how.nowMs));
      if (how.includeObject === 'None') return { cells };
      return { cells, object: how.includeObject === 'Object' ? object : partial(object, how) };
    }),
  };
}

function definition({ name, type, format, description, priority }: Column): Omit<Column, 'read'> {
  return { name, type, format, description, priority };
}
