import { Etcd3 } from 'etcd3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decide } from '../../../src/registry/decide.ts';
import { contendForLeadership } from '../../../src/registry/leadership.ts';
import { hostRecords } from '../../../src/registry/records/index.ts';
import type { Lease, Store } from '../../../src/registry/store.ts';
import { silentLogger } from '../../../src/telemetry/log.ts';
import { TestEtcd } from '../../support/etcd.ts';
import { openTestStore } from '../../support/etcd-store.ts';
import { eventually } from '../../support/eventually.ts';
import { WatchLog } from '../../support/watch-log.ts';

describe('three members of etcd', () => {
  let members: TestEtcd[];
  const stores: Store[] = [];
  const logs: WatchLog[] = [];

  beforeAll(async () => {
    members = await TestEtcd.startCluster(3);
  });
  afterAll(async () => {
    for (const log of logs) await log.stop();
    for (const store of stores) await store.close();
    for (const member of members) await member.stop();
  });

  async function open(): Promise<Store> {
    const store = await openTestStore(members.map(({ url }) => url));
    stores.push(store);
    return store;
  }

  /** The member that leads etcd itself. */
  async function leadingMember(): Promise<TestEtcd> {
    for (const member of members) {
      if (member.pid === undefined) continue;
      const client = new Etcd3({ hosts: member.url });
      try {
        const { leader, header } = await client.maintenance.status();
        if (leader === header.member_id) return member;
      } finally {
        client.close();
      }
    }
    throw new Error('no member leads');
  }

  it('of which the leading one is killed: no host, no leader and no decision is lost', async () => {
    // Time for two elections: with two members left, every few times the first is a draw.
    const ttlMs = 10_000;
    const leases: Lease[] = [];
    for (const host of ['a', 'b', 'c']) {
      const store = await open();
      const lease = await store.grantLease(ttlMs);
      const key = hostRecords.path({ host });
      await store.commit([], [{ type: 'put', key, value: '{}', lease: lease.id }]);
      leases.push(lease);
    }
    const store = await open();
    const leadership = await contendForLeadership(
      store,
      { operator: 'x', since: 'now' },
      { leaseTtlMs: ttlMs, log: silentLogger },
      () => Promise.resolve(),
      new AbortController().signal,
    );
    const log = new WatchLog(await open(), hostRecords.prefix);
    logs.push(log);
    await log.until('hosts', ({ state }) => state.size === 3);
    const put = (value: string) =>
      decide(store, leadership.epoch, [], [{ type: 'put', key: '/x', value }]);
    await put('before');

    const killed = await leadingMember();
    await killed.kill();
    await eventually('decisions go on', async () => (await put('during')).committed, 20_000, 200);
    // Longer than any lease lives without renewal (etcd begins its life anew with a new leader).
    const since = performance.now();
    await eventually('two lives of a lease', () => performance.now() - since > 2 * ttlMs, 30_000);
    expect(leases.map((lease) => lease.lost.aborted)).toEqual([false, false, false]);
    expect(leadership.lost.aborted).toBe(false);
    expect((await put('after')).committed).toBe(true);
    expect([...log.state.keys()].sort()).toEqual(
      ['a', 'b', 'c'].map((host) => hostRecords.path({ host })),
    );
    expect(log.events, 'no host was gone for a moment').toEqual([]);

    await killed.restart();
    expect((await put('healed')).committed).toBe(true);
  });
});
