import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { mergePatch, strategicMergePatch, jsonPatch } from './patch-formats.ts';

describe('mergePatch', () => {
  // The table of RFC 7386, appendix A.
  it.each([
    [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
    [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
    [{ a: 'b' }, { a: null }, {}],
    [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
    [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
    [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
    [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
    [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ])('%j with %j is %j', (document, patch, expected) => {
    expect(mergePatch(document, patch)).toEqual(expected);
  });

  it('changes nothing when applied a second time, and leaves its arguments alone', () => {
    const value = fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 }));
    fc.assert(
      fc.property(value, value, (document, patch) => {
        const before = JSON.stringify([document, patch]);
        const once = mergePatch(document, patch);
        expect(mergePatch(once, patch)).toEqual(once);
        expect(JSON.stringify([document, patch])).toBe(before);
      }),
    );
  });
});

describe('strategicMergePatch', () => {
  const owners = {
    ownerReferences: [
      { uid: '1', name: 'a' },
      { uid: '2', name: 'b' },
    ],
  };

  it('merges lists by their key', () => {
    expect(
      strategicMergePatch(owners, {
        ownerReferences: [
          { uid: '2', name: 'c' },
          { uid: '3', name: 'd' },
        ],
      }),
    ).toEqual({
      ownerReferences: [
        { uid: '1', name: 'a' },
        { uid: '2', name: 'c' },
        { uid: '3', name: 'd' },
      ],
    });
    expect(
      strategicMergePatch(owners, { ownerReferences: [{ $patch: 'delete', uid: '1' }] }),
    ).toEqual({
      ownerReferences: [{ uid: '2', name: 'b' }],
    });
  });

  it('treats finalizers as a set, and other lists as wholes', () => {
    expect(strategicMergePatch({ finalizers: ['a'] }, { finalizers: ['a', 'b'] })).toEqual({
      finalizers: ['a', 'b'],
    });
    expect(
      strategicMergePatch(
        { finalizers: ['a', 'b'] },
        { '$deleteFromPrimitiveList/finalizers': ['a'] },
      ),
    ).toEqual({
      finalizers: ['b'],
    });
    expect(strategicMergePatch({ other: ['a'] }, { other: ['b'] })).toEqual({ other: ['b'] });
  });

  it('replaces a map when told to', () => {
    expect(
      strategicMergePatch({ data: { a: '1' } }, { data: { $patch: 'replace', b: '2' } }),
    ).toEqual({ data: { b: '2' } });
  });
});

describe('jsonPatch', () => {
  it('leaves the document alone when it fails half way', () => {
    const document = { a: { b: 1 } };
    expect(() =>
      jsonPatch(document, [
        { op: 'replace', path: '/a/b', value: 2 },
        { op: 'test', path: '/a/b', value: 3 },
      ]),
    ).toThrow('the server rejected our request');
    expect(document).toEqual({ a: { b: 1 } });
  });

  it('stops an object that doubles with each operation', () => {
    const patch = Array.from({ length: 40 }, (_, index) => ({
      op: 'copy',
      from: '/a',
      path: `/a/c${index}`,
    }));
    expect(() => jsonPatch({ a: { text: 'x'.repeat(100) } }, patch)).toThrow('too large');
  });

  it('cannot reach a prototype', () => {
    try {
      jsonPatch({ a: {} }, [{ op: 'add', path: '/__proto__/polluted', value: true }]);
    } catch {
      // A refusal is as good.
    }
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });
});
