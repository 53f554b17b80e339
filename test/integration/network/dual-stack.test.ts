import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  networkConfigPath,
  virtualRangePath,
  virtualRangeRecords,
} from '../../../src/registry/records/index.ts';
import { eventually } from '../../support/eventually.ts';
import type { TestContainer, TestHost } from '../../support/netns.ts';
import { Members, type Member } from './members.ts';

const dual = { EnableIPv6: true, IPv6Network: 'fd00:77::/64' };
const members = new Members('10.99.9', true);
let a: Member;
let b: Member;
let outside: TestHost;
/** By whose they are: on hosts a and b. */
const at = {} as Record<'web' | 'db' | 'blog' | 'webThere' | 'blogThere', TestContainer>;
const servers: ChildProcess[] = [];
const port = 7790;
/** Of a host on the shared network. */
const outsideOf = (host: TestHost): string => `fd99::${host.address.split('.').at(-1) ?? ''}`;

type Place = Pick<TestHost, 'exec'>;
type Protocol = 'tcp' | 'udp' | 'icmp';
const protocols = ['tcp', 'udp', 'icmp'] as const;

async function putConfig(options: Record<string, unknown>): Promise<void> {
  const value = JSON.stringify({
    Network: '10.77.0.0/16',
    ...options,
    Backend: { Type: 'vxlan' },
  });
  await members.store.commit([], [{ type: 'put', key: networkConfigPath, value }]);
}

/** Says to whoever asks, by TCP and UDP, under which address it sees him. */
const server = `
require('net').createServer((s) => { s.on('error', () => undefined); s.on('data', () => s.write(s.remoteAddress)); })
  .listen({ port: ${port}, host: '::', ipv6Only: true }, () => {
    const u = require('dgram').createSocket({ type: 'udp6', ipv6Only: true });
    u.on('message', (m, from) => u.send(from.address, from.port, from.address));
    u.bind(${port}, '::', () => console.log('ready'));
  });`;

async function serve({ prefix }: Pick<TestHost, 'prefix'>): Promise<void> {
  const [program = '', ...args]: readonly string[] = [...prefix, process.execPath, '-e', server];
  const child = spawn(program, args);
  servers.push(child);
  await once(child.stdout, 'data');
}

/** Tries once, from an address of its own if one is given, and prints what it is told. */
const probe = `
import socket, sys
to, protocol, port, source = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM if protocol == 'tcp' else socket.SOCK_DGRAM)
s.settimeout(0.8)
if source: s.bind((source, 0))
s.connect(socket.getaddrinfo(to, port, socket.AF_INET6)[0][4])
s.send(b'x')
print(s.recv(100).decode())`;

async function asksOnce(
  from: Place,
  to: string,
  protocol: 'tcp' | 'udp' = 'tcp',
  source = '',
): Promise<string> {
  const args = ['-c', probe, to, protocol, String(port), source];
  return (await from.exec('python3', args)).stdout.trim();
}

/** What it is told, at the first try that is answered: a busy machine may need a second. */
const asks = (...what: Parameters<typeof asksOnce>): Promise<string> =>
  eventually(`an answer from ${what[1]}`, () => asksOnce(...what));

/** Whether a short try gets an answer. */
async function reaches(from: Place, to: string, protocol: Protocol = 'tcp'): Promise<boolean> {
  const answer =
    protocol === 'icmp'
      ? from.exec('ping', ['-6', '-c1', '-W0.8', to])
      : asksOnce(from, to, protocol);
  return answer.then(
    () => true,
    () => false,
  );
}

const passes = (from: Place, to: string, protocol?: Protocol): Promise<unknown> =>
  eventually(`${to} is reached`, () => reaches(from, to, protocol));
const ends = (from: Place, to: string): Promise<unknown> =>
  eventually(`${to} is not reached any more`, async () => !(await reaches(from, to)));

async function linkLocalOf(place: Place, device = 'eth0'): Promise<string> {
  const show = ['-6', '-o', 'addr', 'show', 'dev', device, 'scope', 'link'];
  const { stdout } = await place.exec('ip', show);
  return /inet6 (\S+)\//.exec(stdout)?.[1] ?? '';
}

/** A host with IPv6 on the shared network. */
async function addHost(): Promise<TestHost> {
  const host = await members.network.addHost();
  await host.exec('ip', ['addr', 'add', `${outsideOf(host)}/64`, 'dev', 'eth0', 'nodad']);
  return host;
}

/** By IPv6 and IPv4, with or without the option. */
const text = async (host: TestHost, ...line: readonly string[]): Promise<string> => {
  const [program = '', ...args] = line;
  return (await host.exec(program, args)).stdout;
};

beforeAll(async () => {
  await members.start();
  await putConfig(dual);
  const value = virtualRangeRecords.encode({ ranges: ['10.78.0.0/16'] });
  await members.store.commit([], [{ type: 'put', key: virtualRangePath, value }]);
  const advertised = await addHost();
  // As a router's advertisement leaves it.
  await advertised.exec('ip', [
    ...['-6', 'route', 'add', 'default', 'via', 'fe80::1', 'dev', 'eth0', 'proto', 'ra'],
  ]);
  [a, b] = [await members.join(3, advertised), await members.join(2, await addHost())];
  outside = await addHost();
  const [web, db, blog] = a.containers;
  const [webThere, blogThere] = b.containers;
  Object.assign(at, { web, db, blog, webThere, blogThere });
  for (const container of Object.values(at)) {
    await serve(container);
    await members.serve(container);
  }
  await serve(outside);
  for (const service of ['web', 'db', 'blog/blog']) await members.putService(service, {});
  members.own(
    a,
    new Map([
      [at.web, 'web'],
      [at.db, 'db'],
      [at.blog, 'blog/blog'],
    ]),
  );
  members.own(
    b,
    new Map([
      [at.webThere, 'web'],
      [at.blogThere, 'blog/blog'],
    ]),
  );
  await ends(at.blog, at.db.ipv6);
  await ends(at.blogThere, at.db.ipv6);
  await passes(at.webThere, at.db.ipv6);
  await passes(at.web, at.db.ipv6);
});

afterAll(async () => {
  for (const each of servers) each.kill('SIGKILL');
  await members.stop();
});

describe('an overlay with IPv6', () => {
  it('has a subnet on each host that is the twin of the one in IPv4', () => {
    for (const { overlay } of [a, b]) {
      const third = Number(overlay.subnet.split('.')[2]);
      const base = `fd00:77::a4d:${(third * 256).toString(16)}`;
      expect(overlay.ipv6Subnet).toBe(`${base}/120`);
      expect(overlay.ipv6Gateway).toBe(`fd00:77::a4d:${(third * 256 + 1).toString(16)}`);
    }
  });

  it('shows instances the address of the one that speaks, on its host and on another', async () => {
    for (const protocol of ['tcp', 'udp'] as const) {
      expect(await asks(at.web, at.db.ipv6, protocol)).toBe(at.web.ipv6);
      expect(await asks(at.webThere, at.db.ipv6, protocol)).toBe(at.webThere.ipv6);
    }
  });

  it('lets hosts reach all instances, as themselves, and instances their host', async () => {
    for (const { host } of [a, b]) {
      for (const { ipv6 } of Object.values(at)) await passes(host, ipv6, 'icmp');
    }
    expect(await asks(a.host, at.webThere.ipv6)).toBe(a.overlay.ipv6Subnet?.replace('/120', ''));
    await passes(at.blog, a.overlay.ipv6Gateway ?? '', 'icmp');
  });

  it('carries packets of the full MTU in one piece, and none larger', async () => {
    const whole = (size: number) =>
      at.webThere.exec('ping', [
        ...['-6', '-c', '1', '-W', '1', '-M', 'do', '-s', String(size - 48), at.db.ipv6],
      ]);
    await whole(a.overlay.mtu);
    await expect(whole(a.overlay.mtu + 1)).rejects.toThrow();
  });

  it('hides instances behind the address of their host when they speak with the outside', async () => {
    for (const protocol of ['tcp', 'udp'] as const) {
      expect(await asks(at.web, outsideOf(outside), protocol)).toBe(outsideOf(a.host));
    }
  });

  it('has the host go on taking router advertisements where it lives by them, and only there', async () => {
    const accepts = async ({ host }: Member): Promise<string> =>
      (await text(host, 'sysctl', '-n', 'net/ipv6/conf/eth0/accept_ra')).trim();
    expect([await accepts(a), await accepts(b)]).toEqual(['2', '1']);
    expect((await text(b.host, 'sysctl', '-n', 'net/ipv6/conf/all/forwarding')).trim()).toBe('1');
  });

  it('leaves IPv4 as it is', async () => {
    const ping = (from: Place, to: string) => from.exec('ping', ['-c1', '-W1', to]);
    await ping(at.webThere, at.db.ip);
    await expect(ping(at.blogThere, at.db.ip)).rejects.toThrow();
  });
});

describe('a host of a flanneld with IPv6', () => {
  it('is told as a problem', async () => {
    const key = '/coreos.com/network/subnets/10.77.200.0-24&fd00:77::a4d:c800-120';
    const value = '{"PublicIP":"10.99.9.99","BackendType":"vxlan"}';
    await members.store.commit([], [{ type: 'put', key, value }]);
    await eventually('it is told', async () =>
      a.manager.problems().some((problem) => problem.includes('is of a flanneld with IPv6')),
    );
    await members.store.commit([], [{ type: 'delete', key }]);
    await eventually('it is solved', async () => a.manager.problems().length === 0);
  });
});

describe.each(['0', '1'])('isolation in IPv6, bridge-nf-call-ip6tables %s', (filtered) => {
  beforeAll(async () => {
    for (const { host, manager } of [a, b]) {
      await host.exec('sysctl', ['-qw', `net/bridge/bridge-nf-call-ip6tables=${filtered}`]);
      await manager.audit();
    }
  });

  it.each(protocols)('keeps a project private: %s', async (protocol) => {
    const tries = [
      ['web', 'db', true],
      ['webThere', 'db', true],
      ['db', 'webThere', true],
      ['blog', 'blogThere', true],
      ['blog', 'db', false],
      ['blogThere', 'db', false],
      ['db', 'blog', false],
      ['db', 'blogThere', false],
    ] as const;
    const seen = [];
    for (const [from, to, expected] of tries) {
      const isReached = expected ? passes : reaches;
      seen.push([from, to, await isReached(at[from], at[to].ipv6, protocol)]);
    }
    expect(seen).toEqual(tries);
  });

  it('follows links, one way', async () => {
    const link = { service: 'db', alias: 'db', project: 'shop' };
    await members.putService('blog/blog', { links: [link] });
    await passes(at.blog, at.db.ipv6);
    await passes(at.blogThere, at.db.ipv6);
    expect(await reaches(at.db, at.blog.ipv6)).toBe(false);
    await members.putService('blog/blog', {});
    await ends(at.blog, at.db.ipv6);
    await ends(at.blogThere, at.db.ipv6);
  });

  it('lets links only in to what is strict, and everybody to what is open', async () => {
    await members.putService('db', { isolation: 'strict' });
    await ends(at.web, at.db.ipv6);
    await ends(at.webThere, at.db.ipv6);
    await members.putService('db', { isolation: 'open' });
    await passes(at.blog, at.db.ipv6);
    await passes(at.blogThere, at.db.ipv6);
    await members.putService('db', {});
    await ends(at.blog, at.db.ipv6);
    await ends(at.blogThere, at.db.ipv6);
    await passes(at.webThere, at.db.ipv6);
  });

  it.each(protocols)('cannot be got round by link-local addresses: %s', async (protocol) => {
    const there = `${await linkLocalOf(at.db)}%eth0`;
    expect(there).toContain('fe80::');
    expect(await reaches(at.blog, there, protocol)).toBe(false);
    const bridge = await linkLocalOf(a.host, a.overlay.bridge);
    await passes(at.blog, `${bridge}%eth0`, 'icmp');
  });
});

describe('isolation in IPv6', () => {
  it('lets nobody in to a host that does not know yet who may come', async () => {
    const late = await members.join(1, await addHost());
    const [container] = late.containers as [TestContainer];
    await serve(container);
    await eventually('IPv4 has no isolation there yet', () =>
      at.web.exec('ping', ['-c1', '-W1', container.ip]).then(() => true),
    );
    expect(await reaches(at.web, container.ipv6)).toBe(false);
    await passes(late.host, container.ipv6);
    members.own(late, new Map([[container, 'web']]));
    await passes(at.web, container.ipv6);
    await passes(container, at.db.ipv6);
    expect(await reaches(at.blog, container.ipv6)).toBe(false);
  });

  it('drops what comes under an address that is not the sender’s', async () => {
    const { ipv6 } = at.webThere;
    const under = async (from: Place, device: string, address: string): Promise<string> => {
      await from.exec('ip', ['addr', 'add', `${address}/128`, 'dev', device, 'nodad']);
      try {
        return await asksOnce(from, at.db.ipv6, 'udp', address).catch(() => 'nothing');
      } finally {
        await from.exec('ip', ['addr', 'del', `${address}/128`, 'dev', device]);
      }
    };
    const heard = async (): Promise<string> => {
      const rules = await text(a.host, 'nft', '-t', 'list', 'table', 'ip6', 'probe');
      return /counter packets (\d+)/.exec(rules)?.[1] ?? '';
    };
    // After isolation has let it in.
    const rules = `add table ip6 probe
add chain ip6 probe in { type filter hook forward priority 200; }
add rule ip6 probe in ip6 daddr ${at.db.ipv6} udp dport ${port} ct direction original counter`;
    await a.host.exec('nft', ['-f', '-'], { input: rules });
    await asks(at.webThere, at.db.ipv6, 'udp');
    const before = await heard();
    expect(Number(before)).toBeGreaterThan(0);
    // An instance, under the address of one that may; under its host's, which all take in; and a stranger's.
    expect(await under(at.blog, 'eth0', ipv6)).toBe('nothing');
    expect(await under(at.blogThere, 'eth0', b.overlay.ipv6Gateway ?? '')).toBe('nothing');
    expect(await under(at.blogThere, 'eth0', 'fd55::1')).toBe('nothing');
    // Another host, under the address of an instance of a third.
    const third = await members.join(0, await addHost());
    await eventually('the third host is known', () => reaches(third.host, at.db.ipv6));
    // An answer would not have come back to them: none has been let in.
    expect(await heard()).toBe(before);
    expect(await under(third.host, third.overlay.device, ipv6)).toBe('nothing');
    // Somebody outside of the overlay.
    await outside.exec('ip', ['route', 'add', at.db.ipv6, 'via', outsideOf(a.host)]);
    expect(await under(outside, 'eth0', ipv6)).toBe('nothing');
    expect(await heard()).toBe(before);
    await a.host.exec('nft', ['delete', 'table', 'ip6', 'probe']);
  });
});

describe('an audit', () => {
  type Wound = (m: Member, other: Member) => readonly string[];
  const baseOf = ({ overlay }: Member): string => overlay.ipv6Subnet?.replace('/120', '') ?? '';
  const wounds: readonly (readonly [string, Wound])[] = [
    ['the device deleted', (m) => ['ip', 'link', 'del', m.overlay.device]],
    [
      'the address of the device deleted',
      (m) => ['ip', 'addr', 'del', `${baseOf(m)}/128`, 'dev', m.overlay.device],
    ],
    [
      'IPv6 switched off on the device',
      (m) => ['sysctl', '-w', `net/ipv6/conf/${m.overlay.device}/disable_ipv6=1`],
    ],
    ['a route deleted', (_, o) => ['ip', '-6', 'route', 'del', o.overlay.ipv6Subnet ?? '']],
    [
      'a neighbour deleted',
      (m, o) => ['ip', '-6', 'neigh', 'del', baseOf(o), 'dev', m.overlay.device],
    ],
    ['forwarding switched off', () => ['sysctl', '-w', 'net/ipv6/conf/all/forwarding=0']],
    ['the table deleted', () => ['nft', 'delete', 'table', 'ip6', 'nap']],
    ['elements flushed', () => ['nft', 'flush', 'set', 'ip6', 'nap', 'iso-allowed']],
    ['all rules of ip6tables flushed', () => ['ip6tables', '-F']],
    [
      'the address of the bridge deleted',
      (m) => ['ip', '-6', 'addr', 'del', `${m.overlay.ipv6Gateway ?? ''}/120`, 'dev', 'nap0'],
    ],
    ['the bridge set down', (m) => ['ip', 'link', 'set', m.overlay.bridge, 'down']],
  ];

  it.each(wounds)('repairs %s', async (_, command) => {
    await a.manager.audit();
    a.problems.length = 0;
    const [program = '', ...args] = command(a, b);
    await a.host.exec(program, args);
    await a.manager.audit();
    a.manager.requestAudit();
    await passes(at.webThere, at.db.ipv6);
    await passes(at.db, at.webThere.ipv6);
    await ends(at.blogThere, at.db.ipv6);
    await ends(at.blog, at.db.ipv6);
    await eventually('it is told', async () => a.problems.some((p) => p.state === 'repaired'));
    await eventually('all is well', async () => (await a.manager.audit()).length === 0);
  });
});

describe('a new agent', () => {
  it('adopts what its predecessor left', async () => {
    const ruleset = () => text(a.host, 'nft', 'list', 'table', 'ip6', 'nap');
    const sorted = async () => (await ruleset()).split(/[\n,]/).sort().join('\n');
    const before = await sorted();
    await a.stop();
    await passes(at.webThere, at.db.ipv6);
    expect(await reaches(at.blogThere, at.db.ipv6)).toBe(false);
    Object.assign(a, members.manage(a.host));
    await eventually('it is back', async () => a.manager.current !== undefined);
    expect(await a.manager.audit()).toEqual([]);
    expect(await sorted()).toBe(before);
  });

  it('takes all of it back when the option is off, isolation last: when the Docker network has no IPv6 any more', async () => {
    await a.stop();
    await putConfig({});
    const next = members.manage(a.host);
    Object.assign(a, next);
    const info = await next.manager.ensure();
    expect(info).not.toHaveProperty('ipv6Subnet');
    await next.manager.audit();
    for (const to of [at.db.ipv6, `${await linkLocalOf(at.db)}%eth0`]) {
      expect({ to, reached: await reaches(at.blog, to, 'icmp') }).toEqual({ to, reached: false });
    }
    expect(await reaches(at.blogThere, at.db.ipv6)).toBe(false);
    // They have rules that are asked: whoever may is still let in.
    await passes(at.webThere, at.db.ipv6);
    next.manager.dockerNetworkStands();
    const left = async (): Promise<readonly string[]> => {
      const found: string[] = [];
      for (const line of [
        ['nft', 'list', 'ruleset'],
        ['ip', '-6', 'addr', 'show'],
        ['ip', '-6', 'route', 'show', 'table', 'all'],
        ['ip', '-6', 'neigh', 'show', 'nud', 'permanent'],
      ]) {
        const matches = (await text(a.host, ...line)).match(/.*(fd00:77|local6-forward).*/g) ?? [];
        found.push(...matches.map((match) => `${line.join(' ')}: ${match.trim()}`));
      }
      return found;
    };
    await eventually('nothing is left', async () => (await left()).length === 0);
    expect(await text(a.host, 'nft', 'list', 'tables')).not.toContain('ip6 nap');
    expect(await text(a.host, 'ip6tables', '-S')).not.toContain('NAP-FORWARD');
    expect(await reaches(at.webThere, at.db.ipv6)).toBe(false);
    await eventually('IPv4 goes on', () =>
      at.webThere.exec('ping', ['-c1', '-W1', at.db.ip]).then(() => true),
    );
  });
});

describe('with DirectRouting', () => {
  const direct = new Members('10.99.11');
  afterAll(() => direct.stop());

  it('IPv4 goes directly, and IPv6 through the tunnel', async () => {
    await direct.start();
    const value = JSON.stringify({
      Network: '10.77.0.0/16',
      ...dual,
      Backend: { Type: 'vxlan', DirectRouting: true },
    });
    await direct.store.commit([], [{ type: 'put', key: networkConfigPath, value }]);
    const [one, two] = [await direct.join(1), await direct.join(1)];
    const [from, to] = [one.containers[0]!, two.containers[0]!];
    const wayOf = (source: string, address: string) =>
      text(one.host, 'ip', 'route', 'get', address, 'from', source, 'iif', one.overlay.bridge);
    await eventually('IPv4 goes directly', async () =>
      (await wayOf(from.ip, to.ip)).includes(' dev eth0 '),
    );
    expect(await wayOf(from.ipv6, to.ipv6)).toContain(` dev ${one.overlay.device} `);
    await passes(from, to.ipv6, 'icmp');
    await eventually('nothing is left to repair', async () => {
      return (await one.manager.audit()).length === 0;
    });
    await passes(from, to.ipv6, 'icmp');
  });
});
