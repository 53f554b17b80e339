import { canonicalJson, equalJson, isObject } from '../../api/json.ts';
import type { LocatedCause } from './cause.ts';
import { segmentKey } from './field-path.ts';
import type { SchemaNode } from './node.ts';

/**
 * Validation ratcheting, as Kubernetes has it since 1.30: an update is not refused for what was already
 * wrong and is left as it was, so that a tightened schema does not lock objects (or their status).
 * A value counts as unchanged when it, or the nearest part around it that can be matched with the old
 * object, is equal to its old self. Items are matched in lists of type map only.
 */
export function ratchet(
  causes: readonly LocatedCause[],
  object: unknown,
  old: unknown,
  root: SchemaNode,
): LocatedCause[] {
  return causes.filter(
    (found) => found.transition === true || !unchanged(found, object, old, root),
  );
}

function unchanged(found: LocatedCause, object: unknown, old: unknown, root: SchemaNode): boolean {
  let now: unknown = object;
  let before: unknown = old;
  let node: SchemaNode | undefined = root;
  for (const segment of found.node) {
    const key = segmentKey(segment);
    const correlated: { found: boolean; value: unknown } = correlate(now, before, key, node);
    if (!correlated.found) break;
    before = correlated.value;
    now = (now as Record<string | number, unknown>)[key];
    node = typeof key === 'number' ? node?.items : (node?.fields.get(key) ?? node?.values);
  }
  return equalJson(now, before);
}

function correlate(
  now: unknown,
  before: unknown,
  key: string | number,
  node: SchemaNode | undefined,
): { found: boolean; value: unknown } {
  if (isObject(now) && isObject(before) && Object.hasOwn(before, key)) {
    return { found: true, value: before[key] };
  }
  if (Array.isArray(now) && Array.isArray(before) && typeof key === 'number') {
    const item = oldListItem(now[key], before, node);
    if (item !== undefined) return { found: true, value: item };
  }
  return { found: false, value: undefined };
}

/** The item of `before` with the same list-map keys as `item`; undefined if there is none. */
export function oldListItem(
  item: unknown,
  before: readonly unknown[],
  node: SchemaNode | undefined,
): unknown {
  const keys = node?.schema['x-kubernetes-list-map-keys'];
  if (!keys || !isObject(item)) return undefined;
  const identity = (value: unknown): string =>
    isObject(value) ? canonicalJson(keys.map((key) => value[key] ?? null)) : '';
  const wanted = identity(item);
  return before.find((candidate) => identity(candidate) === wanted);
}
