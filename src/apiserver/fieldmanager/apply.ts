import type { JsonObject } from '../../api/json.ts';
import { FieldSet } from './field-set.ts';
import { managerKey } from './managers.ts';
import type { ManagerId, Owner, Owners } from './managers.ts';
import { compare, merge, remove } from './merge.ts';
import { ownable } from './owned-fields.ts';
import { fieldSetOf, withNamedParents } from './typed.ts';
import type { MergeType } from './typed.ts';

export interface ApplyInput {
  readonly live: JsonObject;
  /** Only what this write may change. */
  readonly config: JsonObject;
  readonly type: MergeType;
  readonly owners: Owners;
  readonly id: ManagerId;
  readonly time: string;
}

/** A field set that another owner stands in the way with. */
export interface OwnedConflict {
  readonly owner: Owner;
  readonly set: FieldSet;
}

export interface ApplyOutcome {
  readonly object: JsonObject;
  readonly owners: Owners;
  /** Fields that others owned with another value; `owners` has them taken away already. */
  readonly conflicts: readonly OwnedConflict[];
}

/** One apply, as if by force; the caller decides what the conflicts mean. */
export function apply(input: ApplyInput): ApplyOutcome {
  const { live, config, type, id } = input;
  const key = managerKey(id);
  const owners: Owners = new Map(input.owners);
  const last = owners.get(key);
  const set = ownable(fieldSetOf(config, type), id.subresource);
  owners.set(key, { ...id, set, time: last?.time });
  const merged = merge(live, config, type);
  const object = dropAbandoned(merged, type, owners, last?.set) as JsonObject;

  const change = compare(live, object, type);
  const taken = ownable(change.modified.union(change.added), id.subresource);
  const removed = ownable(change.removed, id.subresource);
  const conflicts: OwnedConflict[] = [];
  for (const [other, owner] of owners) {
    if (other === key) continue;
    const conflict = owner.set.intersection(taken);
    if (!conflict.isEmpty()) conflicts.push({ owner, set: conflict });
    const rest = owner.set.difference(conflict).difference(removed);
    if (rest.isEmpty()) owners.delete(other);
    else owners.set(other, { ...owner, set: rest });
  }
  const same = last?.set.equals(set) === true && isEmptyChange(change);
  if (set.isEmpty()) owners.delete(key);
  else owners.set(key, { ...id, set, time: same ? last.time : input.time });
  return { object, owners, conflicts };
}

function isEmptyChange(change: ReturnType<typeof compare>): boolean {
  return change.added.isEmpty() && change.modified.isEmpty() && change.removed.isEmpty();
}

/**
 * Removes what the applier applied last time and not this time, unless another owner has it or it never
 * was the applier's. Parents that are emptied go as well if they were there for the applier alone.
 */
function dropAbandoned(
  merged: unknown,
  type: MergeType,
  owners: Owners,
  last: FieldSet | undefined,
): unknown {
  if (!last || last.isEmpty()) return merged;
  const named = (fields: FieldSet): FieldSet => withNamedParents(fields, type);
  const lastNamed = named(last);
  const all = named(fieldSetOf(merged, type));
  let owned = new FieldSet();
  for (const owner of owners.values()) owned = owned.union(owner.set);
  // First everything that was applied goes; then what somebody owns comes back, with its parents.
  const without = remove(merged, lastNamed, type);
  const kept = named(fieldSetOf(without, type)).union(named(owned));
  const withOwned = remove(merged, all.difference(kept), type);
  // Of what is still missing only what had been applied may go.
  const missing = all.difference(named(fieldSetOf(withOwned, type)));
  return remove(merged, missing.intersection(lastNamed), type);
}
