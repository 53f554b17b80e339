import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalJson, cloneJson, equalJson, isObject, setMember } from './json.ts';

const hostile = JSON.parse('{"__proto__":{"polluted":true},"constructor":1}') as object;

/** The same value with the members of every object in the opposite order. */
function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed);
  if (!isObject(value)) return value;
  const out = {};
  for (const key of Object.keys(value).reverse()) setMember(out, key, reversed(value[key]));
  return out;
}

const json = fc.jsonValue().map((value) => (Object.is(value, -0) ? 0 : value));

describe('JSON values', () => {
  it('are equal exactly when their canonical texts are', () => {
    fc.assert(
      fc.property(json, json, (a, b) => {
        expect(equalJson(a, b)).toBe(canonicalJson(a) === canonicalJson(b));
        expect(equalJson(a, reversed(a))).toBe(true);
        expect(canonicalJson(reversed(a))).toBe(canonicalJson(a));
      }),
    );
  });

  it('are copied whole', () => {
    fc.assert(
      fc.property(json, (value) => {
        expect(JSON.stringify(cloneJson(value))).toBe(JSON.stringify(value));
      }),
    );
  });

  it('take undefined for absent', () => {
    expect(equalJson({ a: 1, b: undefined }, { a: 1 })).toBe(true);
    expect(equalJson({ a: 1 }, { a: 1, b: undefined })).toBe(true);
    expect(equalJson({ a: undefined }, { b: 1 })).toBe(false);
    expect(canonicalJson({ a: 1, b: undefined })).toBe('{"a":1}');
  });

  it('may have members that are called like those of every object', () => {
    const copy = cloneJson(hostile);
    expect(JSON.stringify(copy)).toBe(JSON.stringify(hostile));
    expect(equalJson(copy, hostile)).toBe(true);
    expect(equalJson(hostile, { constructor: 1 })).toBe(false);
    expect(equalJson(JSON.parse('{"__proto__":{}}'), { a: undefined, b: {} })).toBe(false);
    expect(canonicalJson(hostile)).toBe('{"__proto__":{"polluted":true},"constructor":1}');
    expect('polluted' in copy).toBe(false);
  });
});
