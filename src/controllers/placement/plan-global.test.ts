import { describe, expect, it } from 'vitest';
import type { PlacementRecord } from '../../registry/records/placement.ts';
import { planGlobal, type GlobalView } from './plan-global.ts';
import type { DesiredInstances, Placed } from './types.ts';

const desired: DesiredInstances = {
  uid: 'u',
  replicas: 1,
  instance: () => ({ specHash: 'new', container: {} as PlacementRecord['container'] }),
};

const at = (host: string, ordinal: number, specHash = 'new'): Placed => ({
  ordinal,
  host,
  path: `${host}/${String(ordinal)}`,
  modRevision: 1n,
  record: { id: `id-${host}`, serviceUID: 'u', specHash, container: {} as never, placedAt: '' },
});

const view = (over: Partial<GlobalView> = {}): GlobalView => ({
  state: () => 'ready',
  host: () => 'present',
  misfit: () => undefined,
  trouble: () => undefined,
  takers: ['a', 'b'],
  leaves: () => false,
  forgotten: () => false,
  ...over,
});

const said = (placed: readonly Placed[], over: Partial<GlobalView> = {}) => {
  const plan = planGlobal(desired, placed, view(over));
  return {
    steps: plan.steps.map((step) =>
      step.type === 'create'
        ? `create ${String(step.ordinal)} on ${step.host ?? '?'}`
        : `${step.type} ${step.placed.path} ${step.reason}`,
    ),
    wanted: [...plan.wanted].sort(),
  };
};

describe('a global service', () => {
  it.each<[string, readonly Placed[], Partial<GlobalView>, string[], number[]]>([
    ['has one on each host', [], {}, ['create 1 on a', 'create 2 on b'], [1, 2]],
    ['is left alone when it is', [at('a', 1), at('b', 2)], {}, [], [1, 2]],
    ['takes the lowest free number', [at('b', 2)], {}, ['create 1 on a'], [1, 2]],
    [
      'keeps what is on a host that takes no more',
      [at('a', 1), at('c', 7)],
      { takers: ['a'] },
      [],
      [1, 7],
    ],
    [
      'leaves a host that it may not be on',
      [at('a', 1), at('b', 2)],
      { takers: ['a'], leaves: ({ host }) => host === 'b' },
      ['remove b/2 HostExcluded'],
      [1],
    ],
    [
      'waits for a lost host',
      [at('a', 1), at('b', 2)],
      { takers: ['a'], host: (h) => (h === 'b' ? 'lost' : 'present') },
      [],
      [1],
    ],
    [
      'keeps the number of a lost host',
      [at('b', 1)],
      { takers: ['a'], host: (h) => (h === 'b' ? 'lost' : 'present') },
      ['create 2 on a'],
      [2],
    ],
    [
      'leaves a forgotten host',
      [at('b', 1)],
      { takers: [], host: () => 'lost', forgotten: () => true },
      ['remove b/1 HostGone'],
      [],
    ],
    [
      'has no two on one host',
      [at('a', 1), at('a', 2), at('b', 3)],
      {},
      ['remove a/2 Duplicate'],
      [1, 3],
    ],
    [
      'is updated where it is, one by one',
      [at('a', 1, 'old'), at('b', 2, 'old')],
      {},
      ['replace a/1 SpecChanged'],
      [1, 2],
    ],
  ])('%s', (_name, placed, over, steps, wanted) => {
    expect(said(placed, over)).toEqual({ steps, wanted });
  });
});
