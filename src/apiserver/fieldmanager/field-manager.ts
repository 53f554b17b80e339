import { isObject, type JsonObject } from '../../api/json.ts';
import type { JsonSchema } from '../schema/types.ts';
import { apply } from './apply.ts';
import type { OwnedConflict } from './apply.ts';
import { ApplyError, checkApplied } from './check-applied.ts';
import type { FieldConflict } from './conflicts.ts';
import { FieldSet, printPath } from './field-set.ts';
import { fieldsOfLastApplied, kubectlManager, refreshLastApplied } from './last-applied.ts';
import { capUpdaters, decodeOwners, encodeOwners, managerKey } from './managers.ts';
import type { ManagedFieldsEntry, ManagerId, Owners } from './managers.ts';
import { compare } from './merge.ts';
import { ownable, withoutServerMetadata, writable } from './owned-fields.ts';
import { mergeTypeOf } from './typed.ts';
import type { MergeType } from './typed.ts';

export { ApplyError } from './check-applied.ts';
export { describeConflicts } from './conflicts.ts';
export type { FieldConflict } from './conflicts.ts';
export type { ManagedFieldsEntry } from './managers.ts';

/*
 * Field ownership, after structured-merge-diff's package merge and the managers that the Kubernetes API
 * server puts around it (k8s.io/apimachinery/pkg/util/managedfields). An object belongs to one schema
 * version here, so that there is no conversion between versions.
 */

export interface WriteContext {
  /** `fieldManager` of the request, else the User-Agent up to its first "/". */
  readonly manager: string;
  readonly apiVersion: string;
  /** Name of the subresource that is written to (`status`, `scale`), absent for the object itself. */
  readonly subresource?: string | undefined;
  readonly now: Date;
  /** The openAPIV3Schema of the kind: says which lists are maps or sets and what is atomic. */
  readonly schema: JsonSchema;
}

export interface TrackUpdateArgs extends WriteContext {
  /** The stored object; absent on create. */
  readonly live?: JsonObject | undefined;
  /** The object that is about to be stored, with whatever managedFields the client sent. */
  readonly next: JsonObject;
  readonly operation: 'Update';
}

export interface ApplyPatchArgs extends WriteContext {
  /** The stored object; absent when the apply creates it. */
  readonly live?: JsonObject | undefined;
  /** The body of the apply request. */
  readonly applied: JsonObject;
  /** Takes fields over that others own with another value. */
  readonly force: boolean;
}

export type ApplyResult =
  { readonly object: JsonObject } | { readonly conflicts: readonly FieldConflict[] };

/** Owner of what was there before an object's first apply, when nobody had kept track. */
const beforeFirstApply = 'before-first-apply';

/**
 * `next` with metadata.managedFields brought up to date for a create, an update or a patch (not apply):
 * the writer takes over what it changed, and what it removed is no longer anybody's. An object whose
 * managedFields were emptied on purpose (`[]`, `[{}]`) stays untracked until its next apply.
 */
export function trackUpdate(args: TrackUpdateArgs): JsonObject {
  const { live, next } = args;
  const subresource = args.subresource ?? '';
  const owners = ownersForUpdate(live, next, subresource);
  if (owners === undefined || (live !== undefined && owners.size === 0)) {
    return withManagedFields(next, []);
  }
  const id = updaterId(args);
  takeOver(owners, live ?? {}, next, mergeTypeOf(args.schema), id, timeOf(args.now));
  capUpdaters(owners);
  return withManagedFields(next, encodeOwners(owners));
}

function updaterId(args: WriteContext): ManagerId {
  return {
    manager: args.manager,
    operation: 'Update',
    apiVersion: args.apiVersion,
    subresource: args.subresource ?? '',
  };
}

/** Gives `id` the fields that differ between two states of an object, and takes them from all others. */
function takeOver(
  owners: Owners,
  before: JsonObject,
  after: JsonObject,
  type: MergeType,
  id: ManagerId,
  time: string,
): void {
  const change = compare(before, after, type);
  const changed = ownable(change.modified.union(change.added), id.subresource);
  const removed = ownable(change.removed, id.subresource);
  // What is gone is gone for everyone, whoever removed it.
  const lost = changed.union(removed);
  const key = managerKey(id);
  for (const [other, owner] of owners) {
    const set = owner.set.difference(other === key ? removed : lost);
    if (set.isEmpty()) owners.delete(other);
    else owners.set(other, { ...owner, set });
  }
  if (changed.isEmpty()) return;
  const previous = owners.get(key);
  owners.set(key, { ...id, set: previous ? previous.set.union(changed) : changed, time });
}

/**
 * The owners to start from: those that the client sent, unless it sent none or cannot be understood,
 * or wrote to a subresource. Undefined when the client asked for tracking to be reset.
 */
function ownersForUpdate(
  live: JsonObject | undefined,
  next: JsonObject,
  subresource: string,
): Owners | undefined {
  const sent = managedFields(next);
  if (subresource === '' && Array.isArray(sent)) {
    const [first] = sent as unknown[];
    const reset = sent.length === 1 && isObject(first) && Object.keys(first).length === 0;
    if (reset) return undefined;
    try {
      const owners = decodeOwners(sent);
      if (owners.size > 0) return owners;
    } catch {
      // Clients that do not understand managedFields must not destroy them by accident.
    }
  }
  return liveOwners(live);
}

function liveOwners(live: JsonObject | undefined): Owners {
  try {
    return decodeOwners(live && managedFields(live));
  } catch {
    return new Map();
  }
}

/**
 * Server-side apply: merges `applied` into the live object, removes what this manager applied before
 * and applies no more (unless others own it), and keeps the record. Metadata that only the server sets
 * stays as it is; on the object itself status is left alone, on /status everything else is. The result
 * is not yet pruned, defaulted or validated. Preconditions (`uid`, `resourceVersion` in the body) are
 * the caller's to check.
 *
 * @throws ApplyError when `applied` is malformed: managedFields set, undeclared fields, list items
 * without or with doubled keys.
 */
export function applyPatch(args: ApplyPatchArgs): ApplyResult {
  const subresource = args.subresource ?? '';
  const type = mergeTypeOf(args.schema);
  const sent = managedFields(args.applied);
  if (sent !== undefined && sent !== null && !(Array.isArray(sent) && sent.length === 0)) {
    throw new ApplyError(400, 'metadata.managedFields must be nil', 'metadata.managedFields');
  }
  const applied = withoutServerMetadata(args.applied);
  checkApplied(applied, type);
  const live = args.live ?? {};
  const owners = liveOwners(args.live);
  const time = timeOf(args.now);
  if (args.live && owners.size === 0) {
    const before: ManagerId = { ...updaterId(args), manager: beforeFirstApply, subresource: '' };
    takeOver(owners, {}, live, type, before, time);
  }
  const id: ManagerId = { ...updaterId(args), operation: 'Apply' };
  const config = writable(applied, subresource);
  const outcome = apply({ live, config, type, owners, id, time });
  const conflicts = args.force ? [] : standing(outcome.conflicts, args, live, type);
  if (conflicts.length > 0) return { conflicts };
  let { object } = outcome;
  if (args.manager === kubectlManager && subresource === '') {
    object = refreshLastApplied(object, applied);
  }
  return { object: withManagedFields(object, encodeOwners(outcome.owners)) };
}

/** The conflicts that forbid the apply: kubectl is not in conflict with its own client-side apply. */
function standing(
  found: readonly OwnedConflict[],
  args: ApplyPatchArgs,
  live: JsonObject,
  type: MergeType,
): FieldConflict[] {
  if (found.length === 0) return [];
  const excused =
    args.manager === kubectlManager && args.live ? fieldsOfLastApplied(live, type) : new FieldSet();
  return found
    .flatMap(({ owner, set }) =>
      [...set.difference(excused).paths()].map((path) => ({
        manager: owner.manager,
        operation: owner.operation,
        apiVersion: owner.apiVersion,
        ...(owner.subresource !== '' && { subresource: owner.subresource }),
        path: printPath(path),
      })),
    )
    .sort((a, b) => (a.manager + a.path < b.manager + b.path ? -1 : 1));
}

function managedFields(object: JsonObject): unknown {
  const metadata = object['metadata'];
  return isObject(metadata) ? metadata['managedFields'] : undefined;
}

/** A shallow copy with these entries; the field is left out when there are none. */
function withManagedFields(object: JsonObject, entries: readonly ManagedFieldsEntry[]): JsonObject {
  const metadata = isObject(object['metadata']) ? { ...object['metadata'] } : {};
  delete metadata['managedFields'];
  if (entries.length > 0) metadata['managedFields'] = entries;
  return { ...object, metadata };
}

/** RFC 3339 in UTC with whole seconds, as Kubernetes writes times. */
function timeOf(now: Date): string {
  return `${now.toISOString().slice(0, 19)}Z`;
}
