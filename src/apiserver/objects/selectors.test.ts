import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { ApiError } from '../errors/api-error.ts';
import { fieldMatcher, parseFieldTerms, parseLabelSelector } from './selectors.ts';

describe('label selectors', () => {
  it('never fail otherwise than with 400', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 40 }), (text) => {
        try {
          parseLabelSelector(text)({ a: 'b' });
        } catch (error) {
          expect(error).toBeInstanceOf(ApiError);
          expect((error as ApiError).code).toBe(400);
        }
      }),
    );
  });

  it("in and notin, = and != are each other's opposites", () => {
    const word = fc.stringMatching(/^[a-z]{1,5}$/);
    fc.assert(
      fc.property(
        word,
        fc.uniqueArray(word, { minLength: 1 }),
        fc.dictionary(word, word),
        (key, values, labels) => {
          const list = values.join(',');
          expect(parseLabelSelector(`${key} in (${list})`)(labels)).toBe(
            !parseLabelSelector(`${key} notin (${list})`)(labels),
          );
          const value = values[0] ?? '';
          expect(parseLabelSelector(`${key}=${value}`)(labels)).toBe(
            !parseLabelSelector(`${key}!=${value}`)(labels),
          );
        },
      ),
    );
  });

  it('compare numbers', () => {
    expect(parseLabelSelector('n>3')({ n: '4' })).toBe(true);
    expect(parseLabelSelector('n>3')({ n: '3' })).toBe(false);
    expect(parseLabelSelector('n<3')({})).toBe(false);
  });

  it('do not take inherited members for labels', () => {
    expect(parseLabelSelector('constructor')({})).toBe(false);
    expect(parseLabelSelector('!toString')({})).toBe(true);
  });
});

describe('field selectors', () => {
  it('read escapes', () => {
    expect(parseFieldTerms('a=b\\,c,d!=e\\=f')).toEqual([
      { field: 'a', equal: true, value: 'b,c' },
      { field: 'd', equal: false, value: 'e=f' },
    ]);
  });

  it('take an absent field for empty', () => {
    const matches = fieldMatcher(
      parseFieldTerms('status.phase='),
      new Map([['status.phase', ['status', 'phase']]]),
    );
    expect(matches({ apiVersion: 'v1', kind: 'X', metadata: {} })).toBe(true);
    expect(matches({ apiVersion: 'v1', kind: 'X', metadata: {}, status: { phase: 'A' } })).toBe(
      false,
    );
  });
});
