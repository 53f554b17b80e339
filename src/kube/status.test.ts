import fc from 'fast-check';
import { expect, it } from 'vitest';
import { equalJson } from '../api/json.ts';
import { mergePatch } from './status.ts';

/** RFC 7386, section 2. */
function apply(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch;
  const isObject = typeof target === 'object' && target !== null && !Array.isArray(target);
  const result: Record<string, unknown> = isObject ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) Reflect.deleteProperty(result, key);
    else result[key] = apply(result[key], value);
  }
  return result;
}

/** A status has objects at its root, and no nulls in objects: a merge patch cannot say them. */
const status = fc.letrec<{ value: unknown; object: Record<string, unknown> }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    fc.constantFrom('a', 'b', 1, 2, true, false),
    fc.array(tie('value'), { maxLength: 3 }),
    tie('object'),
  ),
  object: fc.dictionary(fc.constantFrom('k', 'l', 'm'), tie('value'), {
    maxKeys: 3,
    noNullPrototype: true,
  }),
})).object;

it('the patch makes one status of the other, and there is none between equals', () => {
  fc.assert(
    fc.property(status, status, (from, to) => {
      const patch = mergePatch(from, to);
      expect(patch === undefined).toBe(equalJson(from, to));
      expect(apply(from, patch ?? {})).toEqual(to);
    }),
  );
});

it('the order of properties, and properties that are undefined, make no difference', () => {
  expect(mergePatch({ a: 1, b: { c: 2 } }, { b: { c: 2, d: undefined }, a: 1, e: undefined })).toBe(
    undefined,
  );
  expect(mergePatch({ a: 1 }, { a: undefined })).toEqual({ a: null });
  expect(mergePatch({ list: [{ a: 1, b: 2 }] }, { list: [{ b: 2, a: 1 }] })).toBe(undefined);
});
