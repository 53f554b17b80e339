import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  CompactedError,
  LeaseLostError,
  StoreRefusedError,
  type CommitResult,
  type Operation,
  type Revision,
  type Store,
  type WatchOptions,
} from '../../src/registry/store.ts';
import { eventually } from './eventually.ts';
import { WatchLog } from './watch-log.ts';

/** What the suite needs of an implementation. */
export interface StoreHarness {
  /** Before all tests. */
  start?(): Promise<void>;
  /** After all tests. */
  stop?(): Promise<void>;
  /** A new connection; all of them see the same records. */
  open(): Promise<Store>;
  /** Compacts history up to `revision`. */
  compact(revision: Revision): Promise<void>;
  /** Lets `ms` of the store's time pass. */
  wait(ms: number): Promise<void>;
}

/** The promises of src/registry/store.ts, as tests that every implementation passes. */
export function describeStoreContract(name: string, harness: StoreHarness): void {
  describe(`${name} keeps the store contract`, () => {
    let store: Store;
    let root: string;
    const logs: WatchLog[] = [];

    beforeAll(async () => {
      await harness.start?.();
    });
    afterAll(async () => {
      await harness.stop?.();
    });
    beforeEach(async () => {
      store = await harness.open();
      root = `/test/${randomUUID()}/`;
    });
    afterEach(async () => {
      for (const log of logs.splice(0)) await log.stop();
      await store.close();
    });

    const put = (name: string, value = name, lease?: string): Operation => ({
      type: 'put',
      key: root + name,
      value,
      ...(lease === undefined ? {} : { lease }),
    });
    const del = (name: string): Operation => ({ type: 'delete', key: root + name });
    const write = async (...operations: Operation[]): Promise<Revision> => {
      const result = await store.commit([], operations);
      if (!result.committed) throw new Error('a write without conditions was refused');
      return result.revision;
    };
    const lost = (result: CommitResult): Extract<CommitResult, { committed: false }> => {
      if (result.committed) throw new Error('committed, but must not be');
      return result;
    };
    const follow = (options: WatchOptions = {}, prefix = root): WatchLog => {
      const log = new WatchLog(store, prefix, options);
      logs.push(log);
      return log;
    };
    const names = (entries: readonly { key: string }[]): string[] =>
      entries.map(({ key }) => key.slice(root.length));

    describe('transactions', () => {
      it('says nothing about an absent key', async () => {
        expect(await store.get(root + 'none')).toBeUndefined();
      });

      it('keeps createRevision and moves modRevision when a key is written again', async () => {
        const first = await write(put('a', 'one'));
        const second = await write(put('a', 'two'));
        expect(second).toBe(first + 1n);
        expect(await store.get(root + 'a')).toEqual({
          key: root + 'a',
          value: 'two',
          createRevision: first,
          modRevision: second,
        });
      });

      it('starts a new life for a key that was deleted', async () => {
        await write(put('a'));
        await write(del('a'));
        const again = await write(put('a'));
        expect((await store.get(root + 'a'))?.createRevision).toBe(again);
      });

      it('applies all operations at one revision', async () => {
        await write(put('gone'));
        const revision = await write(put('a'), put('b'), del('gone'));
        const { entries } = await store.list(root);
        expect(entries.map((e) => e.modRevision)).toEqual([revision, revision]);
        expect(names(entries)).toEqual(['a', 'b']);
      });

      it.each([
        ['absent', true, false],
        ['present', false, true],
      ] as const)('checks "%s"', async (type, onAbsent, onPresent) => {
        await write(put('there'));
        const try1 = await store.commit([{ type, key: root + 'none' }], [put('x')]);
        const try2 = await store.commit([{ type, key: root + 'there' }], [put('x')]);
        expect([try1.committed, try2.committed]).toEqual([onAbsent, onPresent]);
      });

      it('checks "unchanged"', async () => {
        const old = await write(put('a'));
        const now = await write(put('a'));
        const unchanged = (modRevision: Revision): Promise<CommitResult> =>
          store.commit([{ type: 'unchanged', key: root + 'a', modRevision }], [put('x')]);
        expect((await unchanged(old)).committed).toBe(false);
        expect((await unchanged(now)).committed).toBe(true);
        expect((await unchanged(0n)).committed).toBe(false);
        await write(del('a'));
        expect((await unchanged(now)).committed).toBe(false);
        expect((await unchanged(0n)).committed).toBe(true);
      });

      it('applies nothing when one condition fails, and shows the winners', async () => {
        const revision = await write(put('a', 'mine'));
        const result = lost(
          await store.commit(
            [
              { type: 'present', key: root + 'a' },
              { type: 'absent', key: root + 'b' },
              { type: 'unchanged', key: root + 'a', modRevision: revision - 1n },
            ],
            [put('c'), del('a')],
          ),
        );
        expect(result.current.get(root + 'a')).toMatchObject({
          value: 'mine',
          modRevision: revision,
        });
        expect(result.current.has(root + 'b')).toBe(true);
        expect(result.current.get(root + 'b')).toBeUndefined();
        expect(names((await store.list(root)).entries)).toEqual(['a']);
      });

      it('lets exactly one of two rivals win', async () => {
        const rival = await harness.open();
        try {
          const claim = (s: Store, value: string): Promise<CommitResult> =>
            s.commit([{ type: 'absent', key: root + 'lock' }], [put('lock', value)]);
          const results = await Promise.all([claim(store, '1'), claim(rival, '2')]);
          expect(results.filter((r) => r.committed)).toHaveLength(1);
          const winner = results.findIndex((r) => r.committed) + 1;
          expect((await store.get(root + 'lock'))?.value).toBe(String(winner));
        } finally {
          await rival.close();
        }
      });

      it('makes no revision when nothing is written', async () => {
        const revision = await write(put('a'));
        expect(await write(del('never'))).toBe(revision);
        expect(await write()).toBe(revision);
        expect(await write(put('b'))).toBe(revision + 1n);
      });

      it('takes 128 operations and refuses 129', async () => {
        const many = (count: number): Operation[] =>
          Array.from({ length: count }, (_, i) => put(String(i)));
        await expect(store.commit([], many(129))).rejects.toBeInstanceOf(StoreRefusedError);
        expect((await store.list(root)).entries).toHaveLength(0);
        expect((await store.commit([], many(128))).committed).toBe(true);
        expect((await store.list(root)).entries).toHaveLength(128);
      });

      it('refuses the same key twice in one transaction', async () => {
        await expect(store.commit([], [put('a'), del('a')])).rejects.toBeInstanceOf(
          StoreRefusedError,
        );
      });

      it('refuses an empty key and a value that is too large', async () => {
        const nothing = store.commit([], [{ type: 'put', key: '', value: 'x' }]);
        await expect(nothing).rejects.toBeInstanceOf(StoreRefusedError);
        const huge = store.commit([], [put('huge', 'x'.repeat(2_000_000))]);
        await expect(huge).rejects.toBeInstanceOf(StoreRefusedError);
      });

      it('keeps every character, and much of it', async () => {
        const value = 'ä€😀\u0000"\n'.repeat(10_000);
        await write(put('ü/😀', value), put('empty', ''));
        expect((await store.get(root + 'ü/😀'))?.value).toBe(value);
        expect((await store.get(root + 'empty'))?.value).toBe('');
      });
    });

    describe('listings', () => {
      it('are in byte order and hold nothing but the prefix', async () => {
        const all = ['b', 'a/2', 'a', 'a/10', 'ｚ', '😀', 'a0', 'é'];
        for (const name of all) await write(put(name));
        const inBytes = [...all].sort((x, y) => Buffer.compare(Buffer.from(x), Buffer.from(y)));
        expect(names((await store.list(root)).entries)).toEqual(inBytes);
        expect(names((await store.list(`${root}a/`)).entries)).toEqual(['a/10', 'a/2']);
        expect((await store.list(`${root}zzz`)).entries).toEqual([]);
      });

      it('come in pages that fit together even while the records change', async () => {
        for (const name of ['a', 'b', 'c', 'd', 'e']) await write(put(name));
        const one = await store.list(root, { limit: 2 });
        expect([names(one.entries), one.more]).toEqual([['a', 'b'], true]);
        await write(put('c', 'new'), del('d'), put('bb'));
        const two = await store.list(root, { limit: 3, after: root + 'b', revision: one.revision });
        expect(names(two.entries)).toEqual(['c', 'd', 'e']);
        expect(two.entries[0]?.value).toBe('c');
        expect(two.more).toBe(false);
        expect(two.revision).toBe(one.revision);
        const now = await store.list(root, { after: root + 'b' });
        expect(names(now.entries)).toEqual(['bb', 'c', 'e']);
      });

      it('say that there is no more when the limit is met exactly', async () => {
        await write(put('a'), put('b'));
        expect(await store.list(root, { limit: 2 })).toMatchObject({ more: false });
        expect(await store.list(root, { limit: 1 })).toMatchObject({ more: true });
      });

      it('of many records are of one revision', async () => {
        const count = 1_280;
        for (let i = 0; i < count; i += 128) {
          await write(
            ...Array.from({ length: 128 }, (_, j) => put(String(i + j).padStart(5, '0'))),
          );
        }
        const listing = store.list(root);
        await write(put('99999'));
        const { entries, revision } = await listing;
        const visible = entries.filter((e) => e.modRevision <= revision);
        expect(visible).toHaveLength(entries.length);
        expect(new Set(names(entries)).size).toBe(entries.length);
        expect(entries.length).toBeGreaterThanOrEqual(count);
      });

      it('show the past, but not the compacted past nor the future', async () => {
        const first = await write(put('a', 'old'));
        const second = await write(put('a', 'new'), put('b'));
        const past = await store.list(root, { revision: first });
        expect(past.entries.map((e) => e.value)).toEqual(['old']);
        expect(past.revision).toBe(first);
        const future = store.list(root, { revision: second + 1_000n });
        await expect(future).rejects.toBeInstanceOf(StoreRefusedError);
        await harness.compact(second);
        await expect(store.list(root, { revision: first })).rejects.toBeInstanceOf(CompactedError);
        expect(names((await store.list(root, { revision: second })).entries)).toEqual(['a', 'b']);
      });
    });

    describe('watches', () => {
      it('begin with a snapshot and go on with events', async () => {
        const before = await write(put('a', '1'));
        const log = follow();
        await log.until('a snapshot', ({ snapshots }) => snapshots.length === 1);
        expect(log.snapshots[0]?.entries).toMatchObject([{ value: '1', modRevision: before }]);
        expect(log.snapshots[0]?.revision).toBeGreaterThanOrEqual(before);
        const changed = await write(put('a', '2'));
        const deleted = await write(del('a'));
        await log.until('two events', ({ events }) => events.length === 2);
        expect(log.events).toEqual([
          {
            type: 'put',
            entry: { key: root + 'a', value: '2', createRevision: before, modRevision: changed },
          },
          { type: 'delete', key: root + 'a', revision: deleted },
        ]);
        expect(log.connections).toEqual([true]);
      });

      it('deliver all events of one revision in one batch', async () => {
        const log = follow();
        await log.until('a snapshot', ({ snapshots }) => snapshots.length === 1);
        const operations = Array.from({ length: 100 }, (_, i) => put(`k${i}`));
        const revision = await write(...operations);
        await log.until('the events', ({ events }) => events.length > 0);
        const batch = log.batches.find((b) => b.type === 'events');
        expect(batch).toMatchObject({ revision });
        expect(log.events).toHaveLength(100);
      });

      it('see nothing outside of the prefix', async () => {
        const log = follow({}, `${root}a/`);
        await log.until('a snapshot', ({ snapshots }) => snapshots.length === 1);
        await write(put('b'), put('a'), put('a0'));
        await write(put('a/in'));
        await log.until('an event', ({ events }) => events.length > 0);
        expect(log.events).toMatchObject([{ type: 'put', entry: { key: `${root}a/in` } }]);
      });

      it('tell what was before, if asked', async () => {
        const created = await write(put('a', 'old'));
        const log = follow({ withPrevious: true });
        await log.until('a snapshot', ({ snapshots }) => snapshots.length === 1);
        await write(put('a', 'new'));
        await write(del('a'), put('b'));
        await log.until('all events', ({ events }) => events.length === 3);
        const [changed, ...rest] = log.events;
        expect(changed).toMatchObject({ previous: { value: 'old', modRevision: created } });
        expect(rest.find((e) => e.type === 'delete')).toMatchObject({ previous: { value: 'new' } });
        expect(rest.find((e) => e.type === 'put')).not.toHaveProperty('previous');
      });

      it('start at a revision without a snapshot', async () => {
        await write(put('a', '1'));
        const from = await write(put('a', '2'));
        await write(put('a', '3'));
        const log = follow({ from });
        await log.until('the past', ({ events }) => events.length === 2);
        await write(put('a', '4'));
        await log.until('the present', ({ events }) => events.length === 3);
        expect(log.snapshots).toEqual([]);
        expect(log.events.map((e) => (e.type === 'put' ? e.entry.value : ''))).toEqual([
          '2',
          '3',
          '4',
        ]);
      });

      it('end with CompactedError when the revision to start at is gone', async () => {
        const from = await write(put('a', '1'));
        const now = await write(put('a', '2'));
        await harness.compact(now);
        const log = follow({ from });
        await log.until('the end', ({ ended }) => ended);
        expect(log.failure).toBeInstanceOf(CompactedError);
        expect(log.batches).toEqual([]);
      });

      it('start in the future of a compaction', async () => {
        const now = await write(put('a', '1'));
        await harness.compact(now);
        const log = follow({ from: now + 1n });
        await write(put('a', '2'));
        await log.until('the event', ({ events }) => events.length === 1);
      });

      it('return quietly when aborted, before and after the first batch', async () => {
        const log = follow();
        await log.stop();
        expect(log).toMatchObject({ ended: true, failure: undefined });
        const other = follow();
        await other.until('a snapshot', ({ snapshots }) => snapshots.length === 1);
        await other.stop();
        expect(other).toMatchObject({ ended: true, failure: undefined });
        await write(put('late'));
        expect(other.events).toEqual([]);
      });

      it('do not disturb each other', async () => {
        const all = Array.from({ length: 60 }, (_, i) => follow({}, `${root}${i}/`));
        for (const log of all) {
          await log.until('a snapshot', ({ snapshots }) => snapshots.length === 1, 10_000);
        }
        await all[0]?.stop();
        for (let i = 0; i < all.length; i++) await write(put(`${i}/x`));
        for (const log of all.slice(1)) {
          await log.until('its event', ({ events }) => events.length === 1);
        }
        expect(all[0]?.events).toEqual([]);
      });

      it('throw when the store is closed under them', async () => {
        const other = await harness.open();
        const log = new WatchLog(other, root);
        await log.until('a snapshot', ({ snapshots }) => snapshots.length === 1);
        await other.close();
        await log.until('the end', ({ ended }) => ended);
        expect(log.failure).toBeInstanceOf(StoreRefusedError);
        await expect(other.get(root)).rejects.toBeInstanceOf(StoreRefusedError);
        await expect(other.commit([], [])).rejects.toBeInstanceOf(StoreRefusedError);
      });
    });

    describe('leases', () => {
      it('carry keys away when they are released, all at one revision', async () => {
        const lease = await store.grantLease(10_000);
        await write(put('a', '1', lease.id), put('b', '1', lease.id), put('stays'));
        expect((await store.get(root + 'a'))?.lease).toBe(lease.id);
        const log = follow();
        await log.until('a snapshot', ({ snapshots }) => snapshots.length === 1);
        expect(lease.remainingMs()).toBeGreaterThan(5_000);
        lease.assertAlive();
        await lease.release();
        expect(lease.lost.aborted).toBe(true);
        expect(lease.remainingMs()).toBe(0);
        expect(() => {
          lease.assertAlive();
        }).toThrow(LeaseLostError);
        expect(names((await store.list(root)).entries)).toEqual(['stays']);
        await log.until('two deletions', ({ events }) => events.length === 2);
        expect(log.batches.filter((b) => b.type === 'events')).toHaveLength(1);
      });

      it('let go of keys that are written without them', async () => {
        const lease = await store.grantLease(10_000);
        await write(put('a', '1', lease.id));
        await write(put('a', '2'));
        await lease.release();
        expect(await store.get(root + 'a')).toMatchObject({ value: '2' });
        expect(await store.get(root + 'a')).not.toHaveProperty('lease');
      });

      it('that are gone are refused in transactions', async () => {
        const lease = await store.grantLease(10_000);
        await lease.release();
        const late = store.commit([], [put('b'), put('a', '1', lease.id)]);
        await expect(late).rejects.toBeInstanceOf(LeaseLostError);
        expect((await store.list(root)).entries).toEqual([]);
      });

      it('are kept alive beyond their TTL', async () => {
        const lease = await store.grantLease(2_000);
        await write(put('a', '1', lease.id));
        await harness.wait(3_500);
        expect(lease.lost.aborted).toBe(false);
        expect(await store.get(root + 'a')).toBeDefined();
        await lease.release();
      });

      it('that are abandoned let their keys live out the TTL', async () => {
        const lease = await store.grantLease(2_000);
        await write(put('a', '1', lease.id));
        lease.abandon();
        expect(lease.lost.aborted).toBe(true);
        expect(await store.get(root + 'a')).toBeDefined();
        await harness.wait(2_000);
        await eventually(
          'the key is gone',
          async () => (await store.get(root + 'a')) === undefined,
          6_000,
        );
      });

      it('round the TTL up to whole seconds, two at least', async () => {
        const short = await store.grantLease(10);
        const odd = await store.grantLease(3_001);
        expect([short.ttlMs, odd.ttlMs]).toEqual([2_000, 4_000]);
        await Promise.all([short.release(), odd.release()]);
      });
    });

    it('rejects calls whose signal has aborted', async () => {
      const aborted = AbortSignal.abort(new Error('enough'));
      await expect(store.get(root, aborted)).rejects.toThrow('enough');
      await expect(store.list(root, {}, aborted)).rejects.toThrow('enough');
      await expect(store.commit([], [put('a')], aborted)).rejects.toThrow('enough');
      expect(await store.get(root + 'a')).toBeUndefined();
    });
  });
}
