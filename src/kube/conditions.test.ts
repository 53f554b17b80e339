import { expect, it } from 'vitest';
import type { Condition } from '../api/v1alpha1/conditions.ts';
import { findCondition, isTrue } from './conditions.ts';

const condition = (type: string, status: Condition['status']): Condition => ({
  type,
  status,
  reason: 'Test',
  message: '',
  lastTransitionTime: '2026-01-01T00:00:00Z',
});

it('only a condition that is there with status True is true', () => {
  const conditions = [condition('Ready', 'True'), condition('Stalled', 'False')];
  expect(['Ready', 'Stalled', 'Scheduled'].map((type) => isTrue(conditions, type))).toEqual([
    true,
    false,
    false,
  ]);
  expect(isTrue([condition('Ready', 'Unknown')], 'Ready')).toBe(false);
  expect(isTrue(undefined, 'Ready')).toBe(false);
  expect(findCondition(conditions, 'Stalled')).toBe(conditions[1]);
});
