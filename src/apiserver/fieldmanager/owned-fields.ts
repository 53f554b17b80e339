import { isObject, type JsonObject } from '../../api/json.ts';
import { FieldSet } from './field-set.ts';

const metadataField = (name: string): string[] => ['f:metadata', `f:${name}`];

/** What the system keeps about an object is nobody's. The list is that of Kubernetes. */
const system = FieldSet.of(
  ['f:apiVersion'],
  ['f:kind'],
  ['f:metadata'],
  ...[
    'name',
    'namespace',
    'creationTimestamp',
    'deletionTimestamp',
    'deletionGracePeriodSeconds',
    'selfLink',
    'uid',
    'generation',
    'managedFields',
    'resourceVersion',
  ].map(metadataField),
);

const status = FieldSet.of(['f:status']);

/** The part of a set of fields that a write to the object or to a subresource can own. */
export function ownable(set: FieldSet, subresource: string): FieldSet {
  const own = set.difference(system);
  if (subresource !== 'status') return own.recursiveDifference(status);
  const out = new FieldSet();
  if (own.members.has('f:status')) out.members.add('f:status');
  const below = own.children.get('f:status');
  if (below) out.children.set('f:status', below);
  return out;
}

/** The part of an object that such a write can change; of metadata /status takes only the identity. */
export function writable(object: JsonObject, subresource: string): JsonObject {
  const { status: statusPart, ...rest } = object;
  if (subresource !== 'status') return rest;
  const { name, namespace } = isObject(object['metadata']) ? object['metadata'] : {};
  return {
    apiVersion: object['apiVersion'],
    kind: object['kind'],
    metadata: {
      ...(name !== undefined && { name }),
      ...(namespace !== undefined && { namespace }),
    },
    ...(statusPart !== undefined && { status: statusPart }),
  };
}

/** Metadata that only the server sets: an applied configuration does not change it. */
const serverSet = [
  'uid',
  'resourceVersion',
  'generation',
  'creationTimestamp',
  'deletionTimestamp',
  'deletionGracePeriodSeconds',
  'selfLink',
  'managedFields',
];

/** `applied` without the metadata that only the server sets. */
export function withoutServerMetadata(applied: JsonObject): JsonObject {
  const metadata = applied['metadata'];
  if (!isObject(metadata)) return applied;
  const kept = Object.entries(metadata).filter(([name]) => !serverSet.includes(name));
  return { ...applied, metadata: Object.fromEntries(kept) };
}
