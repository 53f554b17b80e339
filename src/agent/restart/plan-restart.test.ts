import { desiredInstance, ownedContainer, webKey } from '../../../test/support/instances.ts';
import { describe, expect, it } from 'vitest';
import type { ContainerSpec } from '../../registry/records/index.ts';
import { blankMemory } from '../memory.ts';
import type { OwnedContainer } from '../ownership.ts';
import { planInstance, type InstanceView, type PlanContext } from '../plan.ts';
import { reportInstance } from '../report.ts';

const key = webKey;
const startMs = Date.parse('2026-01-01T00:00:00Z');
const at = (ms: number): string => new Date(startMs + ms).toISOString();
const context: PlanContext = {
  known: true,
  mayCreate: true,
  network: { name: 'nap', gateway: '10.77.1.1' },
  now: 5000,
  wallMs: startMs + 10_000,
};

function view(
  spec: Partial<ContainerSpec>,
  over: Partial<OwnedContainer>,
  rest: Partial<InstanceView> = {},
): InstanceView {
  const desired = desiredInstance({ restart: 'on-failure', ...spec });
  const ended = { state: 'exited', addresses: {}, exitCode: 1, finishedAt: at(9000) } as const;
  const container = ownedContainer({ ...ended, ...over });
  return { key, desired, containers: [container], memory: blankMemory, ...rest };
}

function words(given: InstanceView, over: Partial<PlanContext> = {}): string[] {
  return planInstance(given, { ...context, ...over }).steps.map((step) => step.type);
}

describe('a container that has ended', () => {
  it('is started when its pause is over, and not before', () => {
    const slow = view({ restartMs: 3000 }, {});
    expect(planInstance(slow, context)).toMatchObject({ steps: [], wakeAt: 5000 + 2000 });
    expect(words(slow, { wallMs: startMs + 12_000 })).toEqual(['start']);
  });

  it('is not held down by a clock that was set back', () => {
    const early = { wallMs: startMs - 3_600_000 };
    expect(words(view({ restartMs: 3000 }, {}), early)).toEqual(['start']);
  });

  it('that is done stays, even if the network has moved since', () => {
    const done = view({}, { exitCode: 0, dns: ['10.77.9.1'] });
    expect(words(done)).toEqual([]);
    expect(words(view({}, { exitCode: 1, dns: ['10.77.9.1'] }))).toEqual([
      'image',
      'remove',
      'create',
      'start',
    ]);
  });

  it('is started at once when it ended with its engine or machine', () => {
    expect(words(view({}, { exitCode: 0 }), { interrupted: () => true })).toEqual(['start']);
    expect(words(view({ restart: 'no' }, {}), { interrupted: () => true })).toEqual([]);
  });
});

describe('an unhealthy container', () => {
  const sick = {
    containerId: 'c1',
    status: 'unhealthy',
    message: 'x',
    flaps: 0,
    restarts: true,
  } as const;
  const running = { state: 'running', addresses: { nap: '10.77.1.2' } } as const;

  it('is stopped where that is asked for, and only the one that is unhealthy', () => {
    expect(words(view({}, running, { health: [sick] }))).toEqual(['drain', 'stop']);
    expect(words(view({}, running, { health: [{ ...sick, restarts: false }] }))).toEqual([]);
    expect(words(view({}, running, { health: [{ ...sick, status: 'starting' }] }))).toEqual([]);
    expect(words(view({}, running, { health: [{ ...sick, containerId: 'c0' }] }))).toEqual([]);
  });

  it('is not ready, and neither is one that is not healthy yet', () => {
    const report = (status: 'starting' | 'healthy' | 'unhealthy') =>
      reportInstance(view({}, running, { health: [{ ...sick, status }] }), {
        host: 'h1',
        network: 'nap',
        activity: undefined,
        nowMs: startMs + 60_000,
      });
    expect(report('healthy')).toMatchObject({ record: { ready: true, health: 'healthy' } });
    expect(report('starting').record).toMatchObject({
      ready: false,
      message: 'not healthy yet: x',
    });
    expect(report('unhealthy').record).toMatchObject({
      ready: false,
      reason: 'Unhealthy',
      message: 'x',
    });
    expect(report('unhealthy').endpoint).toBeUndefined();
  });
});
