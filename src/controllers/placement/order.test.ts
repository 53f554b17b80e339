import { describe, expect, it } from 'vitest';
import { orderOf, type Neighbour } from './order.ts';

const up: Neighbour = {
  exists: true,
  replicas: 2,
  settled: true,
  running: 2,
  ready: 2,
  done: 0,
  failed: 0,
  existing: 2,
  held: false,
  token: 'p1',
};
const order = (
  bonds: Parameters<typeof orderOf>[0],
  db: Partial<Neighbour>,
  excludedBy: readonly string[] = [],
) => {
  const { after, hopeless, ...rest } = orderOf(bonds, excludedBy, () => ({ ...up, ...db }));
  expect([undefined, true]).toContain(hopeless);
  expect(after).toBeDefined();
  return rest;
};
const on = (condition: 'started' | 'healthy' | 'completed', restart = false) => ({
  dependsOn: { db: { condition, restart } },
});
const open = { shut: false };
const waits = (waitsFor: string, shut: boolean) => ({ waitsFor, shut });
const stopped = (why: string) => ({ stopped: why, shut: false });

describe('orderOf', () => {
  it.each([
    ['started: all run', on('started'), { ready: 0 }, open],
    ['started: one does not', on('started'), { running: 1 }, waits('db to be started', false)],
    ['started: none does', on('started'), { running: 0 }, waits('db to be started', true)],
    ['started: it ran and ended', on('started'), { running: 0, done: 2 }, open],
    ['healthy: all are', on('healthy'), {}, open],
    ['healthy: one is', on('healthy'), { ready: 1 }, waits('db to be healthy', false)],
    ['healthy: none is', on('healthy'), { ready: 0 }, waits('db to be healthy', true)],
    ['healthy: being updated', on('healthy'), { settled: false }, waits('db to be updated', false)],
    ['completed: it runs', on('completed'), {}, waits('db to be completed', true)],
    ['completed: one of two', on('completed'), { done: 1 }, waits('db to be completed', true)],
    ['completed: all', on('completed'), { running: 0, ready: 0, done: 2 }, open],
    [
      'not made yet',
      on('started'),
      { exists: false, replicas: 0, running: 0 },
      waits('db to be started', true),
    ],
    [
      'scaled to nothing',
      on('healthy'),
      { replicas: 0, ready: 0 },
      waits('db to be healthy', true),
    ],
    ['wants: runs', { wants: ['db'] }, { ready: 0, settled: false }, open],
    [
      'wants: one does not run',
      { wants: ['db'] },
      { running: 1 },
      waits('db to be started', false),
    ],
    ['wants: one has failed', { wants: ['db'] }, { running: 1, failed: 1 }, open],
    ['wants: all have failed', { wants: ['db'] }, { running: 0, ready: 0, failed: 2 }, open],
    ['wants: has ended', { wants: ['db'] }, { running: 0, ready: 0, done: 2 }, open],
    ['wants: there is no room', { wants: ['db'] }, { running: 0, ready: 0, held: true }, open],
    ['wants: is stopped', { wants: ['db'] }, { replicas: 0, running: 0, ready: 0 }, open],
    ['wants: cannot be read', { wants: ['db'] }, { exists: false, running: 0, ready: 0 }, open],
    ['requires: works', { requires: ['db'] }, {}, open],
    ['requires: starts', { requires: ['db'] }, { running: 0, ready: 0 }, open],
    ['requires: failed', { requires: ['db'] }, { failed: 2 }, waits('db to work', true)],
    [
      'requires: stopped',
      { requires: ['db'] },
      { replicas: 0, existing: 0 },
      stopped('it requires db, which is stopped'),
    ],
    ['bindsTo: one is left', { bindsTo: ['db'] }, { failed: 1 }, open],
    ['bindsTo: it starts', { bindsTo: ['db'] }, { running: 0, ready: 0 }, open],
    [
      'bindsTo: ended',
      { bindsTo: ['db'] },
      { running: 0, ready: 0, done: 2 },
      stopped('it is bound to db, which does not run'),
    ],
    [
      'bindsTo: failed',
      { bindsTo: ['db'] },
      { failed: 2 },
      {
        stopped: 'it is bound to db, which does not run',
        waitsFor: 'db to work',
        shut: true,
      },
    ],
    ['partOf: failed', { partOf: ['db'] }, { failed: 2 }, open],
    [
      'partOf: stopped',
      { partOf: ['db'] },
      { replicas: 0 },
      stopped('it is part of db, which is stopped'),
    ],
    ['conflictsWith: there', { conflictsWith: ['db'] }, {}, waits('db to stop', true)],
    ['conflictsWith: gone', { conflictsWith: ['db'] }, { existing: 0 }, open],
  ] as const)('%s', (_what, bonds, db, expected) => {
    expect(order(bonds as Parameters<typeof orderOf>[0], db)).toEqual(expected);
  });

  it('stops what others exclude, while they are not scaled to nothing', () => {
    expect(order({}, {}, ['db'])).toEqual(stopped('db runs, which conflicts with it'));
    expect(order({}, { replicas: 0 }, ['db'])).toEqual(open);
  });

  it('follows what it is told to follow', () => {
    const around = () => up;
    expect(orderOf(on('started'), [], around).after).toEqual({});
    expect(orderOf(on('started', true), [], around).after).toEqual({ db: 'p1' });
    expect(orderOf({ partOf: ['db'] }, [], around).after).toEqual({ db: 'p1' });
  });
});
