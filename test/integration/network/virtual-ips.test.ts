import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseElements } from '../../../src/network/nftables/nft-elements.ts';
import { virtualRangePath, virtualRangeRecords } from '../../../src/registry/records/index.ts';
import { eventually } from '../../support/eventually.ts';
import type { TestContainer, TestHost } from '../../support/netns.ts';
import { Members, type Member } from './members.ts';

const members = new Members('10.99.1');
const { store, network } = members;
let a: Member;
let b: Member;

async function tableOf(host: TestHost): Promise<string> {
  return (await host.exec('nft', ['list', 'table', 'ip', 'nap'])).stdout;
}

/** How many open connections to a virtual IP the first host knows. */
async function connections(address: string): Promise<number> {
  const list = ['-L', '-p', 'tcp', '--orig-dst', address];
  const lines = (await a.host.exec('conntrack', list)).stdout.split('\n');
  return lines.filter((line) => line.includes('ESTABLISHED')).length;
}

/** The endpoints of a virtual IP, as the rules of the first host look them up. */
async function endpointsOf(address: string): Promise<readonly string[]> {
  const table =
    parseElements(await tableOf(a.host)).get('vip-endpoints') ?? new Map<string, string>();
  return [...table].filter(([key]) => key.startsWith(`${address} `)).map(([, ip]) => ip);
}

beforeAll(async () => {
  await members.start();
  const value = virtualRangeRecords.encode({ ranges: ['10.78.0.0/16'] });
  await store.commit([], [{ type: 'put', key: virtualRangePath, value }]);
  a = await members.join(3);
  b = await members.join(1);
  for (const container of [...a.containers, ...b.containers]) await members.serve(container);
});

afterAll(() => members.stop());

const first = (member: Member): TestContainer => member.containers[0]!;

describe.each([
  ['bridges keep their frames to themselves', '0'],
  ['br_netfilter is in force', '1'],
])('a virtual IP where %s', (_, filtered) => {
  const vip = `10.78.0.1${filtered}`;
  const web = `web${filtered}`;

  beforeAll(async () => {
    for (const { host, manager } of [a, b]) {
      await host.exec('sysctl', ['-qw', `net/bridge/bridge-nf-call-iptables=${filtered}`]);
      await manager.audit();
    }
    await members.putService(web, { virtualIP: vip });
    await members.setEndpoint(web, 1, first(a).ip);
    await members.setEndpoint(web, 2, first(b).ip);
    await eventually('both hosts lead to it', async () => {
      const from = [a.containers[1]!, first(b)];
      const seen = await Promise.all(from.map((c) => members.call(c, vip, { count: 20 })));
      return seen.every((list) => new Set(list.map(({ server }) => server)).size === 2);
    });
  });

  it.each(['tcp', 'udp'] as const)(
    'leads %s to every endpoint, and each sees who calls',
    async (protocol) => {
      for (const client of [a.containers[1]!, a.containers[2]!]) {
        const seen = await members.call(client, vip, { count: 40, protocol });
        expect(new Set(seen.map(({ server }) => server))).toEqual(
          new Set([first(a).ip, first(b).ip]),
        );
        expect(new Set(seen.map(({ client: address }) => address))).toEqual(new Set([client.ip]));
      }
    },
  );

  it('leads an instance to itself', async () => {
    const seen = await members.call(first(a), vip, { count: 40 });
    const own = seen.filter(({ server }) => server === first(a).ip);
    expect(own.length).toBeGreaterThan(0);
    expect(own.length).toBeLessThan(40);
  });

  it.each(['tcp', 'udp'] as const)('leads the host itself, by %s', async (protocol) => {
    const seen = await members.call(a.host, vip, { count: 40, protocol });
    expect(new Set(seen.map(({ server }) => server))).toEqual(new Set([first(a).ip, first(b).ip]));
    for (const { client } of seen) {
      expect(client.startsWith(a.overlay.subnet.replace('0/24', ''))).toBe(true);
    }
  });

  it('does not stand between instances that speak to each other directly', async () => {
    const [seen] = await members.call(a.containers[1]!, first(a).ip, { count: 1 });
    expect(seen).toEqual({ server: first(a).ip, client: a.containers[1]!.ip });
  });
});

describe('a virtual IP', () => {
  it('keeps open connections through unrelated changes, and when the endpoint leaves the pool', async () => {
    await members.putService('db', { virtualIP: '10.78.0.20' });
    await members.setEndpoint('db', 1, first(b).ip);
    const client = a.containers[1]!;
    await eventually('it is led to', () => members.call(client, '10.78.0.20', { count: 1 }));
    const open = members.call(client, '10.78.0.20', { count: 1, echoes: 50, pauseMs: 100 });
    await eventually('it is open', async () => (await connections('10.78.0.20')) > 0);
    await members.putService('other', { virtualIP: '10.78.0.21' });
    await members.setEndpoint('other', 1, first(a).ip);
    await members.setEndpoint('db', 2, a.containers[2]!.ip);
    await members.setEndpoint('db', 1, undefined);
    await eventually('new connections go elsewhere', async () => {
      const seen = await members.call(client, '10.78.0.20', { count: 10 });
      return seen.every(({ server }) => server === a.containers[2]!.ip);
    });
    expect((await open)[0]?.server).toBe(first(b).ip);
  });

  it('has clients that send UDP without a pause choose anew when their endpoint goes', async () => {
    await members.putService('log', {
      virtualIP: '10.78.0.25',
      ports: [{ port: 53, protocol: 'udp' }],
    });
    await members.setEndpoint('log', 1, first(b).ip);
    const client = a.containers[1]!;
    const { answers, stop } = members.converse(client, '10.78.0.25');
    await eventually('the only one answers', () => answers().at(-1) === first(b).ip);
    await members.setEndpoint('log', 2, a.containers[2]!.ip);
    await members.setEndpoint('log', 1, undefined);
    // It never pauses: as long as its flow is not forgotten, it leads to the one that is gone.
    await eventually('the other one answers', () => answers().at(-1) === a.containers[2]!.ip);
    stop();
  });

  it.each(['instance', 'host'])('without endpoints refuses it to an %s at once', async (who) => {
    await members.putService('idle', { virtualIP: '10.78.0.30' });
    const client = who === 'host' ? a.host : a.containers[1]!;
    for (const address of ['10.78.0.30', '10.78.99.99']) {
      await eventually('a refusal', () =>
        members.call(client, address, { count: 1 }).then(
          () => false,
          (error: unknown) => String(error).includes('ECONNREFUSED'),
        ),
      );
    }
  });

  it('with affinity leads a client to one endpoint, whichever host it is on', async () => {
    await members.putService('cart', { virtualIP: '10.78.0.40', sessionAffinity: 'clientIP' });
    await members.setEndpoint('cart', 1, first(a).ip);
    await members.setEndpoint('cart', 2, first(b).ip);
    await members.setEndpoint('cart', 3, a.containers[2]!.ip);
    const client = a.containers[1]!;
    const all = [first(a).ip, first(b).ip, a.containers[2]!.ip];
    // With two of them, another one may be its own than with all.
    await eventually(
      'all have come',
      async () => new Set(await endpointsOf('10.78.0.40')).size === all.length,
    );
    const seen = await members.call(client, '10.78.0.40', { count: 30 });
    expect(new Set(seen.map(({ server }) => server)).size).toBe(1);
    const chosen = seen[0]!.server;
    // Another endpoint goes: the client stays where it is.
    const other = all.findIndex((ip) => ip !== chosen);
    await members.setEndpoint('cart', other + 1, undefined);
    await eventually(
      'the change has come',
      async () => !(await endpointsOf('10.78.0.40')).includes(all[other]!),
    );
    const after = await members.call(client, '10.78.0.40', { count: 30 });
    expect(new Set(after.map(({ server }) => server))).toEqual(new Set([chosen]));
  });

  it('prefers endpoints of the own host where that is asked for', async () => {
    await members.putService('cache', { virtualIP: '10.78.0.50', trafficPolicy: 'preferLocal' });
    await members.setEndpoint('cache', 1, first(a).ip);
    await members.setEndpoint('cache', 2, first(b).ip);
    for (const [member, client] of [
      [a, a.containers[1]!],
      [b, b.host],
    ] as const) {
      await eventually('it is led to', () => members.call(client, '10.78.0.50', { count: 1 }));
      await eventually('only to its own', async () => {
        const seen = await members.call(client, '10.78.0.50', { count: 20 });
        return seen.every(({ server }) => server === first(member).ip);
      });
    }
  });

  it('is not a way in for strangers on the hosts’ network', async () => {
    const stranger = await network.addHost();
    await stranger.exec('ip', ['route', 'add', '10.78.0.0/16', 'via', a.host.address]);
    await expect(members.call(stranger, '10.78.0.20', { count: 1 })).rejects.toThrow(
      'ECONNREFUSED',
    );
  });
});

describe('an agent', () => {
  it('adopts what an earlier one has left, without touching it while the records are the same', async () => {
    const client = a.containers[1]!;
    const before = parseElements(await tableOf(a.host));
    await a.stop();
    // With no agent, all goes on.
    await members.call(client, '10.78.0.20', { count: 5 });
    Object.assign(a, members.manage(a.host));
    await eventually('it is back', () => a.manager.current !== undefined);
    await members.setEndpoint('other', 2, first(b).ip);
    await eventually('it follows again', async () => {
      const seen = await members.call(client, '10.78.0.21', { count: 20 });
      return new Set(seen.map(({ server }) => server)).size === 2;
    });
    await members.setEndpoint('other', 2, undefined);
    await eventually('all is as before', async () =>
      isDeepStrictEqual(parseElements(await tableOf(a.host)), before),
    );
  });

  const wounds: readonly (readonly [string, readonly string[]])[] = [
    ['all elements flushed', ['nft', 'flush', 'map', 'ip', 'nap', 'vip-endpoints']],
    [
      'one element deleted',
      ['nft', 'delete', 'element', 'ip', 'nap', 'vip-spread', '{ 10.78.0.20 }'],
    ],
    ['a chain that chooses flushed', ['nft', 'flush', 'chain', 'ip', 'nap', 'spread-1']],
    ['a base chain flushed', ['nft', 'flush', 'chain', 'ip', 'nap', 'vip-prerouting']],
    ['the table deleted', ['nft', 'delete', 'table', 'ip', 'nap']],
    ['the route deleted', ['ip', 'route', 'del', '10.78.0.0/16']],
  ];

  it.each(wounds)('sets right %s, and says so', async (_, [program = '', ...args]) => {
    await a.manager.audit();
    a.problems.length = 0;
    await a.host.exec(program, args);
    a.manager.requestAudit();
    for (const client of [a.containers[1]!, a.host]) {
      await eventually('it leads there again', () =>
        members.call(client, '10.78.0.20', { count: 1 }),
      );
    }
    await eventually('it is told', () => a.problems.some(({ state }) => state === 'repaired'));
  });

  it('refuses a range that would take something away from the host', async () => {
    const put = (range: string) =>
      store.commit(
        [],
        [
          {
            type: 'put',
            key: virtualRangePath,
            value: virtualRangeRecords.encode({ ranges: [range] }),
          },
        ],
      );
    for (const range of ['10.77.0.0/16', '10.99.1.0/24', '0.0.0.0/0', 'x']) {
      await put(range);
      await eventually('the problem is told', () =>
        a.manager.problems().some((problem) => problem.includes(range)),
      );
      await members.call(a.containers[1]!, '10.78.0.20', { count: 1 });
    }
    await put('10.78.0.0/16');
    await eventually('all is well', () => a.manager.problems().length === 0);
  });
});
