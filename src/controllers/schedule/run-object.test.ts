import { describe, expect, it } from 'vitest';
import type { Service } from '../../api/v1alpha1/service.ts';
import { identityOf } from '../identity.ts';
import { runObject, runOf } from './run-object.ts';

const at = Date.parse('2026-11-25T02:30:00Z');
const alone: Service = {
  apiVersion: 'nap.dev/v1alpha1',
  kind: 'Service',
  metadata: { name: 'backup', namespace: 'default', uid: 'u1' },
  spec: { image: 'backup:1', type: 'oneshot', schedule: { cron: '@daily' } },
};
const owned: Service = {
  ...alone,
  metadata: {
    ...alone.metadata,
    name: 'shop-backup',
    labels: { 'nap.dev/project': 'shop', 'nap.dev/service': 'backup' },
  },
};

describe('runObject', () => {
  it('is a oneshot without the schedule, called after the time, that belongs to its schedule', () => {
    const run = runObject(alone, at);
    expect(run.metadata.name).toBe('backup-1795573800');
    expect(run.spec).toEqual({ image: 'backup:1', type: 'oneshot' });
    expect(run.metadata.ownerReferences?.[0]).toMatchObject({ name: 'backup', controller: true });
    expect(identityOf(run.metadata)).toEqual({
      namespace: 'default',
      project: '_',
      service: 'backup-1795573800',
    });
    expect(runOf(run)).toEqual({
      name: 'backup-1795573800',
      atMs: at,
      state: 'active',
      leaving: false,
    });
  });

  it('is a service of the same project', () => {
    const run = runObject(owned, at);
    expect(identityOf(run.metadata)).toEqual({
      namespace: 'default',
      project: 'shop',
      service: 'backup-1795573800',
    });
    const forged = {
      ...run.metadata,
      ownerReferences: [{ ...run.metadata.ownerReferences![0]!, name: 'other' }],
    };
    expect(identityOf(forged).project).toBe('_');
  });

  it('stands as its conditions say', () => {
    const now = '2026-11-25T02:31:00Z';
    const condition = {
      status: 'True' as const,
      lastTransitionTime: now,
      reason: 'R',
      message: '',
    };
    const run = runObject(alone, at);
    const withStatus = (type: string): Service => ({
      ...run,
      status: { conditions: [{ type, ...condition }] },
    });
    expect(runOf(withStatus('Complete'))?.state).toBe('succeeded');
    expect(runOf(withStatus('Failed'))?.state).toBe('failed');
    expect(runOf(alone)).toBeUndefined();
  });
});
