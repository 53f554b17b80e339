import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatCpuQuantity, parseCpuQuantity } from './cpu-quantity.ts';

describe('parseCpuQuantity', () => {
  it.each<[string | number, number]>([
    [2, 2000],
    ['2', 2000],
    ['0.5', 500],
    ['0.29', 290],
    ['1.005', 1005],
    ['250m', 250],
    [0, 0],
  ])('reads %s', (text, millis) => {
    expect(parseCpuQuantity(text)).toBe(millis);
  });

  it.each<[string | number, RegExp]>([
    ['', /use a number with at most three decimals/],
    ['0.0001', /at most three decimals/],
    ['-1', /not an amount/],
    ['0.5m', /not an amount/],
    ['1,5', /not an amount/],
    ['two', /not an amount/],
    ['9'.repeat(400), /more than a million/],
  ])('refuses %s', (text, message) => {
    expect(() => parseCpuQuantity(text)).toThrow(message);
  });

  it('reads back what formatCpuQuantity writes', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1_000_000_000 }), (millis) => {
        expect(parseCpuQuantity(formatCpuQuantity(millis))).toBe(millis);
      }),
    );
  });
});
