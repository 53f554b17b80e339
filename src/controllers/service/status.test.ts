import { describe, expect, it } from 'vitest';
import type { Service } from '../../api/v1alpha1/service.ts';
import { findCondition } from '../../kube/conditions.ts';
import {
  maxListedInstances,
  serviceStatus,
  type InstanceReport,
  type ServiceFacts,
} from './status.ts';

const service: Service = {
  apiVersion: 'nap.dev/v1alpha1',
  kind: 'Service',
  metadata: { name: 'shop-web', namespace: 'default', generation: 4 },
  spec: { image: 'web:1' },
};
const now = '2026-01-01T00:00:00Z';

function instance(ordinal: number, more: Partial<InstanceReport> = {}): InstanceReport {
  return {
    name: `shop-web-${String(ordinal)}`,
    ordinal,
    host: 'a',
    phase: 'Running',
    ready: true,
    restarts: 0,
    state: 'ready',
    updated: true,
    ...more,
  };
}

function facts(more: Partial<ServiceFacts>): ServiceFacts {
  return {
    replicas: 2,
    instances: [instance(1), instance(2)],
    leaving: 0,
    behind: false,
    deleting: false,
    ...more,
  };
}

const pulling = instance(2, { phase: 'Pulling', ready: false, state: 'starting', message: '40 %' });
const failed = instance(2, {
  phase: 'Failed',
  ready: false,
  state: 'failed',
  reason: 'ImagePullFailed',
  message: 'no such image',
});

describe('serviceStatus', () => {
  it('counts ready instances of all wanted, in numbers and for people', () => {
    const status = serviceStatus(
      service,
      facts({ replicas: 3, instances: [instance(1), failed] }),
      now,
    );
    expect(status).toMatchObject({ replicas: 2, readyReplicas: 1, readyInstances: '1/3' });
  });

  it.each<{
    what: string;
    given: Partial<ServiceFacts>;
    state: string;
    conditions: Record<string, string>;
    message?: RegExp;
  }>([
    {
      what: 'all ready',
      given: {},
      state: 'Running',
      conditions: { Ready: 'True', Reconciling: 'False', Stalled: 'False', Scheduled: 'True' },
    },
    {
      what: 'one pulling',
      given: { instances: [instance(1), pulling] },
      state: 'Starting',
      conditions: { Ready: 'False', Reconciling: 'True', Stalled: 'False' },
      message: /1\/2 instances ready; shop-web-2: Pulling, 40 %/,
    },
    {
      what: 'one failed',
      given: { instances: [instance(1), failed] },
      state: 'Degraded',
      conditions: { Ready: 'False', Reconciling: 'True' },
      message: /shop-web-2 on a: ImagePullFailed: no such image/,
    },
    {
      what: 'all failed',
      given: { replicas: 1, instances: [{ ...failed, ordinal: 1 }] },
      state: 'Failed',
      conditions: { Ready: 'False' },
    },
    {
      what: 'no room',
      given: {
        instances: [instance(1)],
        unschedulable: '1 of 2 pending: 0/1 hosts fit: 1 is cordoned',
      },
      state: 'Pending',
      conditions: { Ready: 'False', Scheduled: 'False' },
      message: /1 is cordoned/,
    },
    {
      what: 'an update under way',
      given: { roll: { state: 'waiting', message: 'updating one by one, 1 to go' } },
      state: 'Updating',
      conditions: { Ready: 'False', Reconciling: 'True' },
    },
    {
      what: 'an update that stopped',
      given: { roll: { state: 'stopped', message: 'update stopped, 1 to go: instance 1 on a: x' } },
      state: 'Failed',
      conditions: { Ready: 'False', Stalled: 'True' },
    },
    {
      what: 'a spec that cannot be acted upon',
      given: { invalid: 'spec.ports[0]: "x": not a port' },
      state: 'Invalid',
      conditions: { Ready: 'False', Stalled: 'True', Reconciling: 'False' },
      message: /spec\.ports\[0\]/,
    },
    {
      what: 'a change that was not acted upon yet is never Ready',
      given: { behind: true },
      state: 'Updating',
      conditions: { Ready: 'False', Reconciling: 'True' },
    },
    {
      what: 'scaled to nothing',
      given: { replicas: 0, instances: [] },
      state: 'Running',
      conditions: { Ready: 'True' },
    },
    {
      what: 'ended with success',
      given: {
        replicas: 1,
        instances: [instance(1, { phase: 'Exited', ready: false, state: 'done' })],
      },
      state: 'Completed',
      conditions: { Ready: 'True' },
    },
    {
      what: 'being deleted',
      given: { replicas: 0, deleting: true },
      state: 'Deleting',
      conditions: { Ready: 'False', Reconciling: 'True' },
      message: /2 instances left/,
    },
  ])('$what: $state', ({ given, state, conditions, message }) => {
    const status = serviceStatus(service, facts(given), now);
    expect(status.state).toBe(state);
    expect(status.observedGeneration).toBe(4);
    for (const [type, value] of Object.entries(conditions)) {
      expect([type, findCondition(status.conditions, type)?.status]).toEqual([type, value]);
    }
    if (message !== undefined) {
      expect(findCondition(status.conditions, 'Ready')?.message).toMatch(message);
    }
  });

  it('keeps the time of a transition until the status changes', () => {
    const first = serviceStatus(service, facts({}), now);
    const later = '2026-01-02T00:00:00Z';
    const second = serviceStatus({ ...service, status: first }, facts({}), later);
    expect(second).toEqual(first);
    const third = serviceStatus({ ...service, status: second }, facts({ behind: true }), later);
    expect(findCondition(third.conditions, 'Ready')?.lastTransitionTime).toBe(later);
    expect(findCondition(third.conditions, 'Stalled')?.lastTransitionTime).toBe(now);
  });

  it('of very many instances stays small, and shows those with trouble', () => {
    const message = 'x'.repeat(10_000);
    const instances = Array.from({ length: 5_000 }, (_, i) =>
      i >= 4_990 ? instance(i + 1, { ready: false, state: 'failed', message }) : instance(i + 1),
    );
    const status = serviceStatus(service, facts({ replicas: 5_000, instances }), now);
    expect(status.instances).toHaveLength(maxListedInstances);
    expect(status.instances?.filter((i) => !i.ready)).toHaveLength(10);
    expect(status.readyReplicas).toBe(4_990);
    expect(JSON.stringify(status).length).toBeLessThan(400_000);
    expect(findCondition(status.conditions, 'Ready')?.message).toContain('shows 500 of 5000');
  });
});

describe('serviceStatus of what comes to an end', () => {
  const run = {
    succeeded: 1,
    failures: 0,
    active: 2,
    complete: false,
    remains: false,
    rollsBack: false,
  };
  const of = (more: Partial<ServiceFacts>) =>
    serviceStatus(service, facts({ replicas: 3, instances: [], ...more }), now);
  const type = (status: ReturnType<typeof of>, name: string) =>
    findCondition(status.conditions, name);

  it('counts while it runs', () => {
    const status = of({ run: { ...run, failures: 1, startedAt: '2026-01-01T00:00:00.250Z' } });
    expect(status).toMatchObject({
      state: 'Running',
      completions: '1/3',
      succeeded: 1,
      active: 2,
      failed: 1,
      readyInstances: '0/2',
      startTime: '2026-01-01T00:00:00Z',
    });
    expect(type(status, 'Ready')?.message).toBe('1/3 done, 2 active; 1 try has failed');
    expect(type(status, 'Reconciling')?.status).toBe('True');
    expect(type(status, 'Complete')?.status).toBe('False');
  });

  it.each([
    [false, 'Completed', '0/0', 0],
    [true, 'Active', '3/3', 3],
  ])('is ready when it is done (remainAfterExit: %s)', (remains, state, readyInstances, ready) => {
    const done = { ...run, succeeded: 3, active: 0, complete: true, remains };
    const status = of({ run: done });
    expect(status).toMatchObject({ state, readyInstances, readyReplicas: ready });
    expect(type(status, 'Ready')?.status).toBe('True');
    expect(type(status, 'Complete')?.status).toBe('True');
    expect(type(status, 'Stalled')?.status).toBe('False');
  });

  it.each([
    [false, 'BackoffLimitExceeded'],
    [true, 'UpdateFailed'],
  ])('is stalled when it has failed (whole project goes back: %s)', (rollsBack, reason) => {
    const failed = { reason: 'BackoffLimitExceeded', message: 'instance 1: exited with code 3' };
    const status = of({ run: { ...run, active: 0, failed, rollsBack } });
    expect(status.state).toBe('Failed');
    expect(type(status, 'Stalled')).toMatchObject({ status: 'True', reason });
    expect(type(status, 'Failed')).toMatchObject({ status: 'True', ...failed });
    expect(type(status, 'Ready')?.status).toBe('False');
  });

  it('has the conditions of a job no longer than it is one', () => {
    const before = { ...service, status: of({ run }) };
    const after = serviceStatus(before, facts({}), now);
    expect(after.conditions?.map((condition) => condition.type)).toEqual([
      'Ready',
      'Reconciling',
      'Stalled',
      'Scheduled',
    ]);
  });

  it('tells of a schedule when it runs next', () => {
    const schedule = {
      suspended: false,
      status: { nextScheduleTime: '2026-01-01T02:30:00Z', active: 0, runs: [] },
    };
    const status = of({ replicas: 0, schedule });
    expect(status.state).toBe('Scheduled');
    expect(type(status, 'Ready')).toMatchObject({
      status: 'True',
      message: 'next run at 2026-01-01T02:30:00Z',
    });
    expect(of({ replicas: 0, schedule: { ...schedule, suspended: true } }).state).toBe('Suspended');
  });
});
