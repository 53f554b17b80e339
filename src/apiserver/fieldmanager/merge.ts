import { cloneJson, equalJson, isObject, type JsonObject } from '../../api/json.ts';
import { FieldSet, fieldElement } from './field-set.ts';
import type { PathElement } from './field-set.ts';
import { fieldNames, fieldType, itemElement, shapeOf } from './typed.ts';
import type { MergeType } from './typed.ts';

/**
 * The algebra of server-side apply, after structured-merge-diff's package typed: merging an applied
 * object into the live one, comparing two objects, removing a set of fields. Values are decoded JSON;
 * `undefined` is absence, which is not null. Arguments are never changed.
 */

const untyped: MergeType = { kind: 'any' };

/** `applied` over `live`: granular parts are merged, everything else is taken from `applied`. */
export function merge(live: unknown, applied: unknown, type: MergeType): unknown {
  if (applied === undefined) return cloneJson(live);
  const shape = shapeOf(type, live, applied);
  if (shape === 'differ' || shape.as === 'leaf') return cloneJson(applied);
  if (shape.as === 'list') {
    return mergeLists((live ?? []) as unknown[], (applied ?? []) as unknown[], shape.list);
  }
  const [left, right] = [(live ?? {}) as JsonObject, (applied ?? {}) as JsonObject];
  const out: JsonObject = {};
  for (const name of fieldNames(left, right)) {
    const child = fieldType(shape.map, name) ?? untyped;
    out[name] = merge(own(left, name), own(right, name), child);
  }
  return out;
}

function own(object: JsonObject, name: string): unknown {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}

/**
 * Items of both, in an order that keeps both orders as far as they agree; where they do not, the
 * applied order wins, and items that only the live list has keep their place among their neighbours.
 */
function mergeLists(
  live: readonly unknown[],
  applied: readonly unknown[],
  type: MergeType & { kind: 'list' },
): unknown[] {
  const leftKeys = live.map((item) => itemElement(type, item) as PathElement);
  const rightKeys = applied.map((item) => itemElement(type, item) as PathElement);
  const left = index(leftKeys, live);
  const right = index(rightKeys, applied);
  const shared = rightKeys.filter((key) => left.has(key));
  let nextShared = shared.shift();
  const merged = new Set<PathElement>();
  const out: unknown[] = [];
  const take = (key: PathElement): void => {
    merged.add(key);
    out.push(merge(left.get(key), right.get(key), type.items));
    if (key === nextShared) nextShared = shared.shift();
  };
  let l = 0;
  let r = 0;
  while (l < leftKeys.length || r < rightKeys.length) {
    const leftKey = leftKeys[l];
    const rightKey = rightKeys[r];
    if (leftKey !== undefined && leftKey === rightKey) {
      take(leftKey);
      l += 1;
      r += 1;
      continue;
    }
    if (leftKey !== undefined) {
      if (!right.has(leftKey)) {
        out.push(cloneJson(live[l]));
        l += 1;
        continue;
      }
      // A shared item out of turn: it comes when the applied order reaches it.
      if (merged.has(leftKey) || (rightKey !== undefined && leftKey !== nextShared)) {
        l += 1;
        continue;
      }
    }
    if (rightKey !== undefined) {
      take(rightKey);
      r += 1;
    }
  }
  return out;
}

function index(keys: readonly PathElement[], items: readonly unknown[]): Map<PathElement, unknown> {
  return new Map(keys.map((key, i) => [key, items[i]]));
}

export interface Comparison {
  readonly added: FieldSet;
  readonly modified: FieldSet;
  readonly removed: FieldSet;
}

/** Which fields differ between two objects. */
export function compare(before: unknown, after: unknown, type: MergeType): Comparison {
  const result = { added: new FieldSet(), modified: new FieldSet(), removed: new FieldSet() };
  compareAt(before, after, type, [], result);
  return result;
}

function compareAt(
  before: unknown,
  after: unknown,
  type: MergeType,
  path: PathElement[],
  result: Comparison,
): void {
  const shape = shapeOf(type, before, after);
  if (shape === 'differ') {
    compareAt(before, undefined, type, path, result);
    compareAt(undefined, after, type, path, result);
    return;
  }
  if (before === undefined) result.added.insert(path);
  else if (after === undefined) result.removed.insert(path);
  else if (shape.as === 'leaf' && !equalJson(before, after)) result.modified.insert(path);
  if (shape.as === 'map') {
    const [left, right] = [(before ?? {}) as JsonObject, (after ?? {}) as JsonObject];
    for (const name of fieldNames(left, right)) {
      const child = fieldType(shape.map, name) ?? untyped;
      compareAt(own(left, name), own(right, name), child, [...path, fieldElement(name)], result);
    }
  }
  if (shape.as === 'list') {
    const list = shape.list;
    const [left, right] = [groupItems(before, list), groupItems(after, list)];
    for (const element of new Set([...left.keys(), ...right.keys()])) {
      const [old = [], now = []] = [left.get(element), right.get(element)];
      const at = [...path, element];
      if (old.length <= 1 && now.length <= 1) compareAt(old[0], now[0], list.items, at, result);
      // Duplicates cannot be told apart: they count as one value.
      else if (!equalJson(old, now)) result.modified.insert(at);
    }
  }
}

function groupItems(
  items: unknown,
  type: MergeType & { kind: 'list' },
): Map<PathElement, unknown[]> {
  const groups = new Map<PathElement, unknown[]>();
  for (const item of (items ?? []) as unknown[]) {
    const element = itemElement(type, item) as PathElement;
    const group = groups.get(element);
    if (group) group.push(item);
    else groups.set(element, [item]);
  }
  return groups;
}

/** `value` without the members of `set`. What is emptied by that stays, as an empty map or list. */
export function remove(value: unknown, set: FieldSet, type: MergeType): unknown {
  const shape = shapeOf(type, value, undefined);
  if (shape === 'differ' || shape.as === 'leaf') return value;
  if (shape.as === 'list') {
    const out: unknown[] = [];
    for (const item of value as unknown[]) {
      const element = itemElement(shape.list, item) as PathElement;
      if (set.members.has(element)) continue;
      const below = set.children.get(element);
      out.push(below ? remove(item, below, shape.list.items) : item);
    }
    return out;
  }
  if (!isObject(value)) return value;
  const out: JsonObject = {};
  for (const name of fieldNames(value)) {
    const element = fieldElement(name);
    if (set.members.has(element)) continue;
    const below = set.children.get(element);
    const child = fieldType(shape.map, name) ?? untyped;
    out[name] = below ? remove(value[name], below, child) : value[name];
  }
  return out;
}
