import { describe, expect, it } from 'vitest';
import { findCondition } from '../../../src/kube/conditions.ts';
import { hosts } from '../../../src/kube/resources.ts';
import { decide } from '../../../src/registry/decide.ts';
import { NotLeaderError } from '../../../src/registry/leadership.ts';
import {
  candidateRecords,
  hostRecords,
  leaderPath,
  placementRecords,
  serviceRecords,
} from '../../../src/registry/records/index.ts';
import type { Operation } from '../../../src/registry/store.ts';
import { KubeConfig } from '../../../src/kube/config.ts';
import { eventually } from '../../support/eventually.ts';
import { TcpProxy } from '../../support/tcp-proxy.ts';
import { cluster, type Cluster } from './harness.ts';

const web = (replicas: number, more: object = {}) => ({
  services: { web: { image: 'web:1', replicas, ...more } },
});

/** Lets the operator's first TTL pass, after which a loss counts at once. */
async function settled(c: Cluster): Promise<void> {
  const operator = c.operator();
  await eventually('it decides', () => operator.state.deciding);
  const since = performance.now();
  await eventually('a TTL has passed', () => performance.now() - since > 350);
}

async function moved(c: Cluster, from: string): Promise<void> {
  await eventually(`nothing is left on ${from}`, async () =>
    (await c.placements()).every((p) => p.host !== from),
  );
}

/** Waits until a second operator could lead as well as the one that does. */
async function twoAreFit(c: Cluster): Promise<void> {
  await eventually('the second is ready to lead', async () => {
    const { entries } = await c.store.list(candidateRecords.prefix);
    return entries.filter(({ value }) => candidateRecords.decode(value).fit).length === 2;
  });
}

const isPlacement = (operation: Operation): boolean =>
  operation.type === 'put' && operation.key.startsWith(placementRecords.prefix);

describe('a lost host', () => {
  it('is left at once, and only by what was on it', async () => {
    const c = await cluster();
    const [a] = await c.agents('a', 'b', 'c');
    await settled(c);
    await c.apply('shop', web(6));
    await c.ready('shop');
    const before = await c.placements();
    await a!.cut();
    // By the loss itself: the next look at everything is a minute away.
    await moved(c, 'a');
    const after = await c.placements();
    expect(after.map((p) => p.ordinal)).toEqual([1, 2, 3, 4, 5, 6]);
    const stayed = before.filter((p) => p.host !== 'a');
    for (const p of stayed) expect(after).toContainEqual(p);
    await c.ready('shop');
    await c.told({ kind: 'Host', name: 'a', reason: 'Lost' });
    await c.told({ kind: 'Project', reason: 'Moved' });
    await eventually(
      'its state says so',
      async () => (await c.host('a'))?.status?.state === 'Lost',
    );
  });

  it('that returns stops what is no longer its own, and takes new instances', async () => {
    const c = await cluster();
    const [a] = await c.agents('a', 'b', 'c');
    await settled(c);
    await c.apply('shop', web(3));
    await c.ready('shop');
    await a!.cut();
    await moved(c, 'a');
    expect(a!.running).toHaveLength(1);
    const placed = await c.placements();
    await a!.start();
    await eventually('a has stopped it', () => a!.running.length === 0);
    expect(await c.placements()).toEqual(placed);
    await eventually('it is ready', async () => (await c.host('a'))?.status?.state === 'Ready');
    await c.scale('shop-web', 4);
    await eventually('a gets the new one', async () =>
      (await c.placements()).some((p) => p.host === 'a' && p.ordinal === 4),
    );
    await c.ready('shop');
  });

  it('is forgotten when its object is deleted; that of a live one comes back', async () => {
    const c = await cluster();
    const [a] = await c.agents('a', 'b', 'c');
    await settled(c);
    await eventually('all are known', async () => (await c.client.list(hosts)).items.length === 3);
    await c.client.delete(hosts, { name: 'b' });
    await eventually('b is back', async () => (await c.host('b'))?.status?.state === 'Ready');
    await a!.die();
    await eventually('a is lost', async () => (await c.host('a'))?.status?.state === 'Lost');
    await c.client.delete(hosts, { name: 'a' });
    await c.apply('shop', web(4));
    await c.ready('shop');
    expect(await c.host('a')).toBeUndefined();
  });

  it('is no lost host while its agent has announced its absence', async () => {
    const c = await cluster();
    const [a] = await c.agents('a', 'b');
    await settled(c);
    await c.apply('shop', web(2));
    await c.ready('shop');
    const before = await c.placements();
    await a!.leaveFor(60_000);
    await eventually(
      'it is known',
      async () =>
        findCondition((await c.host('a'))?.status?.conditions, 'Ready')?.reason ===
        'PlannedAbsence',
    );
    const since = performance.now();
    await eventually('long after the TTL', () => performance.now() - since > 600);
    expect(await c.placements()).toEqual(before);
    await a!.start();
    await c.ready('shop');
    expect(a!.started).toHaveLength(1);
  });

  it('keeps its instances in the books until there is room elsewhere', async () => {
    const c = await cluster();
    const [a] = await c.agents('a', 'b');
    await settled(c);
    await c.apply('shop', web(2, { ports: ['8080:80'] }));
    await c.ready('shop');
    await a!.cut();
    const project = await eventually('it says so', async () => {
      const p = await c.project('shop');
      return findCondition(p?.status?.conditions, 'Scheduled')?.status === 'False' ? p : undefined;
    });
    expect(findCondition(project.status?.conditions, 'Scheduled')?.message).toContain(
      '1 of 2 pending: 0/2 hosts fit',
    );
    expect((await c.placements()).some((p) => p.host === 'a')).toBe(true);
    await a!.start();
    await c.ready('shop');
    expect(a!.started).toHaveLength(1);
  });
});

describe('many hosts lost at once', () => {
  it('are left one instance at a time, and the reason is shown', async () => {
    const c = await cluster();
    const [a, b] = await c.agents('a', 'b', 'c');
    const operator = c.operator({ brakedMovesPerSecond: 0.2, massWindowMs: 60_000 });
    await eventually('it decides', () => operator.state.deciding);
    await c.apply('shop', web(12));
    await c.ready('shop');
    const since = performance.now();
    await eventually('a TTL has passed', () => performance.now() - since > 350);
    // In one transaction, so that nobody sees one before the other.
    await c.store.commit(
      [],
      ['a', 'b'].map((host) => ({ type: 'delete', key: hostRecords.path({ host }) })),
    );
    const held = await eventually('it says so', async () => {
      const condition = findCondition((await c.project('shop'))?.status?.conditions, 'Scheduled');
      return condition?.message.includes('2 of 3 hosts vanished at once') ? condition : undefined;
    });
    expect(held.message).toContain('moving 0.2 instance per second');
    const left = async () => (await c.placements()).filter((p) => p.host !== 'c').length;
    await eventually('the first has left', async () => (await left()) < 8);
    // Another every 5 s.
    expect(await left()).toBeGreaterThan(4);
    // They come back, and nothing more is moved.
    for (const agent of [a!, b!]) {
      await c.store.commit(
        [],
        [
          {
            type: 'put',
            key: hostRecords.path({ host: agent.host }),
            value: hostRecords.encode(agent.record),
          },
        ],
      );
    }
    await c.ready('shop');
    expect(a!.started.length + b!.started.length).toBe(8);
  });
});

describe('an outage of the registry', () => {
  it('gives every host a full TTL after it, and moves nothing', async () => {
    const c = await cluster();
    const agents = await c.agents('a', 'b', 'c');
    const operator = c.operator({ hostTtlMs: 3_000, claimTtlMs: 2_000 });
    await eventually('it decides', () => operator.state.deciding);
    await c.apply('shop', web(6));
    await c.ready('shop');
    const before = await c.placements();
    operator.store.disconnect();
    await Promise.all(agents.map((agent) => agent.cut()));
    await eventually('its claim is lost', () => !operator.state.deciding);
    operator.store.reconnect();
    await eventually('it decides again', () => operator.state.deciding);
    // One is late, and there is room elsewhere for what it has.
    const [late, ...others] = agents;
    await Promise.all(others.map((agent) => agent.start()));
    const since = performance.now();
    await eventually('it has had time to move that', () => performance.now() - since > 500);
    expect(await c.placements()).toEqual(before);
    await late!.start();
    await c.ready('shop');
    expect(await c.placements()).toEqual(before);
    for (const agent of agents) expect(agent.started).toHaveLength(2);
  });

  it('an answer that is lost on the way makes no duplicates', async () => {
    const c = await cluster();
    await c.agents('a', 'b', 'c');
    const operator = c.operator();
    await eventually('it decides', () => operator.state.deciding);
    // That of a decision: the operator writes other things, too, and all the time.
    let lost = false;
    operator.store.beforeCommit = (_conditions, operations) => {
      if (lost || !operations.some(isPlacement)) return;
      lost = true;
      operator.store.loseAnswers(1);
    };
    await c.apply('shop', web(6));
    await c.ordinals('web', [1, 2, 3, 4, 5, 6]);
    await c.ready('shop');
    await c.ordinals('web', [1, 2, 3, 4, 5, 6]);
    expect(lost).toBe(true);
  });
});

describe('several operators', () => {
  it('one killed in the middle of a scale-up is followed by another that finishes it', async () => {
    const c = await cluster();
    const agents = await c.agents('a', 'b', 'c');
    const first = c.operator({ claimTtlMs: 5_000 });
    await eventually('the first decides', () => first.state.deciding);
    const second = c.operator();
    await c.apply('shop', web(150));
    await c.ready('shop');
    await twoAreFit(c);
    // A scale-up is several transactions: with the second of them it dies.
    let decisions = 0;
    let placedAtDeath = 0;
    first.store.beforeCommit = async (_conditions, operations) => {
      if (!operations.some(isPlacement) || ++decisions !== 2) return;
      placedAtDeath = (await c.placements()).length;
      first.kill();
    };
    await c.scale('shop-web', 600);
    const expected = Array.from({ length: 600 }, (_, i) => i + 1);
    await c.ordinals('web', expected);
    expect(placedAtDeath).toBeGreaterThan(150);
    expect(placedAtDeath).toBeLessThan(600);
    await eventually('the second decides', () => second.state.deciding);
    await c.ready('shop');
    const started = agents.flatMap((agent) => agent.started);
    expect(new Set(started).size).toBe(600);
    expect(agents.flatMap((agent) => agent.stopped)).toEqual([]);
  });

  it('the leader and a host that die together: the next one finds the host at once', async () => {
    const c = await cluster();
    const [a] = await c.agents('a', 'b', 'c');
    const hostTtlMs = 4_000;
    const first = c.operator({ hostTtlMs, claimTtlMs: 2_000 });
    await eventually('the first decides', () => first.state.deciding);
    const second = c.operator({ hostTtlMs });
    await c.apply('shop', web(6));
    await c.ready('shop');
    await twoAreFit(c);
    const since = performance.now();
    await eventually('it has watched for a TTL', () => performance.now() - since > hostTtlMs + 200);
    first.kill();
    await a!.die();
    await eventually('the second decides', () => second.state.deciding);
    const decidingAt = performance.now();
    await moved(c, 'a');
    // Not after another TTL of its own.
    expect(performance.now() - decidingAt).toBeLessThan(hostTtlMs - 500);
    await c.ready('shop');
    await c.ordinals('web', [1, 2, 3, 4, 5, 6]);
    await c.told({ kind: 'Host', name: 'a', reason: 'Lost' });
  });

  it('only the leader tells of what happens', async () => {
    const c = await cluster();
    const [a, b] = await c.agents('a', 'b');
    const first = c.operator();
    await eventually('the first decides', () => first.state.deciding);
    c.operator();
    await twoAreFit(c);
    await c.apply('shop', web(2));
    await c.ready('shop');
    const since = performance.now();
    await eventually('a TTL has passed', () => performance.now() - since > 500);
    // Each operator sees it, the one that waits too.
    await b!.behave(() => ({ restarts: 1 }));
    await c.told({ reason: 'Restarted' });
    await a!.cut();
    await moved(c, 'a');
    await c.ready('shop');
    await c.told({ kind: 'Host', name: 'a', reason: 'Lost' });
    const toldOf = (what: string) => c.events.filter(({ reason }) => reason === what);
    expect([toldOf('Restarted').length, toldOf('Lost').length]).toEqual([1, 1]);
  });

  it('one that the API server does not answer yields to one that it answers, and not to nobody', async () => {
    const c = await cluster();
    const [a] = await c.agents('a', 'b', 'c');
    const way = await TcpProxy.start('127.0.0.1', c.kube.port);
    const config = KubeConfig.fromString(c.kube.kubeconfig(way.port), { insecureLoopback: true });
    const first = c.operator({ apiPatienceMs: 300 }, config);
    await eventually('the first decides', () => first.state.deciding);
    await c.apply('shop', web(3));
    await c.ready('shop');
    const settledAt = performance.now();
    await eventually('a TTL has passed', () => performance.now() - settledAt > 500);
    await way.close();
    await a!.cut();
    // By what it knows.
    await moved(c, 'a');
    const second = c.operator();
    await eventually('the second decides', () => second.state.deciding);
    await eventually('the first does not lead', () => !first.state.leading);
    await c.scale('shop-web', 4);
    await c.ordinals('web', [1, 2, 3, 4]);
    await c.ready('shop');
  });

  it('a former leader is refused whatever it still tries to write', async () => {
    const c = await cluster();
    await c.agents('a');
    const operator = c.operator();
    await eventually('it decides', () => operator.state.deciding);
    const epoch = (await c.store.get(leaderPath))!.modRevision;
    await operator.stop();
    const next = c.operator();
    await eventually('the next one decides', () => next.state.deciding);
    await expect(
      decide(c.store, epoch, [], [{ type: 'put', key: '/nap/v1/placements/x', value: '' }]),
    ).rejects.toBeInstanceOf(NotLeaderError);
  });

  it('whose claim somebody takes over stops deciding at once', async () => {
    const c = await cluster();
    await c.agents('a');
    const operator = c.operator();
    await eventually('it decides', () => operator.state.deciding);
    const before = (await c.store.get(leaderPath))!;
    await c.store.commit([], [{ type: 'put', key: leaderPath, value: before.value }]);
    await eventually('it has begun a new term', async () => {
      const now = await c.store.get(leaderPath);
      return operator.state.deciding && now?.lease !== undefined && now.lease !== before.lease;
    });
    await c.apply('shop', web(1));
    await c.ready('shop');
  });
});

describe('records written by hand', () => {
  it('that are broken disturb nothing, and are put right without a restart', async () => {
    const c = await cluster();
    const [a] = await c.agents('a');
    c.operator();
    await c.apply('shop', web(2));
    await c.ready('shop');
    const before = await c.placements();
    const key = { host: 'a', namespace: 'default', project: 'shop', service: 'web', ordinal: '1' };
    await c.store.commit(
      [],
      [
        { type: 'put', key: placementRecords.path(key), value: '{"id": 7' },
        { type: 'put', key: `${placementRecords.prefix}nonsense`, value: 'x' },
        { type: 'put', key: `${hostRecords.prefix}b`, value: '[]' },
        { type: 'put', key: serviceRecords.path(key), value: 'nobody can read this' },
      ],
    );
    await eventually('the placement is readable', async () => {
      const entry = await c.store.get(placementRecords.path(key));
      return placementRecords.decode(entry!.value).id === before[0]!.record.id;
    });
    await eventually('the service record is readable', async () => {
      const entry = await c.store.get(serviceRecords.path(key));
      return entry !== undefined && serviceRecords.decode(entry.value).uid !== '';
    });
    expect(a!.started).toHaveLength(2);
    await c.told({ reason: 'RecordRepaired' });
    await c.apply('shop', web(3));
    await c.ordinals('web', [1, 2, 3]);
  });

  it('for a service that does not exist go, and those of one that does stay', async () => {
    const c = await cluster();
    await c.agents('a');
    c.operator();
    await c.apply('shop', web(1));
    await c.ready('shop');
    const [real] = await c.placements();
    const stray = (service: string, ordinal: string) =>
      placementRecords.path({
        host: 'a',
        namespace: 'default',
        project: 'shop',
        service,
        ordinal,
      });
    const value = placementRecords.encode({ ...real!.record, id: 'stray-by-hand' });
    await c.store.commit(
      [],
      [
        { type: 'put', key: stray('ghost', '1'), value },
        { type: 'put', key: stray('web', '07'), value },
        { type: 'put', key: stray('web', 'x'), value },
      ],
    );
    await eventually(
      'the strays are gone',
      async () => (await c.store.list(placementRecords.prefix)).entries.length === 1,
    );
    expect(await c.placements()).toEqual([real]);
  });

  it('of a service stay while the API server does not say that it is gone', async () => {
    const c = await cluster();
    await c.agents('a');
    const first = c.operator();
    await c.apply('shop', web(2));
    await c.ready('shop');
    await first.stop();
    const before = await c.placements();
    // The list forgets the Service; asking for it by name fails.
    let asked = 0;
    c.kube.fault((request, response) => {
      const isList = request.path.endsWith('/services') && !request.query.has('watch');
      if (!isList || request.method !== 'GET') return false;
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ items: [], metadata: { resourceVersion: '1000000' } }));
      return true;
    }, 1);
    c.kube.fault((request, response) => {
      if (!request.path.endsWith('/services/shop-web') || request.method !== 'GET') return false;
      asked++;
      response.writeHead(500).end();
      return true;
    }, 1_000);
    c.operator();
    await eventually('it asked', () => asked > 0);
    const since = performance.now();
    await eventually('a while later', () => performance.now() - since > 300);
    expect(await c.placements()).toEqual(before);
  });
});

describe('what does not fit', () => {
  it('says why, and is placed at once when a host joins', async () => {
    const c = await cluster();
    await c.agents('a');
    c.operator();
    await c.apply('shop', web(1, { placement: { machineMetadata: { disk: 'ssd' } } }));
    const project = await eventually('it says so', async () => {
      const p = await c.project('shop');
      return findCondition(p?.status?.conditions, 'Scheduled')?.status === 'False' ? p : undefined;
    });
    expect(project.status?.state).toBe('Pending');
    expect(findCondition(project.status?.conditions, 'Scheduled')?.message).toBe(
      'web: 1 of 1 pending: 0/1 hosts fit: 1 lacks label disk=ssd',
    );
    await c.agent('b', { metadata: { disk: 'ssd' } });
    await c.ready('shop');
    expect((await c.placements())[0]?.host).toBe('b');
  });

  it('is placed when the label is put on the Host object, and a cordon is respected', async () => {
    const c = await cluster();
    await c.agents('a', 'b');
    c.operator();
    await eventually(
      'hosts are known',
      async () => (await c.client.list(hosts)).items.length === 2,
    );
    await c.client.patch(
      hosts,
      { name: 'b' },
      { type: 'merge', body: { spec: { unschedulable: true } } },
    );
    await eventually(
      'b is cordoned',
      async () => (await c.host('b'))?.status?.state === 'Cordoned',
    );
    await c.apply('shop', web(3, { placement: { machineMetadata: { disk: 'ssd' } } }));
    await eventually(
      'it says so',
      async () => (await c.project('shop'))?.status?.state === 'Pending',
    );
    await c.client.patch(
      hosts,
      { name: 'a' },
      { type: 'merge', body: { metadata: { labels: { disk: 'ssd' } } } },
    );
    await c.ready('shop');
    expect((await c.placements()).map((p) => p.host)).toEqual(['a', 'a', 'a']);
  });

  it('of 1,000 replicas leaves the rest pending in a status of bounded size, at rest', async () => {
    const c = await cluster();
    for (const host of ['a', 'b', 'c']) await c.agent(host, { cpuMillis: 1_000 });
    c.operator();
    await c.apply('shop', web(1_000, { resources: { reservations: { cpus: '0.1' } } }));
    const service = await eventually(
      'it says so',
      async () => {
        const s = await c.service('shop-web');
        return s?.status?.readyReplicas === 30 ? s : undefined;
      },
      60_000,
    );
    expect(findCondition(service.status?.conditions, 'Scheduled')?.message).toMatch(
      /^970 of 1000 pending: 0\/3 hosts fit: 3 .*0\.1.*cpu/,
    );
    expect(JSON.stringify(service).length).toBeLessThan(1_000_000);
    expect(service.status?.instances).toHaveLength(500);
    expect(service.status?.instances?.filter((i) => i.ready)).toHaveLength(30);
    const quiet = async (): Promise<boolean> => {
      const before = c.kube.requests.length;
      const revision = c.database.revision;
      const since = performance.now();
      await eventually('a while later', () => performance.now() - since > 500);
      const asked = c.kube.requests.slice(before).filter((r) => !r.path.includes('/leases/'));
      return asked.length === 0 && c.database.revision === revision;
    };
    await eventually('it rests', quiet, 30_000);
    await c.scale('shop-web', 30);
    await c.ready('shop');
  });

  it('of more replicas than one pass tries finds hosts for all of them', async () => {
    const c = await cluster();
    // A host that says nothing of them: four thousand reports would be most of the work here.
    await c.agent('a', { behave: () => undefined });
    c.operator();
    await c.apply('shop', web(4_100));
    await eventually(
      'all are placed',
      async () => (await c.store.list(placementRecords.prefix)).entries.length === 4_100,
      90_000,
      200,
    );
  });
});
