import { expect, it } from 'vitest';
import { findCondition, isTrue, setCondition } from './conditions.ts';

const ready = { type: 'Ready', status: 'False', reason: 'Starting', message: '0/3' } as const;
const first = Date.parse('2026-01-01T00:00:00.500Z');
const later = first + 60_000;

it('moves lastTransitionTime only with the status', () => {
  const before = setCondition(undefined, ready, first);
  expect(before).toEqual([{ ...ready, lastTransitionTime: '2026-01-01T00:00:00Z' }]);
  const reworded = setCondition(before, { ...ready, message: '1/3', observedGeneration: 2 }, later);
  expect(findCondition(reworded, 'Ready')).toMatchObject({
    message: '1/3',
    observedGeneration: 2,
    lastTransitionTime: '2026-01-01T00:00:00Z',
  });
  const turned = setCondition(reworded, { ...ready, status: 'True' }, later);
  expect(findCondition(turned, 'Ready')?.lastTransitionTime).toBe('2026-01-01T00:01:00Z');
  expect([isTrue(reworded, 'Ready'), isTrue(turned, 'Ready')]).toEqual([false, true]);
});

it('gives the same array back when nothing changed, and leaves the others alone', () => {
  const scheduled = { ...ready, type: 'Scheduled' };
  const both = setCondition(setCondition(undefined, ready, first), scheduled, first);
  expect(setCondition(both, scheduled, later)).toBe(both);
  const changed = setCondition(both, { ...scheduled, status: 'True' }, later);
  expect(changed.map((condition) => condition.type)).toEqual(['Ready', 'Scheduled']);
  expect(changed[0]).toBe(both[0]);
});
