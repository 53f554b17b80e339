import { randomUUID } from 'node:crypto';
import { Etcd3 } from 'etcd3';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  CompactedError,
  UnavailableError,
  type CommitResult,
  type Operation,
  type Store,
} from '../../../src/registry/store.ts';
import { TestEtcd } from '../../support/etcd.ts';
import { openTestStore } from '../../support/etcd-store.ts';
import { eventually } from '../../support/eventually.ts';
import { TcpProxy } from '../../support/tcp-proxy.ts';
import { WatchLog } from '../../support/watch-log.ts';

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe('the etcd store on a bad network', () => {
  let etcd: TestEtcd;
  let proxy: TcpProxy;
  /** Goes through the proxy. */
  let store: Store;
  /** Goes to etcd directly: sees what is true. */
  let direct: Store;
  let root: string;
  const logs: WatchLog[] = [];

  beforeAll(async () => {
    etcd = await TestEtcd.start();
  });
  afterAll(() => etcd.stop());
  beforeEach(async () => {
    proxy = await TcpProxy.start('127.0.0.1', etcd.port);
    store = await openTestStore(`http://127.0.0.1:${proxy.port}`);
    direct = await openTestStore(etcd.url);
    root = `/test/${randomUUID()}/`;
  });
  afterEach(async () => {
    etcd.resume();
    for (const log of logs.splice(0)) await log.stop();
    await store.close();
    await direct.close();
    await proxy.close();
  });

  const put = (name: string, value = name, lease?: string): Operation => ({
    type: 'put',
    key: root + name,
    value,
    ...(lease === undefined ? {} : { lease }),
  });
  const follow = (options = {}): WatchLog => {
    const log = new WatchLog(store, root, options);
    logs.push(log);
    return log;
  };
  const synced = (log: WatchLog): Promise<void> =>
    log.until('connected', ({ connections }) => connections.at(-1) === true, 15_000);
  const compact = async (): Promise<void> => {
    const client = new Etcd3({ hosts: etcd.url });
    const { header } = await client.kv.range({ key: Buffer.from('x') });
    await client.kv.compact({ revision: header.revision, physical: true });
    client.close();
  };
  /** Each write is one revision; the value says which. */
  const writeMany = async (count: number, from = 0): Promise<void> => {
    for (let i = from; i < from + count; i += 50) {
      await Promise.all(
        Array.from({ length: Math.min(50, from + count - i) }, (_, j) =>
          direct.commit([], [put(`k${String((i + j) % 100)}`, String(i + j))]),
        ),
      );
    }
  };
  const expectComplete = (log: WatchLog, count: number): void => {
    const values = log.events.map((e) => (e.type === 'put' ? Number(e.entry.value) : NaN));
    expect(values).toHaveLength(count);
    expect([...values].sort((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, i) => i));
    const revisions = log.events.map((e) => (e.type === 'put' ? e.entry.modRevision : 0n));
    expect(revisions.every((r, i) => i === 0 || r > (revisions[i - 1] ?? 0n))).toBe(true);
    expect(log.snapshots).toHaveLength(1);
  };

  describe('watches', () => {
    it('lose and double nothing of a backlog of 5,000 events that is cut in the middle, twice', async () => {
      /** Events that were there at each cut. */
      const cuts: number[] = [];
      const log: WatchLog = follow({
        onConnection: (up: boolean) => {
          if (up) return;
          // Before anything else can come: etcd sends a backlog faster than a test looks.
          if (cuts.push(log.events.length) === 2) proxy.limitBytes(100_000);
        },
      });
      await synced(log);
      proxy.refuse();
      proxy.cut();
      await writeMany(5_000);
      // About 75 bytes an event, and 1,000 events a batch.
      proxy.limitBytes(100_000);
      proxy.accept();
      await log.until('all', ({ events }) => events.length >= 5_000, 20_000);
      await pause(200);
      expectComplete(log, 5_000);
      expect(cuts.length).toBeGreaterThanOrEqual(3);
      const [none, some, more] = cuts;
      expect(none).toBe(0);
      expect(some).toBeGreaterThan(0);
      expect(more).toBeGreaterThan(some!);
      expect(more).toBeLessThan(5_000);
    });

    it('lose and double nothing while the line is cut every 100 ms', async () => {
      const log = follow();
      await synced(log);
      const writer = { busy: true };
      const vandal = (async () => {
        while (writer.busy) {
          proxy.cut();
          await pause(100);
        }
      })();
      // However fast etcd takes them: until the watch was broken five times.
      let count = 0;
      while (count < 3_000 || log.connections.filter((up) => !up).length < 5) {
        await writeMany(100, count);
        count += 100;
      }
      writer.busy = false;
      await vandal;
      await log.until('all', ({ events }) => events.length >= count, 20_000);
      await pause(200);
      expectComplete(log, count);
    });

    it('give a fresh snapshot when history was compacted while they were cut off', async () => {
      await direct.commit([], [put('stays'), put('goes')]);
      const log = follow();
      await synced(log);
      proxy.refuse();
      proxy.cut();
      await direct.commit([], [{ type: 'delete', key: `${root}goes` }]);
      await direct.commit([], [put('new')]);
      await compact();
      proxy.accept();
      await log.until('a second snapshot', ({ snapshots }) => snapshots.length === 2, 15_000);
      expect([...log.state.keys()]).toEqual([`${root}new`, `${root}stays`]);
      await direct.commit([], [put('later')]);
      await log.until('events again', ({ state }) => state.has(`${root}later`));
    });

    it('notice a deletion that was the very revision of the compaction', async () => {
      await direct.commit([], [put('goes')]);
      const log = follow();
      await synced(log);
      proxy.refuse();
      proxy.cut();
      await direct.commit([], [{ type: 'delete', key: `${root}goes` }]);
      await compact();
      proxy.accept();
      await log.until('the deletion', ({ state }) => state.size === 0, 15_000);
    });

    it('that started at a revision end with CompactedError instead', async () => {
      const first = await direct.commit([], [put('a')]);
      const log = follow({ from: first.revision });
      await log.until('the event', ({ events }) => events.length === 1);
      proxy.refuse();
      proxy.cut();
      await direct.commit([], [put('a', '2')]);
      await direct.commit([], [put('a', '3')]);
      await compact();
      proxy.accept();
      await log.until('the end', ({ ended }) => ended, 15_000);
      expect(log.failure).toBeInstanceOf(CompactedError);
      expect(log.snapshots).toEqual([]);
    });

    it('that break one after the other do not break each other again', async () => {
      const watches: WatchLog[] = [];
      for (let i = 0; i < 4; i++) {
        watches.push(follow());
        await synced(watches[i]!);
        await pause(400); // so that each finds out at a time of its own
      }
      proxy.stallOld();
      for (const watch of watches) {
        await watch.until(
          'broke and came back',
          ({ connections }) => connections.length >= 3,
          15_000,
        );
      }
      // What is left behind on a closed channel fails at the next ping, 10 s later.
      await pause(12_000);
      expect(watches.map(({ connections }) => connections)).toEqual(
        watches.map(() => [true, false, true]),
      );
    });

    it('notice a stalled line within 15 s and catch up afterwards', async () => {
      const log = follow();
      await synced(log);
      const start = performance.now();
      proxy.stall();
      await direct.commit([], [put('missed')]);
      await log.until('noticed', ({ connections }) => connections.at(-1) === false, 15_000);
      expect(performance.now() - start).toBeLessThan(15_000);
      proxy.resume();
      await log.until('the event', ({ events }) => events.length === 1, 15_000);
      await pause(300);
      expect(log.events).toHaveLength(1);
      expect(log.snapshots).toHaveLength(1);
    });

    it('survive a slow receiver of a large backlog', async () => {
      const abort = new AbortController();
      const seen: string[] = [];
      let connections = 0;
      const onConnection = (up: boolean): void => {
        if (up) connections++;
      };
      const slow = (async () => {
        for await (const batch of store.watch(root, { onConnection }, abort.signal)) {
          if (batch.type === 'events') {
            for (const event of batch.events)
              if (event.type === 'put') seen.push(event.entry.value);
          }
          // Longer than the silence after which a stream is given up.
          if (seen.length === 1) await pause(10_000);
        }
      })();
      await eventually('connected', () => connections === 1);
      await direct.commit([], [put('first', '0')]);
      // It comes alone, and its receiver takes its time.
      await eventually('the first', () => seen.length === 1);
      await writeMany(1_999, 1);
      expect(seen).toHaveLength(1);
      await eventually('all', () => seen.length >= 2_000, 30_000);
      expect(connections).toBe(1);
      expect(seen.map(Number).sort((a, b) => a - b)).toEqual(
        Array.from({ length: 2_000 }, (_, i) => i),
      );
      abort.abort();
      await slow;
    });

    it('are quiet for long without being dropped', async () => {
      const log = follow();
      await synced(log);
      await pause(16_000);
      expect(log.connections).toEqual([true]);
      await direct.commit([], [put('a')]);
      await log.until('the event', ({ events }) => events.length === 1);
    });
  });

  describe('calls', () => {
    it('fail within 15 s on a stalled line, and work again at once when it heals', async () => {
      await store.get(root);
      proxy.stall();
      const start = performance.now();
      const results = await Promise.allSettled([
        store.get(root),
        store.list(root),
        store.commit([], [put('a')]),
        store.grantLease(5_000),
      ]);
      expect(performance.now() - start).toBeLessThan(16_000);
      for (const result of results) {
        expect(result.status === 'rejected' && result.reason).toBeInstanceOf(UnavailableError);
      }
      proxy.resume();
      const healed = performance.now();
      expect(await store.get(`${root}none`)).toBeUndefined();
      // One attempt at most (5 s) may still be on the old connection.
      expect(performance.now() - healed).toBeLessThan(6_000);
    });

    it('get over a cut without the caller noticing', async () => {
      await store.get(root);
      for (let i = 0; i < 20; i++) {
        proxy.cut();
        expect((await store.commit([], [put('a', String(i))])).committed).toBe(true);
        proxy.cut();
        expect((await store.get(`${root}a`))?.value).toBe(String(i));
      }
    });

    it('end as soon as their signal aborts', async () => {
      await store.get(root);
      proxy.stall();
      const abort = new AbortController();
      const call = store.commit([], [put('a')], abort.signal);
      setTimeout(() => {
        abort.abort(new Error('enough'));
      }, 100);
      const start = performance.now();
      await expect(call).rejects.toThrow('enough');
      // Before any limit of the call's own.
      expect(performance.now() - start).toBeLessThan(4_000);
    });
  });

  describe('transactions', () => {
    /** Commits, and cuts the line after the request went out and before the answer comes back. */
    const commitWithoutAnswer = async (
      conditions: Parameters<Store['commit']>[0],
      operations: readonly Operation[],
      meanwhile: () => Promise<unknown> = () => Promise.resolve(),
    ): Promise<CommitResult> => {
      await store.get(root);
      // Requests pass, answers do not.
      proxy.stallAnswers();
      const result = store.commit(conditions, operations);
      result.catch(() => undefined);
      await eventually('the transaction took effect', async () => {
        const [first] = operations;
        if (first === undefined) return true;
        const entry = await direct.get(first.key);
        return first.type === 'put' ? entry?.value === first.value : entry === undefined;
      });
      await meanwhile();
      proxy.cut();
      proxy.resume();
      return await result;
    };

    it('whose answer was lost are not mistaken for a lost race', async () => {
      const key = `${root}lock`;
      const result = await commitWithoutAnswer(
        [{ type: 'absent', key }],
        [put('lock', 'mine'), put('other')],
      );
      const entry = await direct.get(key);
      expect(result).toEqual({ committed: true, revision: entry?.modRevision });
      expect(entry?.createRevision).toBe(entry?.modRevision);
    });

    it('whose answer was lost are applied once, also without conditions', async () => {
      const log = new WatchLog(direct, root);
      logs.push(log);
      await synced(log);
      const result = await commitWithoutAnswer([], [put('counter', '1')]);
      expect(result.committed).toBe(true);
      await direct.commit([], [put('end')]);
      await log.until('the end', ({ state }) => state.has(`${root}end`));
      expect(log.events).toHaveLength(2);
    });

    it('whose answer was lost are found under a later write of somebody else', async () => {
      const result = await commitWithoutAnswer([], [put('a', 'mine')], () =>
        direct.commit([], [put('a', 'theirs')]),
      );
      expect(result.committed).toBe(true);
      const now = await direct.get(`${root}a`);
      expect(now).toMatchObject({ value: 'theirs', createRevision: result.revision });
    });

    it('whose answer was lost and that deleted are known', async () => {
      const before = await direct.commit([], [put('a'), put('b')]);
      const result = await commitWithoutAnswer(
        [{ type: 'unchanged', key: `${root}a`, modRevision: before.revision }],
        [
          { type: 'delete', key: `${root}a` },
          { type: 'delete', key: `${root}b` },
        ],
      );
      expect(result.committed).toBe(true);
    });

    it('that never arrived are sent again', async () => {
      await store.get(root);
      proxy.stall();
      const result = store.commit([{ type: 'absent', key: `${root}a` }], [put('a')]);
      await pause(200);
      proxy.cut();
      proxy.resume();
      expect((await result).committed).toBe(true);
    });

    it('that really lost the race are told so', async () => {
      await store.get(root);
      proxy.stall();
      const result = store.commit([{ type: 'absent', key: `${root}a` }], [put('a', 'mine')]);
      await pause(200);
      await direct.commit([], [put('a', 'theirs')]);
      proxy.cut();
      proxy.resume();
      const answer = await result;
      expect(answer.committed).toBe(false);
      expect(!answer.committed && answer.current.get(`${root}a`)?.value).toBe('theirs');
    });

    it('given up on a stalled line do not take effect later', async () => {
      await store.get(root);
      await direct.commit([], [put('a', 'old')]);
      // Fails for the client after 5 s, while the bytes wait in the network; what the client tries next goes
      // over a new connection.
      proxy.stall();
      const result = store.commit([], [put('a', 'zombie')]);
      await pause(200);
      proxy.stallOld();
      expect((await result).committed).toBe(true);
      const next = await direct.commit([], [put('a', 'newer')]);
      // The request arrives at last; that it was given up has not.
      proxy.trickle(1);
      await pause(1_000);
      expect(await direct.get(`${root}a`)).toMatchObject({
        value: 'newer',
        modRevision: next.revision,
      });
    });
  });

  describe('leases', () => {
    it.each([2_000, 5_000])('of %i ms are lost before the key goes', async (ttlMs) => {
      const lease = await store.grantLease(ttlMs);
      await store.commit([], [put('mine', '1', lease.id)]);
      const log = new WatchLog(direct, root);
      logs.push(log);
      await synced(log);
      await pause(ttlMs);
      expect(lease.lost.aborted).toBe(false);
      let lostAt = Number.NaN;
      lease.lost.addEventListener('abort', () => (lostAt = performance.now()));
      let goneAt = Number.NaN;
      proxy.stall();
      await eventually(
        'the key is gone',
        () => {
          if (log.events.length === 0) return false;
          goneAt = performance.now();
          return true;
        },
        ttlMs * 3 + 5_000,
      );
      expect(lostAt).toBeLessThan(goneAt);
      expect(lease.remainingMs()).toBe(0);
    });

    it('survive cuts, and a stall that is shorter than they are', async () => {
      const lease = await store.grantLease(6_000);
      await store.commit([], [put('mine', '1', lease.id)]);
      for (let i = 0; i < 20; i++) {
        proxy.cut();
        await pause(150);
      }
      proxy.stall();
      await pause(2_500);
      proxy.resume();
      await pause(6_000);
      expect(lease.lost.aborted).toBe(false);
      expect(await direct.get(`${root}mine`)).toBeDefined();
      await lease.release();
    });

    it('are lost at once when somebody revokes them', async () => {
      const lease = await store.grantLease(12_000);
      const client = new Etcd3({ hosts: etcd.url });
      await client.leaseClient.leaseRevoke({ ID: lease.id });
      client.close();
      // With the next renewal, of which there are four in a lease's life; not at its end.
      await eventually('noticed', () => lease.lost.aborted, 8_000);
    });
  });

  describe('etcd itself', () => {
    it('may be restarted under watches, leases and calls', async () => {
      const log = follow();
      await synced(log);
      const lease = await store.grantLease(8_000);
      await store.commit([], [put('mine', '1', lease.id)]);
      await etcd.restart();
      expect((await store.commit([], [put('after')])).committed).toBe(true);
      await log.until('the event', ({ state }) => state.has(`${root}after`), 10_000);
      await pause(8_000);
      expect(lease.lost.aborted).toBe(false);
      expect(await direct.get(`${root}mine`)).toBeDefined();
      expect(log.snapshots).toHaveLength(1);
      expect(log.events).toHaveLength(2);
    });

    it('may be away when a call comes, for a moment', async () => {
      await store.get(root);
      await etcd.kill();
      const call = store.get(`${root}none`);
      const write = store.commit([], [put('a')]);
      await pause(500);
      await etcd.restart();
      expect(await call).toBeUndefined();
      expect((await write).committed).toBe(true);
    });

    it('may be away for longer than calls wait', async () => {
      const log = follow();
      await synced(log);
      await etcd.kill();
      const start = performance.now();
      await expect(store.get(root)).rejects.toBeInstanceOf(UnavailableError);
      await expect(store.commit([], [put('a')])).rejects.toBeInstanceOf(UnavailableError);
      expect(performance.now() - start).toBeLessThan(30_000);
      await etcd.restart();
      expect((await direct.commit([], [put('b')])).committed).toBe(true);
      await log.until('the event', ({ state }) => state.has(`${root}b`), 10_000);
      expect(log.connections).toEqual([true, false, true]);
    });

    it('may stand still for 20 s', async () => {
      const log = follow();
      await synced(log);
      const lease = await store.grantLease(5_000);
      await store.commit([], [put('mine', '1', lease.id)]);
      const start = performance.now();
      etcd.pause();
      await log.until('noticed', ({ connections }) => connections.at(-1) === false, 15_000);
      await eventually('lost', () => lease.lost.aborted, 6_000);
      await pause(20_000 - (performance.now() - start));
      etcd.resume();
      await log.until('reconnected', ({ connections }) => connections.at(-1) === true, 15_000);
      expect((await store.commit([], [put('after')])).committed).toBe(true);
      await log.until('the event', ({ state }) => state.has(`${root}after`));
    });
  });

  it('uses the other member while one is unreachable', async () => {
    const other = await TcpProxy.start('127.0.0.1', etcd.port);
    const both = await openTestStore([
      `http://127.0.0.1:${proxy.port}`,
      `http://127.0.0.1:${other.port}`,
    ]);
    try {
      const log = new WatchLog(both, root);
      logs.push(log);
      await synced(log);
      const lease = await both.grantLease(6_000);
      proxy.stall();
      for (let i = 0; i < 5; i++) {
        expect((await both.commit([], [put('a', String(i))])).committed).toBe(true);
      }
      await log.until('events', ({ state }) => state.get(`${root}a`)?.value === '4', 15_000);
      await pause(6_000);
      expect(lease.lost.aborted).toBe(false);
      proxy.refuse();
      proxy.cut();
      expect((await both.commit([], [put('b')])).committed).toBe(true);
      await log.until('the event', ({ state }) => state.has(`${root}b`), 15_000);
    } finally {
      await logs.pop()?.stop();
      await both.close();
      await other.close();
    }
  });
});
