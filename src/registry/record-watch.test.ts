import { describe, expect, it } from 'vitest';
import { eventually } from '../../test/support/eventually.ts';
import { VirtualClock } from '../../test/support/virtual-clock.ts';
import { silentLogger } from '../telemetry/log.ts';
import { MemoryStore } from './memory/store.ts';
import type { BrokenRecord, CacheChange } from './record-cache.ts';
import { RecordWatch } from './record-watch.ts';
import { graceRecords } from './records/index.ts';

const path = (host: string): string => graceRecords.path({ host });
const text = (reason: string): string => graceRecords.encode({ until: 'x', reason });

function setUp(prefix?: string) {
  const store = new MemoryStore();
  const clock = new VirtualClock(1_000);
  const changes: CacheChange[] = [];
  const broken: BrokenRecord[] = [];
  const watch = new RecordWatch(store, graceRecords, {
    clock,
    log: silentLogger,
    onChange: (change) => changes.push(change),
    onBroken: (record) => broken.push(record),
    ...(prefix === undefined ? {} : { prefix }),
  });
  const abort = new AbortController();
  const run = (): Promise<void> => watch.run(abort.signal);
  const write = async (key: string, value?: string): Promise<bigint> => {
    const op =
      value === undefined ? { type: 'delete' as const, key } : { type: 'put' as const, key, value };
    const { revision } = await store.commit([], [op]);
    await eventually('delivered', () => !watch.synced || watch.revision >= revision);
    return revision;
  };
  return { store, clock, watch, changes, broken, abort, run, write };
}

describe('RecordWatch', () => {
  it('keeps decoded records up to date and names what changed', async () => {
    const { watch, changes, abort, run, write } = setUp();
    await write(path('h1'), text('one'));
    expect(watch.synced).toBe(false);
    const running = run();
    await watch.whenSynced();
    expect(watch.get({ host: 'h1' })).toMatchObject({
      key: { host: 'h1' },
      value: { reason: 'one' },
    });
    const revision = await write(path('h2'), text('two'));
    expect(watch.get({ host: 'h2' })?.modRevision).toBe(revision);
    await write(path('h1'));
    expect([...watch.records.keys()]).toEqual([path('h2')]);
    expect(changes.map((c) => [[...c.changed], c.resync])).toEqual([
      [[path('h1')], true],
      [[path('h2')], false],
      [[path('h1')], false],
    ]);
    abort.abort();
    await running;
  });

  it('reports an empty family, too', async () => {
    const { watch, changes, abort, run } = setUp();
    const running = run();
    await watch.whenSynced();
    expect(changes).toMatchObject([{ resync: true, changed: new Set() }]);
    abort.abort();
    await running;
  });

  it('follows only the part that it was asked for', async () => {
    const { watch, abort, run, write } = setUp(path('h1'));
    const running = run();
    await watch.whenSynced();
    await write(path('h1'), text('mine'));
    await write(path('g'), text('not mine'));
    expect([...watch.records.keys()]).toEqual([path('h1')]);
    abort.abort();
    await running;
  });

  it('leaves broken records out, tells of each version once, and disturbs no other', async () => {
    const { store, watch, broken, abort, run, write } = setUp();
    await write(path('bad'), '{"until": 5');
    await write(path('wrong'), '{"until": 5, "reason": "x"}');
    await write(`${path('deep')}/er`, text('x'));
    await write(path('good'), text('fine'));
    const running = run();
    await watch.whenSynced();
    expect([...watch.records.keys()]).toEqual([path('good')]);
    expect([...watch.broken.keys()].sort()).toEqual([
      path('bad'),
      `${path('deep')}/er`,
      path('wrong'),
    ]);
    expect(broken.find((b) => b.path === path('bad'))?.problem).toMatch(/not JSON/);
    expect(broken.find((b) => b.path === path('wrong'))?.problem).toMatch(/until/);
    // A snapshot shows the same versions again.
    store.disconnect();
    store.database.commit([], [{ type: 'put', key: path('new'), value: text('new') }]);
    store.compact();
    store.reconnect();
    await eventually('resync', () => watch.get({ host: 'new' }) !== undefined);
    expect(broken).toHaveLength(3);
    await write(path('bad'), 'still bad');
    expect(broken).toHaveLength(4);
    await write(path('bad'), text('mended'));
    expect(watch.get({ host: 'bad' })?.value.reason).toBe('mended');
    expect(watch.broken.has(path('bad'))).toBe(false);
    abort.abort();
    await running;
  });

  it('keeps the last readable value of a record that broke, until it is deleted', async () => {
    const { watch, changes, abort, run, write } = setUp();
    const good = await write(path('h'), text('good'));
    const running = run();
    await watch.whenSynced();
    await write(path('h'), 'rubbish');
    expect(watch.get({ host: 'h' })).toMatchObject({
      value: { reason: 'good' },
      modRevision: good,
    });
    expect(watch.broken.get(path('h'))).toBeDefined();
    expect([...(changes.at(-1)?.changed ?? [])]).toEqual([path('h')]);
    await write(path('h'));
    expect(watch.get({ host: 'h' })).toBeUndefined();
    expect(watch.broken.size).toBe(0);
    abort.abort();
    await running;
  });

  it('keeps what it knew while the store is away, and says since when', async () => {
    const { store, clock, watch, changes, abort, run, write } = setUp();
    await write(path('h1'), text('one'));
    await write(path('h2'), text('two'));
    expect(watch.staleMs()).toBeGreaterThan(0);
    const running = run();
    await watch.whenSynced();
    expect(watch.staleMs()).toBe(0);
    store.disconnect();
    await eventually('noticed', () => watch.staleMs() > 0);
    await clock.advance(5_000);
    expect(watch.staleMs()).toBe(5_000);
    expect(watch.records.size).toBe(2);
    store.database.commit([], [{ type: 'delete', key: path('h1') }]);
    store.database.commit([], [{ type: 'put', key: path('h2'), value: text('changed') }]);
    store.database.commit([], [{ type: 'put', key: path('h3'), value: text('three') }]);
    store.compact();
    store.reconnect();
    await eventually('caught up', () => watch.get({ host: 'h3' }) !== undefined);
    expect(watch.staleMs()).toBe(0);
    expect(changes.at(-1)).toMatchObject({
      resync: true,
      changed: new Set([path('h1'), path('h2'), path('h3')]),
    });
    expect(watch.get({ host: 'h2' })?.value.reason).toBe('changed');
    abort.abort();
    await running;
  });

  it('ends the wait for the first sync when asked to', async () => {
    const { store, watch, abort, run } = setUp();
    store.disconnect();
    const running = run();
    await expect(watch.whenSynced(AbortSignal.abort(new Error('enough')))).rejects.toThrow(
      'enough',
    );
    const late = new AbortController();
    const waiting = watch.whenSynced(late.signal);
    late.abort(new Error('enough now'));
    await expect(waiting).rejects.toThrow('enough now');
    abort.abort();
    await running;
  });
});
