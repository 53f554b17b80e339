import { isObject, type JsonObject } from '../../api/json.ts';
import { FieldSet } from './field-set.ts';

/** One entry of metadata.managedFields. */
export interface ManagedFieldsEntry {
  readonly manager?: string;
  readonly operation?: 'Apply' | 'Update';
  readonly apiVersion?: string;
  readonly time?: string;
  readonly fieldsType?: string;
  readonly fieldsV1?: JsonObject;
  readonly subresource?: string;
}

/** Who owns fields: a manager is told apart by its name, its operation and the subresource. */
export interface ManagerId {
  readonly manager: string;
  readonly operation: 'Apply' | 'Update';
  readonly apiVersion: string;
  readonly subresource: string;
}

export interface Owner extends ManagerId {
  readonly set: FieldSet;
  /** RFC 3339 with whole seconds; when the set (or, for an apply, the object) last changed. */
  readonly time: string | undefined;
}

/** The owners of an object by identity. */
export type Owners = Map<string, Owner>;

/** Most owners by Update that are kept apart; the oldest beyond are folded into one, as in Kubernetes. */
const maxUpdateManagers = 10;
const ancientChanges = 'ancient-changes';

/** The key of an owner. An applier stays the same one when it moves to another API version. */
export function managerKey(id: ManagerId): string {
  const version = id.operation === 'Apply' ? '' : id.apiVersion;
  return JSON.stringify([id.operation, id.manager, version, id.subresource]);
}

/**
 * Reads managedFields. Entries of a kind that this server did not write make the whole unreadable.
 *
 * @throws Error when an entry is malformed.
 */
export function decodeOwners(entries: unknown): Owners {
  const owners: Owners = new Map();
  if (entries === undefined || entries === null) return owners;
  if (!Array.isArray(entries)) throw new TypeError('managedFields must be a list');
  for (const entry of entries as unknown[]) {
    if (!isObject(entry)) throw new TypeError('managedFields must hold objects');
    const { manager, operation, apiVersion, subresource, time, fieldsType, fieldsV1 } = entry;
    if (operation !== 'Apply' && operation !== 'Update') {
      throw new TypeError(`managedFields: operation ${JSON.stringify(operation)} is not known`);
    }
    if (fieldsType !== 'FieldsV1') {
      throw new TypeError(`managedFields: fieldsType ${JSON.stringify(fieldsType)} is not known`);
    }
    const id: ManagerId = {
      manager: typeof manager === 'string' ? manager : '',
      operation,
      apiVersion: typeof apiVersion === 'string' ? apiVersion : '',
      subresource: typeof subresource === 'string' ? subresource : '',
    };
    const key = managerKey(id);
    const set = FieldSet.fromFieldsV1(fieldsV1 ?? {});
    const twin = owners.get(key);
    owners.set(key, {
      ...id,
      set: twin ? twin.set.union(set) : set,
      time: typeof time === 'string' ? time : undefined,
    });
  }
  return owners;
}

/** The entries in Kubernetes' order: appliers first, then by time and name. Empty sets are left out. */
export function encodeOwners(owners: Owners): ManagedFieldsEntry[] {
  const order = (owner: Owner): string =>
    [owner.operation, owner.time ?? '', owner.manager, owner.apiVersion, owner.subresource].join(
      '\u0000',
    );
  return [...owners.values()]
    .filter((owner) => !owner.set.isEmpty())
    .sort((a, b) => (order(a) < order(b) ? -1 : 1))
    .map((owner) => ({
      manager: owner.manager,
      operation: owner.operation,
      apiVersion: owner.apiVersion,
      ...(owner.time !== undefined && { time: owner.time }),
      fieldsType: 'FieldsV1',
      fieldsV1: owner.set.toFieldsV1(),
      ...(owner.subresource !== '' && { subresource: owner.subresource }),
    }));
}

/** Folds the oldest updaters into one entry per version, so that managedFields cannot grow for ever. */
export function capUpdaters(owners: Owners): void {
  const updaters = [...owners.entries()]
    .filter(([, owner]) => owner.operation === 'Update')
    .sort(([, a], [, b]) => ((a.time ?? '') < (b.time ?? '') ? -1 : 1));
  let excess = updaters.length - maxUpdateManagers;
  for (const [key, owner] of updaters) {
    if (excess <= 0) return;
    if (owner.manager === ancientChanges) continue;
    const id: ManagerId = { ...owner, manager: ancientChanges };
    const bucketKey = managerKey(id);
    const bucket = owners.get(bucketKey);
    owners.delete(key);
    owners.set(bucketKey, {
      ...owner,
      manager: ancientChanges,
      set: bucket ? bucket.set.union(owner.set) : owner.set,
    });
    excess -= 1;
  }
}
