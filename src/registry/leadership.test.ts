import { describe, expect, it } from 'vitest';
import { eventually } from '../../test/support/eventually.ts';
import { VirtualClock } from '../../test/support/virtual-clock.ts';
import { silentLogger } from '../telemetry/log.ts';
import { decide } from './decide.ts';
import { contendForLeadership, NotLeaderError, type Leadership } from './leadership.ts';
import { MemoryDatabase } from './memory/database.ts';
import { MemoryStore } from './memory/store.ts';
import { leaderPath, leaderRecords } from './records/index.ts';
import { LeaseLostError, type Operation, type Store } from './store.ts';

const claim = (
  store: Store,
  operator: string,
  mayClaim: () => Promise<void> = () => Promise.resolve(),
  signal = new AbortController().signal,
): Promise<Leadership> =>
  contendForLeadership(
    store,
    { operator, since: 'now' },
    { leaseTtlMs: 5_000, log: silentLogger },
    mayClaim,
    signal,
  );

const put = (key: string, value = key): Operation => ({ type: 'put', key, value });

describe('leadership', () => {
  it('is a record whose revision is the epoch', async () => {
    const store = new MemoryStore();
    const { epoch, lost } = await claim(store, 'a');
    const entry = await store.get(leaderPath);
    expect(entry?.modRevision).toBe(epoch);
    expect(leaderRecords.decode(entry?.value ?? '').operator).toBe('a');
    expect(lost.aborted).toBe(false);
    await store.close();
  });

  it('is waited for while somebody has it, and passes on the moment that it is given up', async () => {
    const database = new MemoryDatabase();
    const [a, b] = [new MemoryStore({ database }), new MemoryStore({ database })];
    const first = await claim(a, 'a');
    await decide(a, first.epoch, [], [put('/x', '1')]);
    let won = false;
    const next = claim(b, 'b').then((leadership) => {
      won = true;
      return leadership;
    });
    await decide(a, first.epoch, [], [put('/x', '2')]);
    expect(won).toBe(false);
    await first.resign();
    const second = await next;
    expect(second.epoch).toBeGreaterThan(first.epoch);
    await expect(decide(a, first.epoch, [], [put('/x', '3')])).rejects.toBeInstanceOf(
      NotLeaderError,
    );
    expect((await decide(b, second.epoch, [], [put('/x', '4')])).committed).toBe(true);
    await Promise.all([a.close(), b.close()]);
  });

  it('is never held by two: the one that is cut off stops before the next can begin', async () => {
    const clock = new VirtualClock();
    const database = new MemoryDatabase();
    const [a, b] = ['a', 'b'].map(() => new MemoryStore({ database, clock }));
    const first = await claim(a!, 'a');
    let next: Leadership | undefined;
    void claim(b!, 'b').then((leadership) => {
      next = leadership;
      expect(first.lost.aborted).toBe(true);
    });
    await clock.advance(20_000);
    expect(next).toBeUndefined();
    a!.disconnect();
    const cutAt = clock.monotonic();
    while (next === undefined) await clock.advance(100);
    expect(first.lost.reason).toBeInstanceOf(LeaseLostError);
    expect(clock.monotonic() - cutAt).toBeLessThanOrEqual(5_500);
    await Promise.all([a!.close(), b!.close()]);
  });

  it('goes to one of those who contend, and only to who is fit', async () => {
    const database = new MemoryDatabase();
    const store = new MemoryStore({ database });
    const stop = new AbortController();
    const never = claim(
      new MemoryStore({ database }),
      'unfit',
      () => new Promise(() => undefined),
      stop.signal,
    );
    never.catch(() => undefined);
    const fit = await Promise.race(['b', 'c', 'd'].map((name) => claim(store, name)));
    expect(fit.lost.aborted).toBe(false);
    stop.abort(new Error('test over'));
    await store.close();
  });

  it('that somebody else writes over is lost at once', async () => {
    const store = new MemoryStore();
    const first = await claim(store, 'a');
    await store.commit([], [put(leaderPath, '{"operator":"b","since":"now"}')]);
    await eventually('the first knows', () => first.lost.aborted);
    expect(first.lost.reason).toBeInstanceOf(NotLeaderError);
    await store.close();
  });

  it('is lost in time by a leader that is cut off', async () => {
    const clock = new VirtualClock();
    const database = new MemoryDatabase();
    const a = new MemoryStore({ database, clock });
    const { lost } = await claim(a, 'a');
    await clock.advance(20_000);
    expect(lost.aborted).toBe(false);
    a.disconnect();
    let known = false;
    lost.addEventListener('abort', () => {
      known = database.get(leaderPath) !== undefined;
    });
    await clock.advance(5_000);
    expect(lost.reason).toBeInstanceOf(LeaseLostError);
    expect(known).toBe(true);
    await clock.advance(1_000);
    expect(database.get(leaderPath)).toBeUndefined();
    await a.close();
  });

  it('is given up at once by resigning', async () => {
    const store = new MemoryStore();
    const { lost, resign, epoch } = await claim(store, 'a').then((l) => ({
      lost: l.lost,
      epoch: l.epoch,
      resign: () => l.resign(),
    }));
    await resign();
    expect(lost.aborted).toBe(true);
    expect(await store.get(leaderPath)).toBeUndefined();
    await expect(decide(store, epoch, [], [put('/x')])).rejects.toBeInstanceOf(NotLeaderError);
    await store.close();
  });
});

describe('decide', () => {
  it('is all or nothing when it fits one transaction', async () => {
    const store = new MemoryStore();
    const { epoch } = await claim(store, 'a');
    const result = await decide(
      store,
      epoch,
      [{ type: 'absent', key: '/taken' }],
      [put('/a'), put('/b'), { type: 'delete', key: '/c' }],
    );
    expect(result.committed).toBe(true);
    await store.commit([], [put('/taken')]);
    const refused = await decide(store, epoch, [{ type: 'absent', key: '/taken' }], [put('/d')]);
    expect(refused).toMatchObject({ committed: false, applied: 0 });
    expect(!refused.committed && refused.current.get('/taken')?.value).toBe('/taken');
    expect(await store.get('/d')).toBeUndefined();
    await store.close();
  });

  it('writes any number of operations, in order', async () => {
    const store = new MemoryStore();
    const { epoch } = await claim(store, 'a');
    const operations = Array.from({ length: 1_000 }, (_, i) => put(`/k/${String(i)}`));
    expect((await decide(store, epoch, [], operations)).committed).toBe(true);
    const { entries } = await store.list('/k/');
    expect(entries).toHaveLength(1_000);
    expect(new Set(entries.map((e) => e.modRevision)).size).toBe(Math.ceil(1_000 / 127));
    await store.close();
  });

  it('splits by size as well, since etcd takes 1.5 MiB', async () => {
    const store = new MemoryStore();
    const { epoch } = await claim(store, 'a');
    const operations = Array.from({ length: 20 }, (_, i) =>
      put(`/k/${String(i)}`, 'x'.repeat(200_000)),
    );
    expect((await decide(store, epoch, [], operations)).committed).toBe(true);
    await store.close();
  });

  it('checks conditions on written keys with the write, all others every time', async () => {
    const store = new MemoryStore();
    const { epoch } = await claim(store, 'a');
    await store.commit([], [put('/gate'), put('/k/200')]);
    const operations = Array.from({ length: 300 }, (_, i) => put(`/k/${String(i)}`, 'new'));
    const conditions = [
      ...operations.map(({ key }) => ({ type: 'absent' as const, key })),
      { type: 'present' as const, key: '/gate' },
    ];
    const result = await decide(store, epoch, conditions, operations);
    if (result.committed) throw new Error('must not be committed');
    // The transaction that holds 200 is not applied, those before it are.
    expect(result.applied).toBeGreaterThan(0);
    expect(result.applied).toBeLessThanOrEqual(200);
    expect(result.current.get('/k/200')?.value).toBe('/k/200');
    expect((await store.list('/k/')).entries.filter((e) => e.value === 'new')).toHaveLength(
      result.applied,
    );
    await store.commit([], [{ type: 'delete', key: '/gate' }]);
    expect(await decide(store, epoch, conditions, operations)).toMatchObject({ applied: 0 });
    await store.close();
  });

  it('stops in the middle when the leadership passes', async () => {
    const store = new MemoryStore();
    const { epoch } = await claim(store, 'a');
    let commits = 0;
    store.beforeCommit = () => {
      if (++commits === 2) store.database.commit([], [put(leaderPath, 'b')]);
    };
    const operations = Array.from({ length: 300 }, (_, i) => put(`/k/${String(i)}`));
    await expect(decide(store, epoch, [], operations)).rejects.toBeInstanceOf(NotLeaderError);
    expect((await store.list('/k/')).entries).toHaveLength(127);
    await store.close();
  });
});
