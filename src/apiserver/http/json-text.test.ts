import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { JsonTextError, maxDepth, parseJsonText } from './json-text.ts';

describe('parseJsonText', () => {
  it('reads whatever JSON.stringify writes, without finding duplicates', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), (value) => {
        const text = JSON.stringify(value);
        expect(parseJsonText(text)).toEqual({ value: JSON.parse(text) as unknown, duplicates: [] });
      }),
    );
  });

  it('names members that occur twice, also behind escapes and in lists', () => {
    const { duplicates } = parseJsonText(
      '{"a":{"b":1,"b":2},"l":[0,{"c":1,"\\u0063":2}],"a":3,"s":"\\"b\\":,{"}',
    );
    expect(duplicates).toEqual(['a.b', 'l[1].c', 'a']);
  });

  it('allows the same name in different objects', () => {
    expect(parseJsonText('[{"a":1},{"a":2}]').duplicates).toEqual([]);
  });

  it('refuses depth before it recurses', () => {
    const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);
    expect(parseJsonText(nested(maxDepth)).duplicates).toEqual([]);
    expect(() => parseJsonText(nested(maxDepth + 1))).toThrow(JsonTextError);
    expect(() => parseJsonText(nested(1_000_000))).toThrow(JsonTextError);
  });

  it('fails in one way only on any text', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          parseJsonText(text);
        } catch (error) {
          expect(error).toBeInstanceOf(JsonTextError);
        }
      }),
    );
  });
});
