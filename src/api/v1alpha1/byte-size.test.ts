import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatByteSize, formatByteSizeRounded, parseByteSize } from './byte-size.ts';

describe('parseByteSize', () => {
  it.each<[string | number, number]>([
    [1_048_576, 1_048_576],
    ['0', 0],
    ['100b', 100],
    ['512k', 524_288],
    ['64M', 67_108_864],
    ['64mb', 67_108_864],
    ['64Mi', 67_108_864],
    ['64MiB', 67_108_864],
    ['1.5G', 1_610_612_736],
    ['2t', 2_199_023_255_552],
    ['1.0001k', 1024],
  ])('reads %s', (text, bytes) => {
    expect(parseByteSize(text)).toBe(bytes);
  });

  it.each<[string | number, RegExp]>([
    ['', /use bytes or the units k, M, G, T/],
    ['64X', /not an amount of memory/],
    ['M', /not an amount of memory/],
    ['-1', /not an amount of memory/],
    [-1, /not an amount of memory/],
    ['64 M', /not an amount of memory/],
    ['1e9', /not an amount of memory/],
    ['9000T', /too much memory/],
    ['9'.repeat(500), /too much memory/],
  ])('refuses %s', (text, message) => {
    expect(() => parseByteSize(text)).toThrow(message);
  });

  it('reads back what formatByteSize writes', () => {
    expect(formatByteSize(4 * 1024 ** 3)).toBe('4Gi');
    expect(formatByteSize(1500)).toBe('1500');
    fc.assert(
      fc.property(fc.maxSafeNat(), fc.integer({ min: 0, max: 4 }), (number, power) => {
        const bytes = Math.floor(number / 1024 ** power) * 1024 ** power;
        expect(parseByteSize(formatByteSize(bytes))).toBe(bytes);
      }),
    );
  });

  it('rounds for reading', () => {
    expect(formatByteSizeRounded(4_100_000_000)).toBe('3.82Gi');
    expect(formatByteSizeRounded(134_217_728)).toBe('128Mi');
    expect(formatByteSizeRounded(1023 * 1024)).toBe('1023Ki');
    expect(formatByteSizeRounded(0)).toBe('0');
  });
});
