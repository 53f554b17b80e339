import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { StoreRefusedError, type Operation, type Store } from '../../../src/registry/store.ts';
import { TestEtcd } from '../../support/etcd.ts';
import { openTestStore } from '../../support/etcd-store.ts';
import { WatchLog } from '../../support/watch-log.ts';

const put = (key: string, value: string): Operation => ({ type: 'put', key, value });

describe('an etcd that is full', () => {
  let etcd: TestEtcd;
  let store: Store;

  beforeAll(async () => {
    etcd = await TestEtcd.start({ args: ['--quota-backend-bytes', '2000000'] });
    store = await openTestStore(etcd.url);
  });
  afterAll(async () => {
    await store.close();
    await etcd.stop();
  });

  it('refuses writes with the reason and the way out, at once, and still answers reads', async () => {
    await store.commit([], [put('/small', 'x')]);
    const log = new WatchLog(store, '/small');
    await log.until('connected', ({ connections }) => connections.at(-1) === true);
    // Until it is refused: etcd measures its file only after each batch (100 ms), and a fast disk
    // takes many times the quota before that.
    const fill = async (): Promise<never> => {
      for (let i = 0; ; i++) await store.commit([], [put(`/fill/${i}`, 'x'.repeat(200_000))]);
    };
    await expect(fill()).rejects.toThrow(StoreRefusedError);
    const start = performance.now();
    const error = await fill().catch((e: unknown) => e);
    expect(error).toBeInstanceOf(StoreRefusedError);
    expect((error as Error).message).toMatch(/space exceeded.*NOSPACE/);
    // Not tried again and again until the call's time is up.
    expect(performance.now() - start).toBeLessThan(8_000);
    expect((await store.get('/small'))?.value).toBe('x');
    expect(log.connections).toEqual([true]);
    await log.stop();
  });
});

describe('many records and watches', () => {
  it('10,000 records come in one snapshot, 50 watches see a change', async () => {
    const etcd = await TestEtcd.start();
    const store = await openTestStore(etcd.url);
    const count = 10_000;
    const value = JSON.stringify({ text: 'x'.repeat(500) });
    for (let i = 0; i < count; i += 100) {
      const part = Array.from({ length: 100 }, (_, j) => put(`/many/${String(i + j)}`, value));
      await store.commit([], part);
    }
    const { entries } = await store.list('/many/');
    expect(new Set(entries.map((e) => e.key)).size).toBe(count);
    const logs = Array.from({ length: 50 }, () => new WatchLog(store, '/many/1'));
    for (const log of logs) {
      await log.until('connected', ({ connections }) => connections.length > 0, 60_000);
    }
    await store.commit([], [put('/many/1', 'changed')]);
    for (const log of logs) {
      await log.until('the change', ({ events }) => events.length === 1, 10_000);
    }
    for (const log of logs) await log.stop();
    await store.close();
    await etcd.stop();
  });
});
