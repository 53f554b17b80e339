import { describe, expect, it } from 'vitest';
import type { Host } from '../../api/v1alpha1/host.ts';
import { drainClaim, drainDue, isDraining, isEmptied } from './drain.ts';

const host = (over: Partial<Host>): Host => ({
  apiVersion: 'nap.dev/v1alpha1',
  kind: 'Host',
  metadata: { name: 'h1' },
  ...over,
});
const drained = (status: 'True' | 'False') => ({
  conditions: [
    {
      type: 'Drained',
      status,
      reason: 'x',
      message: '',
      lastTransitionTime: '2026-01-01T00:00:00Z',
    },
  ],
});

describe('draining a host', () => {
  it('begins when its owner says so or deletes it', () => {
    expect(isDraining(host({ spec: {} }))).toBe(false);
    expect(isDraining(host({ spec: { drain: {} } }))).toBe(true);
  });

  it('may wait until the deadline after the status first told of it', () => {
    const spec = { drain: { deadline: '1m30s' } };
    const due = Date.parse('2026-01-01T00:01:30Z');
    expect(drainDue(host({ spec, status: drained('False') }))).toBe(due);
    expect(drainDue(host({ spec }))).toBeUndefined();
    expect(drainDue(host({ spec, status: drained('True') }))).toBeUndefined();
    expect(drainDue(host({ spec: { drain: {} }, status: drained('False') }))).toBeUndefined();
    expect(
      drainDue(host({ spec: { drain: { deadline: 'x' } }, status: drained('False') })),
    ).toBeUndefined();
  });

  it('is done when nothing is left', () => {
    expect(drainClaim([], false)).toMatchObject({ status: 'True', reason: 'Empty' });
    expect(isEmptied(host({ spec: { drain: {} }, status: drained('True') }))).toBe(true);
    expect(isEmptied(host({ status: drained('True') }))).toBe(false);
  });

  it('says what cannot move, and why', () => {
    expect(drainClaim([{ name: 'ns/a-1' }], false)).toMatchObject({
      reason: 'Draining',
      message: '1 instance left',
    });
    expect(drainClaim([{ name: 'ns/a-1' }, { name: 'ns/b-1', why: 'w' }], false)).toMatchObject({
      status: 'False',
      reason: 'Blocked',
      message: '2 instances left, 1 of them cannot move: ns/b-1: w',
    });
    expect(drainClaim([{ name: 'ns/b-1', why: 'w' }], true).reason).toBe('DeadlineExceeded');
  });
});
