import { describe, expect, it } from 'vitest';
import type { Project } from '../../api/v1alpha1/project.ts';
import type { Service } from '../../api/v1alpha1/service.ts';
import { planProject, planTeardown, type ProjectPlan } from './plan.ts';

function project(services: Project['spec']['services']): Project {
  return {
    apiVersion: 'nap.dev/v1alpha1',
    kind: 'Project',
    metadata: { name: 'shop', namespace: 'default', uid: 'p1', generation: 1 },
    spec: { services },
  };
}

/** The Services after a server has carried the plan out. */
function outcome(plan: ProjectPlan, before: ReadonlyMap<string, Service>): Map<string, Service> {
  const after = new Map(before);
  for (const step of plan.steps) {
    if (step.type === 'delete') after.delete(step.service.metadata.name);
    else {
      const { service } = step;
      const metadata = { ...service.metadata, uid: 's1', resourceVersion: '7' };
      after.set(metadata.name, { ...service, metadata });
    }
  }
  return after;
}

const web = { image: 'web:1', replicas: 3, environment: { A: '1' } };
const made = (): Map<string, Service> =>
  outcome(planProject(project({ web }), new Map()), new Map());

function edited(change: (service: Service) => Service): Map<string, Service> {
  const services = made();
  services.set('shop-web', change(services.get('shop-web')!));
  return services;
}

const scaled = (replicas: number) => edited((s) => ({ ...s, spec: { ...s.spec, replicas } }));

describe('planProject', () => {
  it('makes a Service that the Project controls, with everything that belongs to it', () => {
    const [step] = planProject(project({ web }), new Map()).steps;
    expect(step).toMatchObject({
      type: 'apply',
      create: true,
      service: {
        metadata: {
          name: 'shop-web',
          namespace: 'default',
          labels: { 'nap.dev/project': 'shop', 'nap.dev/service': 'web' },
          finalizers: ['nap.dev/teardown'],
          ownerReferences: [{ kind: 'Project', name: 'shop', uid: 'p1', controller: true }],
        },
        spec: web,
      },
    });
  });

  it('has nothing to do after its own outcome, whatever the server filled in or others added', () => {
    expect(planProject(project({ web }), made()).steps).toEqual([]);
    const defaulted = edited((s) => ({
      ...s,
      metadata: { ...s.metadata, labels: { ...s.metadata.labels, mine: 'x' } },
      spec: { ...s.spec, restart: 'always', pullPolicy: 'missing', user: 'somebody' },
    }));
    expect(planProject(project({ web }), defaulted).steps).toEqual([]);
  });

  it('puts back a field of its own that somebody changed', () => {
    const services = edited((s) => ({ ...s, spec: { ...s.spec, image: 'web:hacked' } }));
    expect(planProject(project({ web }), services).steps).toMatchObject([
      { type: 'apply', create: false, service: { spec: { image: 'web:1' } } },
    ]);
  });

  it('applies again when the Project leaves a field out', () => {
    const less = { image: web.image, replicas: web.replicas };
    const [step] = planProject(project({ web: less }), made()).steps;
    expect(step).toMatchObject({ type: 'apply', service: { metadata: { resourceVersion: '7' } } });
    expect(step?.type === 'apply' && 'environment' in step.service.spec).toBe(false);
  });

  it.each([
    { what: 'a scaling stands', services: scaled(5), asked: 3, steps: 0, replicas: undefined },
    {
      what: 'scaling to nothing stands',
      services: scaled(0),
      asked: 3,
      steps: 0,
      replicas: undefined,
    },
    {
      what: 'a new number of the Project wins',
      services: scaled(5),
      asked: 2,
      steps: 1,
      replicas: 2,
    },
    { what: 'also over an unscaled Service', services: made(), asked: 4, steps: 1, replicas: 4 },
  ])('replicas: $what', ({ services, asked, steps, replicas }) => {
    const plan = planProject(project({ web: { ...web, replicas: asked } }), services);
    expect(plan.steps).toHaveLength(steps);
    const [step] = plan.steps;
    expect(step?.type === 'apply' ? step.service.spec.replicas : undefined).toBe(replicas);
  });

  it('keeps a scaling when something else changes', () => {
    const [step] = planProject(project({ web: { ...web, image: 'web:2' } }), scaled(5)).steps;
    expect(step).toMatchObject({ service: { spec: { image: 'web:2', replicas: 5 } } });
  });

  it('deletes what left the spec, once, and nothing of others', () => {
    const services = made();
    const foreign = { ...services.get('shop-web')!, metadata: { name: 'shop-other', uid: 'x' } };
    services.set('shop-other', foreign);
    expect(planProject(project({}), services).steps).toMatchObject([
      { type: 'delete', reason: 'Pruned', service: { metadata: { name: 'shop-web' } } },
    ]);
    const going = edited((s) => ({
      ...s,
      metadata: { ...s.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' },
    }));
    expect(planProject(project({}), going).steps).toEqual([]);
    // Its name is still taken by the one that goes: the new one has to wait.
    expect(planProject(project({ web }), going).steps).toEqual([]);
  });

  it('reports a name that is taken, and takes nothing over', () => {
    const services = edited((s) => ({
      ...s,
      metadata: {
        ...s.metadata,
        ownerReferences: [
          {
            apiVersion: 'nap.dev/v1alpha1',
            kind: 'Project',
            name: 'sh',
            uid: 'p2',
            controller: true,
          },
        ],
      },
    }));
    expect(planProject(project({ web }), services)).toEqual({
      steps: [],
      clashes: [{ service: 'web', objectName: 'shop-web', owner: 'Project sh' }],
    });
  });
});

describe('planTeardown', () => {
  it('deletes each Service once, and is over when none is left', () => {
    expect(planTeardown(project({ web }), made())).toMatchObject({
      remaining: 1,
      steps: [{ type: 'delete', reason: 'ProjectDeleted' }],
    });
    expect(planTeardown(project({ web }), new Map())).toEqual({ remaining: 0, steps: [] });
  });
});
