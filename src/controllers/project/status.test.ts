import { describe, expect, it } from 'vitest';
import type { Project } from '../../api/v1alpha1/project.ts';
import type { Service } from '../../api/v1alpha1/service.ts';
import { findCondition } from '../../kube/conditions.ts';
import { projectStatus, type ProjectFacts } from './status.ts';

const now = '2026-01-01T00:00:00Z';
const project: Project = {
  apiVersion: 'nap.dev/v1alpha1',
  kind: 'Project',
  metadata: { name: 'shop', namespace: 'default', uid: 'p1', generation: 2 },
  spec: { services: { web: { image: 'web', replicas: 3 }, db: { image: 'db' } } },
};

interface Part {
  readonly ready?: boolean;
  readonly state?: string;
  readonly scheduled?: 'True' | 'False';
  readonly message?: string;
  readonly observed?: number;
  readonly replicas?: number;
  readonly readyReplicas?: number;
}

function service(part: Part): Service {
  const { ready = true, state = 'Running', scheduled = 'True', message = 'm', replicas = 1 } = part;
  const condition = (type: string, status: 'True' | 'False') => ({
    type,
    status,
    reason: 'R',
    message,
    lastTransitionTime: now,
  });
  return {
    apiVersion: 'nap.dev/v1alpha1',
    kind: 'Service',
    metadata: { name: 'x', generation: 5 },
    spec: { image: 'x', replicas },
    status: {
      observedGeneration: part.observed ?? 5,
      readyReplicas: part.readyReplicas ?? replicas,
      state,
      conditions: [
        condition('Ready', ready ? 'True' : 'False'),
        condition('Reconciling', ready ? 'False' : 'True'),
        condition('Stalled', 'False'),
        condition('Scheduled', scheduled),
      ],
    },
  };
}

function facts(
  web: Part | undefined,
  db: Part = {},
  more: Partial<ProjectFacts> = {},
): ProjectFacts {
  const services = new Map<string, Service>();
  if (web !== undefined) services.set('web', service({ replicas: 3, ...web }));
  services.set('db', service(db));
  return { clashes: [], services, ...more };
}

describe('projectStatus', () => {
  it.each<{
    what: string;
    given: ProjectFacts;
    state: string;
    counts: string;
    ready: string;
    stalled?: string;
  }>([
    { what: 'all ready', given: facts({}), state: 'Running', counts: '2/2 4/4', ready: 'True' },
    {
      what: 'a service is not made yet',
      given: facts(undefined),
      state: 'Starting',
      counts: '1/2 1/4',
      ready: 'False',
    },
    {
      what: 'the status of a service is older than its spec',
      given: facts({ observed: 4 }),
      state: 'Starting',
      counts: '1/2 4/4',
      ready: 'False',
    },
    {
      what: 'a service has failed and another one starts',
      given: facts(
        { ready: false, state: 'Failed', readyReplicas: 0 },
        { ready: false, state: 'Starting', readyReplicas: 0 },
      ),
      state: 'Failed',
      counts: '0/2 0/4',
      ready: 'False',
    },
    {
      what: 'a service was scaled by hand',
      given: facts({ replicas: 5 }),
      state: 'Running',
      counts: '2/2 6/6',
      ready: 'True',
    },
    {
      what: 'the spec cannot be acted upon',
      given: facts({}, {}, { invalid: 'spec.services.web.image: …' }),
      state: 'Invalid',
      counts: '2/2 4/4',
      ready: 'False',
      stalled: 'InvalidSpec',
    },
    {
      what: 'a name is taken',
      given: facts(
        undefined,
        {},
        { clashes: [{ service: 'web', objectName: 'shop-web', owner: undefined }] },
      ),
      state: 'Stalled',
      counts: '1/2 1/4',
      ready: 'False',
      stalled: 'NameTaken',
    },
  ])('$what: $state', ({ given, state, counts, ready, stalled }) => {
    const status = projectStatus(project, given, now);
    expect(status.state).toBe(state);
    expect(`${String(status.services)} ${String(status.instances)}`).toBe(counts);
    expect(findCondition(status.conditions, 'Ready')?.status).toBe(ready);
    const condition = findCondition(status.conditions, 'Stalled');
    expect(condition?.status === 'True' ? condition.reason : undefined).toBe(stalled);
    expect(condition?.observedGeneration).toBe(2);
  });

  it('says which services have no host, and why', () => {
    const given = facts({
      ready: false,
      state: 'Pending',
      scheduled: 'False',
      message: '0/1 hosts fit',
    });
    const status = projectStatus(project, given, now);
    expect(findCondition(status.conditions, 'Scheduled')).toMatchObject({
      status: 'False',
      reason: 'Unschedulable',
      message: 'web: 0/1 hosts fit',
    });
  });
});
