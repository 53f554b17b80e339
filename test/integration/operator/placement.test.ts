import { describe, expect, it } from 'vitest';
import { findCondition } from '../../../src/kube/conditions.ts';
import { hosts } from '../../../src/kube/resources.ts';
import { eventually } from '../../support/eventually.ts';
import { cluster, type Cluster } from './harness.ts';

async function hostsOf(c: Cluster, service: string): Promise<string[]> {
  return (await c.placements(service)).map((p) => p.host);
}

async function patchHost(c: Cluster, name: string, body: Record<string, unknown>): Promise<void> {
  await c.client.patch(hosts, { name }, { type: 'merge', body });
}

function drained(c: Cluster, name: string) {
  return async () => {
    const condition = findCondition((await c.host(name))?.status?.conditions, 'Drained');
    return condition?.status === 'True' ? condition : undefined;
  };
}

describe('placement', () => {
  it('keeps services that conflict apart, whichever says so, also across projects', async () => {
    const c = await cluster();
    await c.agents('a', 'b', 'c');
    c.operator();
    await c.apply('shop', {
      services: { db: { image: 'db', placement: { conflicts: ['db', 'web', 'ba*/*'] } } },
    });
    await c.ready('shop');
    const [db] = await hostsOf(c, 'db');
    await c.apply('back', { services: { job: { image: 'job', replicas: 4 } } });
    await c.ready('back');
    expect(await hostsOf(c, 'job')).not.toContain(db);
    await c.apply('shop', {
      services: {
        db: { image: 'db', placement: { conflicts: ['db', 'web', 'ba*/*'] } },
        web: { image: 'web', replicas: 3 },
      },
    });
    await c.ready('shop');
    expect(await hostsOf(c, 'web')).not.toContain(db);
  });

  it('an instance that gets a volume and other hosts in one change leaves its host', async () => {
    const c = await cluster();
    await c.agent('a', { metadata: { disk: 'ssd' } });
    await c.agent('b', { metadata: { disk: 'hdd' } });
    c.operator({ updateMonitorMs: 50 });
    const on = (disk: string, parts: object) => ({
      services: { db: { image: 'db', placement: { machineMetadata: { disk } }, ...parts } },
    });
    await c.apply('shop', on('ssd', {}));
    await c.ready('shop');
    expect(await hostsOf(c, 'db')).toEqual(['a']);
    await c.apply('shop', on('hdd', { volumes: ['data:/data'] }));
    await eventually('it is where it has to be', async () => {
      const at = await hostsOf(c, 'db');
      return at.length === 1 && at[0] === 'b';
    });
    await c.ready('shop');
  });

  it('follows another service to its host, when both come and when that one moves', async () => {
    const c = await cluster();
    await c.agent('a', { metadata: { disk: 'ssd' } });
    await c.agent('b', { metadata: { disk: 'hdd' } });
    c.operator({ updateMonitorMs: 50 });
    const project = (disk: string) => ({
      services: {
        agent: { image: 'agent', placement: { machineOf: 'db' } },
        db: { image: 'db', placement: { machineMetadata: { disk } } },
      },
    });
    await c.apply('shop', project('ssd'));
    await c.ready('shop');
    expect(await hostsOf(c, 'agent')).toEqual(['a']);
    await c.apply('shop', project('hdd'));
    await eventually('both are on b', async () => {
      const both = [...(await hostsOf(c, 'db')), ...(await hostsOf(c, 'agent'))];
      return both.length === 2 && both.every((host) => host === 'b');
    });
    await c.ready('shop');
  });

  it('runs a global service on every matching host, as hosts come and go', async () => {
    const c = await cluster();
    const a = await c.agent('a', { metadata: { role: 'edge' } });
    await c.agent('b');
    c.operator({ hostTtlMs: 300 });
    await c.apply('infra', {
      services: {
        logs: {
          image: 'logs',
          placement: { global: true, machineMetadata: { role: 'edge' } },
          environment: { HOST: '%H', NUMBER: '%i', SHARE: '100%%' },
        },
      },
    });
    await c.ready('infra');
    expect(await hostsOf(c, 'logs')).toEqual(['a']);
    await c.agent('c', { metadata: { role: 'edge' } });
    await c.ordinals('logs', [1, 2]);
    const environments = (await c.placements('logs')).map((p) => p.record.container.environment);
    expect(environments).toEqual([
      { HOST: 'a', NUMBER: '1', SHARE: '100%' },
      { HOST: 'c', NUMBER: '2', SHARE: '100%' },
    ]);
    await patchHost(c, 'b', { metadata: { labels: { role: 'edge' } } });
    await c.ordinals('logs', [1, 2, 3]);
    await patchHost(c, 'b', { metadata: { labels: { role: 'core' } } });
    await c.ordinals('logs', [1, 2]);
    await c.ready('infra');
    const before = (await c.placements('logs'))[0]!.record.id;
    await a.die();
    await eventually('a is lost', async () => (await c.host('a'))?.status?.state === 'Lost');
    // It waits for its host, and the others are all that counts.
    expect((await c.placements('logs')).map((p) => p.record.id)).toContain(before);
    await c.ready('infra');
  });

  it('spreads over a label, and puts at most so many on a host', async () => {
    const c = await cluster();
    await c.agent('a', { metadata: { zone: 'x' } });
    await c.agent('b', { metadata: { zone: 'x' } });
    await c.agent('c', { metadata: { zone: 'x' } });
    await c.agent('d', { metadata: { zone: 'y' } });
    c.operator();
    await c.apply('shop', {
      services: {
        web: { image: 'web', replicas: 4, placement: { preferences: [{ spread: 'zone' }] } },
        job: { image: 'job', replicas: 5, placement: { maxPerHost: 1 } },
      },
    });
    await c.ordinals('web', [1, 2, 3, 4]);
    expect((await hostsOf(c, 'web')).filter((host) => host === 'd')).toHaveLength(2);
    await c.ordinals('job', [1, 2, 3, 4]);
    await eventually('the fifth says why', async () => {
      const service = await c.service('shop-job');
      return findCondition(service?.status?.conditions, 'Scheduled')?.message.includes(
        '4 have 1 of it already (maxPerHost)',
      );
    });
  });

  it('takes an instance back to its volume, waits for it, and moves when the host is lost', async () => {
    const c = await cluster();
    const agents = await c.agents('a', 'b', 'c');
    const operator = c.operator({ hostTtlMs: 300 });
    await c.apply('shop', {
      services: { db: { image: 'db', replicas: 3, volumes: ['data-%i:/data'] } },
    });
    await c.ready('shop');
    const before = await c.placements('db');
    expect(before.map((p) => p.record.container.mounts)).toMatchObject(
      [1, 2, 3].map((n) => [{ name: `default_shop_data-${String(n)}` }]),
    );
    await c.scale('shop-db', 0);
    await c.ordinals('db', []);
    await patchHost(c, before[2]!.host, { spec: { unschedulable: true } });
    await c.scale('shop-db', 3);
    await c.ordinals('db', [1, 2]);
    expect(await hostsOf(c, 'db')).toEqual(before.slice(0, 2).map((p) => p.host));
    await eventually('it says what it waits for', async () => {
      const service = await c.service('shop-db');
      return findCondition(service?.status?.conditions, 'Scheduled')?.message.includes(
        `2 do not have its volume (${before[2]!.host} does), 1 is cordoned`,
      );
    });
    await patchHost(c, before[2]!.host, { spec: { unschedulable: false } });
    await c.ready('shop');
    expect(await hostsOf(c, 'db')).toEqual(before.map((p) => p.host));
    // Another operator knows as much.
    await operator.stop();
    c.operator({ hostTtlMs: 300 });
    await agents.find(({ host }) => host === before[0]!.host)!.die();
    await eventually(
      'the lost one has moved',
      async () => (await hostsOf(c, 'db'))[0] !== before[0]!.host,
    );
    await c.told({ reason: 'DataLeftBehind' });
  });

  it('drains a host start-first, and says what cannot move', async () => {
    const c = await cluster();
    await c.agents('a', 'b');
    c.operator({ updateMonitorMs: 50 });
    await c.apply('shop', { services: { web: { image: 'web', replicas: 4 } } });
    await c.ready('shop');
    await patchHost(c, 'a', { spec: { drain: {} } });
    await eventually('a is drained', drained(c, 'a'));
    expect(await hostsOf(c, 'web')).toEqual(['b', 'b', 'b', 'b']);
    expect((await c.host('a'))?.status?.state).toBe('Drained');
    await c.ready('shop');
    await patchHost(c, 'a', { spec: { drain: null } });
    await patchHost(c, 'b', { spec: { unschedulable: true } });
    await c.apply('data', {
      services: { db: { image: 'db', volumes: ['data:/data'] }, w: { image: 'w' } },
    });
    await c.ready('data');
    await patchHost(c, 'b', { spec: { unschedulable: false } });
    await patchHost(c, 'a', { spec: { drain: {} } });
    await eventually('a says what keeps it', async () => {
      const host = await c.host('a');
      const condition = findCondition(host?.status?.conditions, 'Drained');
      return (
        condition?.status === 'False' &&
        condition.reason === 'Blocked' &&
        condition.message.includes('default/data-db-1: its volume data is there')
      );
    });
    await c.told({ kind: 'Host', reason: 'CannotDrain' });
    expect(await hostsOf(c, 'db')).toEqual(['a']);
    // It serves as before.
    await c.ready('data');
  });

  it('moves instances to a host that joins, one at a time and started there first, if the project says so', async () => {
    const c = await cluster();
    await c.agents('a', 'b');
    c.operator({ updateMonitorMs: 50, rebalanceEveryMs: 200 });
    const services = {
      web: { image: 'web', replicas: 6 },
      db: { image: 'db', replicas: 2, volumes: ['data:/data'] },
    };
    await c.apply('shop', { services });
    await c.ready('shop');
    const joined = await c.agent('c');
    const proposed = await eventually('it says what would move', async () => {
      const project = await c.project('shop');
      return project?.status?.rebalance?.length === 2 ? project.status.rebalance : undefined;
    });
    expect(proposed[0]).toMatch(/^shop-web-[56] from [ab] to c: [ab] has 3 of the service, c 0$/);
    expect(joined.running).toEqual([]);
    const data = await hostsOf(c, 'db');
    await c.apply('shop', { services, rebalance: 'on' });
    await eventually(
      'web is spread evenly',
      async () => (await hostsOf(c, 'web')).toSorted().join() === 'a,a,b,b,c,c',
    );
    expect(await hostsOf(c, 'db')).toEqual(data);
    await eventually(
      'nothing is left to move',
      async () => (await c.project('shop'))?.status?.rebalance === undefined,
    );
    await c.ready('shop');
    const rebalanced = () =>
      c.events.filter((e) => e.reason === 'Rebalanced' && e.kind === 'Service').length;
    await eventually('both moves are told of', () => rebalanced() >= 2);
    expect(rebalanced()).toBe(2);
  });

  it('takes an emptied host out of the cluster when its Host is deleted, until its agent starts anew', async () => {
    const c = await cluster();
    const [a] = await c.agents('a', 'b');
    const operator = c.operator();
    await c.apply('shop', { services: { web: { image: 'web', replicas: 2 } } });
    await c.ready('shop');
    await patchHost(c, 'a', { spec: { drain: { deadline: '1m' } } });
    await eventually('a is drained', drained(c, 'a'));
    await c.client.delete(hosts, { name: 'a' });
    await eventually('a is gone', async () => (await c.host('a')) === undefined);
    await c.scale('shop-web', 4);
    await c.ordinals('web', [1, 2, 3, 4]);
    // Another operator knows it too.
    await operator.stop();
    c.operator();
    await c.scale('shop-web', 5);
    await c.ordinals('web', [1, 2, 3, 4, 5]);
    expect(new Set(await hostsOf(c, 'web'))).toEqual(new Set(['b']));
    expect(await c.host('a')).toBeUndefined();
    await a!.die();
    await c.agent('a');
    await eventually('a is back', async () => (await c.host('a'))?.status?.state === 'Ready');
  });
});
