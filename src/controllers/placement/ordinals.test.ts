import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatOrdinals, parseOrdinals } from './ordinals.ts';

describe('ordinals', () => {
  it.each([
    [[], ''],
    [[1], '1'],
    [[1, 2, 3], '1-3'],
    [[5, 1, 2, 3], '1-3,5'],
    [[2, 4, 6], '2,4,6'],
  ])('%j is %j', (numbers, text) => {
    expect(formatOrdinals(new Set(numbers))).toBe(text);
  });

  it('come back as they were', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: 1, max: 100_000 })), (numbers) => {
        expect(parseOrdinals(formatOrdinals(new Set(numbers)))).toEqual(new Set(numbers));
      }),
    );
  });

  it('are left out where they cannot be read', () => {
    expect([...parseOrdinals('x,0,1-,3-2,7')]).toEqual([7]);
  });
});
