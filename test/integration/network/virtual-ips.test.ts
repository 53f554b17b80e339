import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NetworkManager } from '../../../src/agent/host/network-manager.ts';
import type { NetworkProblem, OverlayInfo } from '../../../src/agent/host/network-options.ts';
import { ServiceFeed } from '../../../src/agent/service-feed.ts';
import { parseElements } from '../../../src/network/nft-elements.ts';
import { MemoryDatabase } from '../../../src/registry/memory/database.ts';
import { MemoryStore } from '../../../src/registry/memory/store.ts';
import {
  endpointRecords,
  serviceRecords,
  virtualRangePath,
  virtualRangeRecords,
  type ServiceRecord,
} from '../../../src/registry/records/index.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/telemetry/log.ts';
import {
  clientCommand,
  seenIn,
  serverCommand,
  type CallOptions,
  type Seen,
} from '../../support/answers.ts';
import { eventually } from '../../support/eventually.ts';
import { TestNetwork, type TestContainer, type TestHost } from '../../support/netns.ts';

interface Member {
  readonly host: TestHost;
  readonly overlay: OverlayInfo;
  readonly containers: readonly TestContainer[];
  manager: NetworkManager;
  problems: NetworkProblem[];
  stop: () => Promise<void>;
}

const database = new MemoryDatabase();
const store = new MemoryStore({ database });
const network = new TestNetwork({ prefix: '10.99.1' });
const servers: ChildProcess[] = [];
let a: Member;
let b: Member;

/** An agent's network parts on a host. */
function manage(host: TestHost): Pick<Member, 'manager' | 'problems' | 'stop'> {
  const own = new MemoryStore({ database });
  const services = new ServiceFeed({ store: own, log: silentLogger, clock: systemClock });
  const problems: NetworkProblem[] = [];
  const manager = new NetworkManager({
    store: own,
    log: silentLogger,
    services,
    exec: host.exec,
    follow: host.follow,
    onProblem: (problem) => problems.push(problem),
  });
  const controller = new AbortController();
  const running = Promise.all([manager.run(controller.signal), services.run(controller.signal)]);
  const stop = async (): Promise<void> => {
    controller.abort();
    await running;
  };
  return { manager, problems, stop };
}

async function join(containers: number): Promise<Member> {
  const host = await network.addHost();
  const parts = manage(host);
  const overlay = await parts.manager.ensure();
  const made: TestContainer[] = [];
  for (let i = 0; i < containers; i++) {
    made.push(await network.addContainer(host, overlay, 2 + i));
  }
  return { host, overlay, containers: made, ...parts };
}

const keyOf = (service: string) => ({ namespace: 'default', project: 'shop', service });

async function putService(service: string, record: Partial<ServiceRecord>): Promise<void> {
  const key = serviceRecords.path(keyOf(service));
  const value = serviceRecords.encode({ uid: 'u', ports: [], links: [], ...record });
  await store.commit([], [{ type: 'put', key, value }]);
}

async function setEndpoint(
  service: string,
  ordinal: number,
  ip: string | undefined,
): Promise<void> {
  const key = endpointRecords.path({ ...keyOf(service), ordinal: String(ordinal) });
  const value = endpointRecords.encode({ host: 'h', ipv4_addr: ip ?? '', ports: [] });
  await store.commit(
    [],
    [ip === undefined ? { type: 'delete', key } : { type: 'put', key, value }],
  );
}

async function tableOf(host: TestHost): Promise<string> {
  return (await host.exec('nft', ['list', 'table', 'ip', 'nap'])).stdout;
}

async function start(container: TestContainer): Promise<void> {
  const [program = '', ...args] = [...container.prefix, ...serverCommand(container.ip)];
  const child = spawn(program, args);
  servers.push(child);
  await once(child.stdout, 'data');
}

/** How many open connections or UDP flows to a virtual IP the first host knows. */
async function flows(protocol: 'tcp' | 'udp', address: string): Promise<number> {
  const list = ['-L', '-p', protocol, '--orig-dst', address];
  const lines = (await a.host.exec('conntrack', list)).stdout.split('\n');
  return lines.filter((line) => line.startsWith('udp') || line.includes('ESTABLISHED')).length;
}

async function callers(
  from: Pick<TestHost, 'exec'>,
  address: string,
  options: CallOptions,
): Promise<readonly Seen[]> {
  const [program = '', ...args] = clientCommand(address, options);
  return seenIn((await from.exec(program, args, { timeoutMs: 30_000 })).stdout);
}

beforeAll(async () => {
  await network.start();
  const value = virtualRangeRecords.encode({ ranges: ['10.78.0.0/16'] });
  await store.commit([], [{ type: 'put', key: virtualRangePath, value }]);
  a = await join(3);
  b = await join(1);
  for (const container of [...a.containers, ...b.containers]) await start(container);
});

afterAll(async () => {
  for (const server of servers) server.kill('SIGKILL');
  await a.stop();
  await b.stop();
  await network.stop();
});

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
    await putService(web, { virtualIP: vip });
    await setEndpoint(web, 1, first(a).ip);
    await setEndpoint(web, 2, first(b).ip);
    await eventually('both hosts lead to it', async () => {
      const from = [a.containers[1]!, first(b)];
      const seen = await Promise.all(from.map((c) => callers(c, vip, { count: 20 })));
      return seen.every((list) => new Set(list.map(({ server }) => server)).size === 2);
    });
  });

  it.each(['tcp', 'udp'] as const)(
    'leads %s to every endpoint, and each sees who calls',
    async (protocol) => {
      for (const client of [a.containers[1]!, a.containers[2]!]) {
        const seen = await callers(client, vip, { count: 40, protocol });
        expect(new Set(seen.map(({ server }) => server))).toEqual(
          new Set([first(a).ip, first(b).ip]),
        );
        expect(new Set(seen.map(({ client: address }) => address))).toEqual(new Set([client.ip]));
      }
    },
  );

  it('leads an instance to itself', async () => {
    const seen = await callers(first(a), vip, { count: 40 });
    const own = seen.filter(({ server }) => server === first(a).ip);
    expect(own.length).toBeGreaterThan(0);
    expect(own.length).toBeLessThan(40);
  });

  it.each(['tcp', 'udp'] as const)('leads the host itself, by %s', async (protocol) => {
    const seen = await callers(a.host, vip, { count: 40, protocol });
    expect(new Set(seen.map(({ server }) => server))).toEqual(new Set([first(a).ip, first(b).ip]));
    for (const { client } of seen) {
      expect(client.startsWith(a.overlay.subnet.replace('0/24', ''))).toBe(true);
    }
  });

  it('does not stand between instances that speak to each other directly', async () => {
    const [seen] = await callers(a.containers[1]!, first(a).ip, { count: 1 });
    expect(seen).toEqual({ server: first(a).ip, client: a.containers[1]!.ip });
  });
});

describe('a virtual IP', () => {
  it('keeps open connections through unrelated changes, and when the endpoint leaves the pool', async () => {
    await putService('db', { virtualIP: '10.78.0.20' });
    await setEndpoint('db', 1, first(b).ip);
    const client = a.containers[1]!;
    await eventually('it is led to', () => callers(client, '10.78.0.20', { count: 1 }));
    const open = callers(client, '10.78.0.20', { count: 1, echoes: 50, pauseMs: 100 });
    await eventually('it is open', async () => (await flows('tcp', '10.78.0.20')) > 0);
    await putService('other', { virtualIP: '10.78.0.21' });
    await setEndpoint('other', 1, first(a).ip);
    await setEndpoint('db', 2, a.containers[2]!.ip);
    await setEndpoint('db', 1, undefined);
    await eventually('new connections go elsewhere', async () => {
      const seen = await callers(client, '10.78.0.20', { count: 10 });
      return seen.every(({ server }) => server === a.containers[2]!.ip);
    });
    expect((await open)[0]?.server).toBe(first(b).ip);
  });

  it('has clients that send UDP without a pause choose anew when their endpoint goes', async () => {
    await putService('log', { virtualIP: '10.78.0.25', ports: [{ port: 53, protocol: 'udp' }] });
    await setEndpoint('log', 1, first(b).ip);
    const client = a.containers[1]!;
    await eventually('it is led to', () =>
      callers(client, '10.78.0.25', { count: 1, protocol: 'udp' }),
    );
    // That of the call just made.
    await a.host.exec('conntrack', ['-D', '-p', 'udp', '--orig-dst', '10.78.0.25']);
    const talking = callers(client, '10.78.0.25', {
      count: 1,
      protocol: 'udp',
      echoes: 40,
      pauseMs: 50,
    });
    await eventually('the flow is there', async () => (await flows('udp', '10.78.0.25')) > 0);
    await setEndpoint('log', 2, a.containers[2]!.ip);
    await setEndpoint('log', 1, undefined);
    const seen = await talking;
    expect(seen.at(0)?.server).toBe(first(b).ip);
    expect(seen.at(-1)?.server).toBe(a.containers[2]!.ip);
  });

  it.each(['instance', 'host'])('without endpoints refuses it to an %s at once', async (who) => {
    await putService('idle', { virtualIP: '10.78.0.30' });
    const client = who === 'host' ? a.host : a.containers[1]!;
    for (const address of ['10.78.0.30', '10.78.99.99']) {
      await eventually('a refusal', () =>
        callers(client, address, { count: 1 }).then(
          () => false,
          (error: unknown) => String(error).includes('ECONNREFUSED'),
        ),
      );
    }
  });

  it('with affinity leads a client to one endpoint, whichever host it is on', async () => {
    await putService('cart', { virtualIP: '10.78.0.40', sessionAffinity: 'clientIP' });
    await setEndpoint('cart', 1, first(a).ip);
    await setEndpoint('cart', 2, first(b).ip);
    await setEndpoint('cart', 3, a.containers[2]!.ip);
    const client = a.containers[1]!;
    await eventually('it is led to', () => callers(client, '10.78.0.40', { count: 1 }));
    const seen = await callers(client, '10.78.0.40', { count: 30 });
    expect(new Set(seen.map(({ server }) => server)).size).toBe(1);
    const chosen = seen[0]!.server;
    // Another endpoint goes: the client stays where it is.
    const all = [first(a).ip, first(b).ip, a.containers[2]!.ip];
    const other = all.findIndex((ip) => ip !== chosen);
    await setEndpoint('cart', other + 1, undefined);
    await eventually('the change has come', async () => {
      const table =
        parseElements(await tableOf(a.host)).get('vip-endpoints') ?? new Map<string, string>();
      return ![...table].some(([key, ip]) => key.startsWith('10.78.0.40 ') && ip === all[other]);
    });
    const after = await callers(client, '10.78.0.40', { count: 30 });
    expect(new Set(after.map(({ server }) => server))).toEqual(new Set([chosen]));
  });

  it('prefers endpoints of the own host where that is asked for', async () => {
    await putService('cache', { virtualIP: '10.78.0.50', trafficPolicy: 'preferLocal' });
    await setEndpoint('cache', 1, first(a).ip);
    await setEndpoint('cache', 2, first(b).ip);
    for (const [member, client] of [
      [a, a.containers[1]!],
      [b, b.host],
    ] as const) {
      await eventually('it is led to', () => callers(client, '10.78.0.50', { count: 1 }));
      await eventually('only to its own', async () => {
        const seen = await callers(client, '10.78.0.50', { count: 20 });
        return seen.every(({ server }) => server === first(member).ip);
      });
    }
  });

  it('is not a way in for strangers on the hosts’ network', async () => {
    const stranger = await network.addHost();
    await stranger.exec('ip', ['route', 'add', '10.78.0.0/16', 'via', a.host.address]);
    await expect(callers(stranger, '10.78.0.20', { count: 1 })).rejects.toThrow('ECONNREFUSED');
  });
});

describe('an agent', () => {
  it('adopts what an earlier one has left, without touching it while the records are the same', async () => {
    const client = a.containers[1]!;
    const before = parseElements(await tableOf(a.host));
    await a.stop();
    // With no agent, all goes on.
    await callers(client, '10.78.0.20', { count: 5 });
    Object.assign(a, manage(a.host));
    await eventually('it is back', () => a.manager.current !== undefined);
    await setEndpoint('other', 2, first(b).ip);
    await eventually('it follows again', async () => {
      const seen = await callers(client, '10.78.0.21', { count: 20 });
      return new Set(seen.map(({ server }) => server)).size === 2;
    });
    await setEndpoint('other', 2, undefined);
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
      await eventually('it leads there again', () => callers(client, '10.78.0.20', { count: 1 }));
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
      await callers(a.containers[1]!, '10.78.0.20', { count: 1 });
    }
    await put('10.78.0.0/16');
    await eventually('all is well', () => a.manager.problems().length === 0);
  });
});
