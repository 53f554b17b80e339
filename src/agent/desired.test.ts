import { describe, expect, it } from 'vitest';
import { placementRecords } from '../registry/records/index.ts';
import type { Entry } from '../registry/store.ts';
import { DesiredState } from './desired.ts';

const key = (ordinal: string) => ({
  namespace: 'default',
  project: 'shop',
  service: 'web',
  ordinal,
});
const path = (ordinal: string): string => placementRecords.path({ host: 'h1', ...key(ordinal) });
const id = (ordinal: string): string => `default/shop/web/${ordinal}`;

function entry(ordinal: string, revision: bigint, value?: string): Entry {
  const record = {
    id: `p${ordinal}-${revision}`,
    serviceUID: 'u',
    specHash: 'h',
    placedAt: '',
    container: {
      image: 'i',
      environment: {},
      ports: [],
      mounts: [],
      labels: {},
      hostname: 'h',
      pullPolicy: 'missing' as const,
      restart: 'always' as const,
      stopGracePeriodMs: 1,
      limits: {},
      reservations: {},
    },
  };
  return {
    key: path(ordinal),
    value: value ?? placementRecords.encode(record),
    createRevision: revision,
    modRevision: revision,
  };
}

function state() {
  const changed: string[] = [];
  const unreadable: string[] = [];
  const desired = new DesiredState(
    'h1',
    (changedId) => changed.push(changedId),
    (at, problem) => unreadable.push(`${at}: ${problem}`),
  );
  return { desired, changed, unreadable };
}

describe('the placements of a host', () => {
  it('are unknown until a snapshot has come', () => {
    const { desired } = state();
    expect(desired.judges(id('1'))).toBe(false);
    desired.apply({ type: 'snapshot', entries: [], revision: 5n });
    expect(desired.judges(id('1'))).toBe(true);
  });

  it('follow puts and deletions, and tell of each once', () => {
    const { desired, changed } = state();
    desired.apply({ type: 'snapshot', entries: [entry('1', 3n)], revision: 5n });
    desired.apply({
      type: 'events',
      revision: 6n,
      events: [{ type: 'put', entry: entry('2', 6n) }],
    });
    desired.apply({
      type: 'events',
      revision: 7n,
      events: [{ type: 'delete', key: path('1'), revision: 7n }],
    });
    expect(changed).toEqual([id('1'), id('2'), id('1')]);
    expect(desired.get(id('1'))).toBeUndefined();
    expect(desired.get(id('2'))?.id).toBe('p2-6');
  });

  it('are replaced by a later snapshot', () => {
    const { desired } = state();
    desired.apply({ type: 'snapshot', entries: [entry('1', 3n), entry('2', 4n)], revision: 5n });
    desired.apply({ type: 'snapshot', entries: [entry('2', 4n)], revision: 9n });
    expect([...desired.all()].map((each) => each.key.ordinal)).toEqual(['2']);
  });

  it('do not go back: an old listing and old events change nothing', () => {
    const { desired } = state();
    desired.replace([entry('1', 8n)], 8n, 'listing');
    desired.apply({
      type: 'events',
      revision: 6n,
      events: [{ type: 'put', entry: entry('1', 6n) }],
    });
    desired.apply({
      type: 'events',
      revision: 7n,
      events: [{ type: 'delete', key: path('1'), revision: 7n }],
    });
    desired.replace([], 4n, 'listing');
    expect(desired.get(id('1'))?.id).toBe('p1-8');
  });

  it('survive an emptied store: its snapshot proves no absence', () => {
    const { desired } = state();
    desired.apply({ type: 'snapshot', entries: [entry('1', 30n)], revision: 50n });
    desired.apply({ type: 'snapshot', entries: [], revision: 2n });
    expect(desired.get(id('1'))?.id).toBe('p1-30');
    desired.apply({
      type: 'events',
      revision: 3n,
      events: [{ type: 'put', entry: entry('1', 3n) }],
    });
    expect(desired.get(id('1'))?.id).toBe('p1-3');
  });

  it('that cannot be read stop nothing: the last readable version stands, or no judgement is made', () => {
    const { desired, unreadable } = state();
    desired.apply({
      type: 'snapshot',
      entries: [entry('1', 3n), entry('2', 3n, '{')],
      revision: 5n,
    });
    desired.apply({
      type: 'events',
      revision: 6n,
      events: [{ type: 'put', entry: entry('1', 6n, 'x') }],
    });
    expect(desired.get(id('1'))?.id).toBe('p1-3');
    expect(desired.judges(id('2'))).toBe(false);
    expect(unreadable).toEqual([
      expect.stringContaining(path('2')),
      expect.stringContaining(path('1')),
    ]);
    desired.apply({
      type: 'events',
      revision: 7n,
      events: [{ type: 'delete', key: path('2'), revision: 7n }],
    });
    expect(desired.judges(id('2'))).toBe(true);
  });

  it('of odd paths are refused', () => {
    const { desired, unreadable } = state();
    const odd = { ...entry('1', 3n), key: '/nap/v1/placements/h1/x' };
    desired.apply({ type: 'snapshot', entries: [odd], revision: 5n });
    expect([...desired.all()]).toEqual([]);
    expect(unreadable).toHaveLength(1);
  });
});

describe('what an earlier agent knew', () => {
  it('says what is placed here, and nothing of what is not', () => {
    const { desired } = state();
    desired.remember([entry('1', 3n)]);
    expect(desired.known).toBe(false);
    expect(desired.remembered).toBe(true);
    expect(desired.judges(id('1'))).toBe(true);
    expect(desired.judges(id('2'))).toBe(false);
  });

  it('gives way to the first word of the registry', () => {
    const { desired } = state();
    desired.remember([entry('1', 3n), entry('2', 4n)]);
    desired.apply({ type: 'snapshot', entries: [entry('2', 9n)], revision: 10n });
    expect(desired.remembered).toBe(false);
    expect(desired.get(id('1'))).toBeUndefined();
    expect(desired.get(id('2'))?.modRevision).toBe(9n);
    desired.remember([entry('1', 3n)]);
    expect(desired.get(id('1'))).toBeUndefined();
  });

  it('does so, too, when the registry was restored from a backup meanwhile; what that lacks stays', () => {
    const { desired } = state();
    desired.remember([entry('1', 30n), entry('2', 40n)]);
    desired.apply({ type: 'snapshot', entries: [entry('2', 5n)], revision: 6n });
    expect(desired.get(id('2'))?.modRevision).toBe(5n);
    expect(desired.get(id('2'))?.remembered).toBeUndefined();
    expect(desired.get(id('1'))?.remembered).toBe(true);
  });

  it('never outdoes the registry, which may be another one, by its revisions', () => {
    const { desired } = state();
    desired.remember([entry('1', 30n)]);
    const other = entry('1', 20n);
    desired.apply({ type: 'snapshot', entries: [other], revision: 40n });
    expect(desired.get(id('1'))).toMatchObject({ modRevision: 20n });
    expect(desired.get(id('1'))?.remembered).toBeUndefined();
  });
});
