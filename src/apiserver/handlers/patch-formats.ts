import { applyPatch as applyJsonPatch, type Operation } from 'rfc6902';
import { cloneJson, equalJson, isObject, setMember, type JsonObject } from '../../api/json.ts';
import { ApiError, badRequest } from '../errors/api-error.ts';

/** Most operations of one JSON patch, as in the real server. */
const maxOperations = 10_000;
/** `copy` can double an object with each use: the result may not outgrow a request body. */
const maxResultBytes = 3 * 1024 * 1024;

const operations = new Set(['add', 'remove', 'replace', 'move', 'copy', 'test']);

/** RFC 6902. 400 for a malformed patch, 422 for one that cannot be applied (a failed test, a missing path). */
export function jsonPatch(document: JsonObject, patch: unknown): unknown {
  if (!Array.isArray(patch))
    throw badRequest('error decoding patch: a JSON patch is a list of operations');
  if (patch.length > maxOperations) {
    throw new ApiError(
      413,
      'RequestEntityTooLarge',
      `The allowed maximum operations in a JSON patch is ${maxOperations}, got ${patch.length}`,
      {},
    );
  }
  const target: unknown = cloneJson(document);
  for (const operation of patch as unknown[]) {
    if (!isOperation(operation))
      throw badRequest(
        `error decoding patch: not an operation: ${JSON.stringify(operation).slice(0, 200)}`,
      );
    if (operation.path === '') throw unappliable();
    const [problem] = applyJsonPatch(target, [cloneJson(operation)]);
    if (problem !== null) throw unappliable();
    if (operation.op === 'copy' && JSON.stringify(target).length > maxResultBytes) {
      throw new ApiError(413, 'RequestEntityTooLarge', 'the patched object is too large', {});
    }
  }
  return target;
}

function isOperation(value: unknown): value is Operation {
  if (!isObject(value) || typeof value['op'] !== 'string' || typeof value['path'] !== 'string')
    return false;
  if (!operations.has(value['op'])) return false;
  if (value['path'] !== '' && !value['path'].startsWith('/')) return false;
  if (value['op'] === 'move' || value['op'] === 'copy') return typeof value['from'] === 'string';
  return value['op'] === 'remove' || Object.hasOwn(value, 'value');
}

const unappliable = (): ApiError =>
  new ApiError(
    422,
    'Invalid',
    'the server rejected our request due to an error in our request',
    {},
  );

/** RFC 7386. */
export function mergePatch(document: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return cloneJson(patch);
  const merged: JsonObject = isObject(document) ? { ...document } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) Reflect.deleteProperty(merged, key);
    else
      setMember(
        merged,
        key,
        mergePatch(Object.hasOwn(merged, key) ? merged[key] : undefined, value),
      );
  }
  return merged;
}

/** Lists that merge by a member instead of being replaced; '' merges lists of plain values as sets. */
const mergeKeys: Readonly<Record<string, string>> = {
  ownerReferences: 'uid',
  finalizers: '',
  secrets: 'name',
  imagePullSecrets: 'name',
  conditions: 'type',
};

/**
 * Strategic merge for the built-in kinds: a merge patch, but lists with a merge key merge item by item, and
 * the directives `$patch: replace|delete`, `$deleteFromPrimitiveList/…`, `$retainKeys` hold.
 * Source: k8s.io/apimachinery/pkg/util/strategicpatch.
 */
export function strategicMergePatch(document: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return cloneJson(patch);
  const directive = patch['$patch'];
  if (directive === 'delete') return {};
  const base: JsonObject = isObject(document) && directive !== 'replace' ? { ...document } : {};
  const retain = patch['$retainKeys'];
  if (Array.isArray(retain)) {
    for (const key of Object.keys(base))
      if (!retain.includes(key)) Reflect.deleteProperty(base, key);
  }
  for (const [key, value] of Object.entries(patch)) {
    if (key === '$patch' || key === '$retainKeys' || key.startsWith('$setElementOrder/')) continue;
    const primitive = /^\$deleteFromPrimitiveList\/(.+)$/s.exec(key)?.[1];
    if (primitive !== undefined) removeValues(base, primitive, value);
    else if (value === null) Reflect.deleteProperty(base, key);
    else {
      const old = Object.hasOwn(base, key) ? base[key] : undefined;
      setMember(base, key, mergeMember(key, old, value));
    }
  }
  return base;
}

function removeValues(base: JsonObject, key: string, values: unknown): void {
  const list = base[key];
  if (!Array.isArray(list) || !Array.isArray(values)) return;
  base[key] = list.filter((item) => !values.some((value) => equalJson(item, value)));
}

function mergeMember(key: string, old: unknown, value: unknown): unknown {
  if (!Array.isArray(value)) return strategicMergePatch(old, value);
  const mergeKey = Object.hasOwn(mergeKeys, key) ? mergeKeys[key] : undefined;
  if (mergeKey === undefined || !Array.isArray(old)) {
    return (value as unknown[]).filter((item) => !isDirective(item)).map((item) => cloneJson(item));
  }
  if (mergeKey === '') return [...new Set([...(old as unknown[]), ...(value as unknown[])])];
  return mergeItems(old as unknown[], value as unknown[], mergeKey);
}

const isDirective = (item: unknown): boolean => isObject(item) && Object.hasOwn(item, '$patch');

function mergeItems(
  old: readonly unknown[],
  patch: readonly unknown[],
  mergeKey: string,
): unknown[] {
  if (patch.some((item) => isObject(item) && item['$patch'] === 'replace')) {
    return patch.filter((item) => !isDirective(item)).map((item) => cloneJson(item));
  }
  let merged = [...old];
  for (const item of patch) {
    if (!isObject(item)) continue;
    const at = merged.findIndex((other) => isObject(other) && other[mergeKey] === item[mergeKey]);
    if (item['$patch'] === 'delete') merged = merged.filter((_, index) => index !== at);
    else if (at < 0) merged.push(cloneJson(item));
    else merged[at] = strategicMergePatch(merged[at], item);
  }
  return merged;
}
