import fc from 'fast-check';
import { expect, it } from 'vitest';
import { compareKeys } from './key-order.ts';

it('orders keys as their UTF-8 bytes are ordered', () => {
  const text = fc.string({ unit: 'binary' });
  fc.assert(
    fc.property(text, text, (a, b) => {
      const bytes = Buffer.compare(Buffer.from(a), Buffer.from(b));
      expect(Math.sign(compareKeys(a, b))).toBe(bytes);
    }),
    { numRuns: 1_000 },
  );
});
