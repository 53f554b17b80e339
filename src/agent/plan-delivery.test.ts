import { describe, expect, it } from 'vitest';
import { desiredInstance, ownedContainer, webKey } from '../../test/support/instances.ts';
import type { ContainerState } from './docker/engine.ts';
import { blankMemory } from './memory.ts';
import type { OwnedContainer } from './ownership.ts';
import { planInstance, type PlanContext } from './plan.ts';

const key = webKey;
const context: PlanContext = {
  known: true,
  mayCreate: true,
  network: { name: 'nap', gateway: '10.77.1.1' },
  now: 1000,
};

const desired = desiredInstance({}, { delivery: { hash: 'new', recipient: 'r' } });

const container = (state: ContainerState, specHash = '1') => ownedContainer({ state, specHash });

/** "deliver c1" for short. */
function plan(containers: OwnedContainer[], delivered?: string): string[] {
  const view = { key, desired, containers, memory: blankMemory, delivered };
  return planInstance(view, context).steps.map((step) =>
    'containerId' in step && step.containerId !== undefined
      ? `${step.type} ${step.containerId}`
      : step.type,
  );
}

describe('when files are delivered', () => {
  it.each<[string, OwnedContainer[], string | undefined, string[]]>([
    ['before a container is made', [], undefined, ['image', 'deliver', 'create', 'start']],
    ['not again when they are there', [], 'new', ['image', 'create', 'start']],
    [
      'before the old container is taken away',
      [container('running', 'old')],
      undefined,
      ['image', 'deliver', 'drain c1', 'stop c1', 'remove c1', 'create', 'start'],
    ],
    ['to one that runs, which is told', [container('running')], 'old', ['deliver c1']],
    ['never twice', [container('running')], 'new', []],
    ['before one is started again', [container('exited')], undefined, ['deliver', 'start c1']],
    ['to one that the engine is about to start', [container('restarting')], 'old', ['deliver']],
    ['not to a paused one, which cannot be told', [container('paused')], 'old', []],
  ])('%s', (_, containers, delivered, steps) => {
    expect(plan(containers, delivered)).toEqual(steps);
  });
});
