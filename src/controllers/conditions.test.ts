import { expect, it } from 'vitest';
import { clip, mergeConditions } from './conditions.ts';

const first = '2026-01-01T00:00:00Z';
const later = '2026-01-01T00:01:00Z';
const ready = { type: 'Ready', status: 'False', reason: 'Starting', message: '0/3' } as const;

it('moves lastTransitionTime only with the status', () => {
  const before = mergeConditions(undefined, [ready], undefined, first);
  expect(before).toEqual([{ ...ready, lastTransitionTime: first }]);
  const reworded = mergeConditions(before, [{ ...ready, message: '1/3' }], 2, later);
  expect(reworded).toEqual([
    { ...ready, message: '1/3', observedGeneration: 2, lastTransitionTime: first },
  ]);
  const [turned] = mergeConditions(reworded, [{ ...ready, status: 'True' }], 2, later);
  expect(turned?.lastTransitionTime).toBe(later);
});

it('leaves the conditions of others alone', () => {
  const foreign = { ...ready, type: 'example.com/Audited', lastTransitionTime: first };
  const merged = mergeConditions([foreign], [ready], undefined, later);
  expect(merged.map(({ type }) => type)).toEqual(['Ready', 'example.com/Audited']);
  expect(merged[1]).toBe(foreign);
});

it('says that a text was cut', () => {
  expect(clip('abcd', 4)).toBe('abcd');
  expect(clip('abcde', 4)).toBe('abc…');
});
