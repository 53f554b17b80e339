import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseCidr } from '../../../src/network/address/cidr.ts';
import { parseElements } from '../../../src/network/nftables/nft-elements.ts';
import { virtualRangePath, virtualRangeRecords } from '../../../src/registry/records/index.ts';
import { answersPort } from '../../support/answers.ts';
import { hear, say, talk } from '../../support/datagrams.ts';
import { eventually } from '../../support/eventually.ts';
import type { TestContainer, TestHost } from '../../support/netns.ts';
import { Members, type Member } from './members.ts';

const members = new Members('10.99.5', true);
let a: Member;
let b: Member;
let c: Member;
let outside: TestHost;
/** By whose they are: on hosts a and b. */
const at = {} as Record<
  'web' | 'db' | 'blog' | 'stranger' | 'webThere' | 'blogThere',
  TestContainer
>;

type Protocol = 'tcp' | 'udp' | 'icmp';
const protocols = ['tcp', 'udp', 'icmp'] as const;

/** Tries once, with the patience of one local round trip on a busy machine. Says so by its exit code. */
const probe = `
import socket, sys
to, protocol, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if protocol == 'tcp' else socket.SOCK_DGRAM)
s.settimeout(0.4)
s.connect((to, port))
s.send(b'x')
sys.exit(0 if s.recv(100) else 1)`;

/** Whether a short try gets an answer. */
async function reaches(
  from: Pick<TestHost, 'exec'>,
  to: string,
  protocol: Protocol = 'tcp',
  port = answersPort,
): Promise<boolean> {
  const [program, args] =
    protocol === 'icmp'
      ? ['ping', ['-c1', '-W0.4', to]]
      : ['python3', ['-c', probe, to, protocol, String(port)]];
  return from.exec(program, args).then(
    () => true,
    () => false,
  );
}

const passes = (
  from: Pick<TestHost, 'exec'>,
  to: string,
  ...how: readonly [protocol?: Protocol, port?: number]
): Promise<boolean> => eventually(`${to} is reached`, () => reaches(from, to, ...how));
const ends = (from: Pick<TestHost, 'exec'>, to: string): Promise<void> =>
  eventually(`${to} is not reached any more`, async () => !(await reaches(from, to))).then(
    () => undefined,
  );

/** Whether it is reached. That it is may take a second try on a busy machine; that it is not is seen at the first. */
const isReached = (expected: boolean, ...what: Parameters<typeof reaches>): Promise<boolean> =>
  (expected ? passes : reaches)(...what);

/** Everything that the rules look up. */
async function elementsOf(host: TestHost): Promise<Map<string, ReadonlyMap<string, string>>> {
  const { stdout } = await host.exec('nft', ['list', 'table', 'ip', 'nap']);
  return new Map([...parseElements(stdout)].filter(([set]) => set.startsWith('iso-')));
}

beforeAll(async () => {
  await members.start();
  const value = virtualRangeRecords.encode({ ranges: ['10.78.0.0/16'] });
  await members.store.commit([], [{ type: 'put', key: virtualRangePath, value }]);
  [a, b, c] = [await members.join(4), await members.join(2), await members.join(0)];
  outside = await members.network.addHost();
  const [web, db, blog, stranger] = a.containers;
  const [webThere, blogThere] = b.containers;
  Object.assign(at, { web, db, blog, stranger, webThere, blogThere });
  for (const container of Object.values(at)) await members.serve(container);
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
  members.own(c, new Map());
  // On each host.
  await ends(at.stranger, at.db.ip);
  await ends(at.web, at.blogThere.ip);
  await passes(at.webThere, at.db.ip);
  await passes(at.db, at.webThere.ip);
});

afterAll(() => members.stop());

describe.each([
  ['bridges keep their frames to themselves', '0'],
  ['br_netfilter is in force', '1'],
])('where %s', (_, filtered) => {
  beforeAll(async () => {
    for (const { host, manager } of [a, b]) {
      await host.exec('sysctl', ['-qw', `net/bridge/bridge-nf-call-iptables=${filtered}`]);
      await manager.audit();
    }
  });

  it.each(protocols)('a project is private: %s', async (protocol) => {
    const tries: readonly (readonly [keyof typeof at, keyof typeof at, boolean])[] = [
      ['web', 'db', true],
      ['webThere', 'db', true],
      ['db', 'webThere', true],
      ['blog', 'blogThere', true],
      ['blog', 'db', false],
      ['blogThere', 'db', false],
      ['web', 'blog', false],
      ['web', 'blogThere', false],
      // Somebody's own container on the bridge belongs to no project.
      ['stranger', 'db', false],
      ['stranger', 'webThere', false],
      ['web', 'stranger', false],
    ];
    const seen = await Promise.all(
      tries.map(async ([from, to, expected]) => [
        from,
        to,
        await isReached(expected, at[from], at[to].ip, protocol),
      ]),
    );
    expect(seen).toEqual(tries);
  });

  it('hosts reach all instances, and instances their own host', async () => {
    for (const { host } of [a, b, c]) {
      for (const { ip } of Object.values(at)) await passes(host, ip, 'icmp');
    }
    await passes(at.blog, a.overlay.gateway, 'icmp');
  });

  it('a link lets in one way, and its end is heeded by connections that are open', async () => {
    await members.putService('blog/blog', { links: [link] });
    await passes(at.blog, at.db.ip);
    await passes(at.blogThere, at.db.ip);
    expect(await reaches(at.db, at.blog.ip)).toBe(false);
    expect(await reaches(at.blog, at.web.ip)).toBe(false);
    const heard = await talk(at.blogThere, at.db.ip);
    await eventually('it is spoken on', () => heard.count > 3);
    await members.putService('blog/blog', {});
    await ends(at.blogThere, at.db.ip);
    // What is heard late may have been let in before.
    await eventually('it is spoken on no more', async () => {
      const { count } = heard;
      await new Promise((done) => setTimeout(done, 1_000));
      return heard.count === count;
    });
    expect(heard.child.exitCode).toBeNull();
    heard.child.kill('SIGKILL');
    await ends(at.blog, at.db.ip);
  });

  it('strict lets links in only, open everybody', async () => {
    await members.putService('db', { isolation: 'strict' });
    await ends(at.web, at.db.ip);
    await ends(at.webThere, at.db.ip);
    await members.putService('web', { links: [{ service: 'db', alias: 'db' }] });
    await passes(at.web, at.db.ip);
    await passes(at.webThere, at.db.ip);
    expect(await reaches(at.blog, at.db.ip)).toBe(false);
    await members.putService('db', { isolation: 'open' });
    for (const from of [at.blog, at.blogThere, at.stranger]) await passes(from, at.db.ip);
    await members.putService('web', {});
    await members.putService('db', {});
    await ends(at.blog, at.db.ip);
  });

  it('a virtual IP is no way round it', async () => {
    const vip = `10.78.1.1${filtered}`;
    await members.putService('db', { virtualIP: vip });
    await members.setEndpoint('db', 1, at.db.ip);
    // An instance reaches itself, too. Those who may first: where nobody is led to it yet, nobody is kept out.
    const may = ['web', 'webThere', 'db'] as const;
    const mayNot = ['blog', 'blogThere', 'stranger'] as const;
    for (const protocol of ['tcp', 'udp'] as const) {
      await Promise.all(may.map((name) => passes(at[name], vip, protocol)));
      const seen = await Promise.all(mayNot.map((name) => reaches(at[name], vip, protocol)));
      expect(seen).toEqual([false, false, false]);
    }
    await passes(b.host, vip);
  });
});

describe('isolation', () => {
  it('lets in whoever asks for a port that every host answers on, an instance of another project, too', async () => {
    const mesh = [{ port: 7100, protocol: 'tcp' as const, target: 7777 }];
    await members.putService('db', { mesh });
    await members.setEndpoint('db', 1, at.db.ip);
    for (const { host } of [a, b, c]) {
      for (const from of [outside, at.blogThere, at.blog, c.host]) {
        await eventually(`${host.address} leads ${String(from === outside)} to it`, () =>
          reaches(from, host.address, 'tcp', 7100),
        );
      }
    }
    await members.putService('db', {});
  });

  it('lets in who comes by a published port', async () => {
    const address = a.host.address;
    // As Docker does it.
    const publish = `-A PREROUTING -d ${address} -p tcp --dport 7200 -j DNAT --to ${at.db.ip}:7777`;
    await a.host.exec('iptables', ['-t', 'nat', ...publish.split(' ')]);
    const forward = `-A FORWARD -d ${at.db.ip} -p tcp --dport 7777 -j ACCEPT`;
    await a.host.exec('iptables', forward.split(' '));
    for (const from of [outside, b.host, at.blogThere]) {
      await passes(from, address, 'tcp', 7200);
    }
  });

  it('takes the routers in where there are routes', async () => {
    members.own(b, new Map([[at.blogThere, 'nap-system/_/nap-router']]));
    await ends(at.blogThere, at.blog.ip);
    await members.putService('db', { routed: true });
    await passes(at.blogThere, at.db.ip);
    expect(await reaches(at.blogThere, at.web.ip)).toBe(false);
    await members.putService('db', {});
    members.own(b, new Map([[at.blogThere, 'blog/blog']]));
    await passes(at.blogThere, at.blog.ip);
  });

  it('drops what comes under an address that is not the sender’s', async () => {
    const heard = await hear(at.db);
    const forged = [at.webThere.ip, at.web.ip];
    // From a container, under the address of an instance on another host.
    await say(at.blog, forged[0]!, at.db.ip);
    // From a container, under an address of its own host, which all take in.
    await say(at.blogThere, b.overlay.gateway, at.db.ip);
    await say(at.blogThere, b.overlay.gateway.replace(/1$/, '0'), at.db.ip);
    // From another host of the overlay, under an address of a third.
    await say(c.host, at.webThere.ip, at.db.ip);
    // From outside of the overlay.
    await outside.exec('ip', ['route', 'add', at.db.ip, 'via', a.host.address]);
    await say(outside, at.webThere.ip, at.db.ip);
    // From a host under its own, and from an instance that may.
    await say(c.host, c.overlay.gateway.replace(/1$/, '0'), at.db.ip);
    await say(at.webThere, at.webThere.ip, at.db.ip);
    await eventually('what is true is heard', () => heard.from.size >= 2);
    expect([...heard.from].sort()).toEqual(
      [at.webThere.ip, c.overlay.gateway.replace(/1$/, '0')].sort(),
    );
    expect(heard.count).toBe(2);
    heard.child.kill('SIGKILL');
  });

  it('knows a new instance as soon as it is said whose it is', async () => {
    members.own(a, new Map([[at.stranger, 'web']]));
    await passes(at.stranger, at.db.ip);
    await passes(at.stranger, at.webThere.ip);
    a.book?.update(at.stranger.name, []);
    await ends(at.stranger, at.webThere.ip);
    await ends(at.stranger, at.db.ip);
  });

  it('goes on without an agent, and is what it was when one is back', async () => {
    const before = await elementsOf(a.host);
    expect(before.get('iso-allowed')?.size).toBeGreaterThan(0);
    await a.stop();
    await passes(at.webThere, at.db.ip);
    expect(await reaches(at.blogThere, at.db.ip)).toBe(false);
    Object.assign(a, members.manage(a.host));
    await eventually('it is back', () => a.manager.current !== undefined);
    // What is not known yet is not touched.
    await new Promise((done) => setTimeout(done, 1_000));
    expect(await elementsOf(a.host)).toEqual(before);
    a.book!.subnet = parseCidr(a.overlay.subnet);
    members.own(
      a,
      new Map([
        [at.web, 'web'],
        [at.db, 'db'],
        [at.blog, 'blog/blog'],
      ]),
    );
    await members.putService('web', { isolation: 'open' });
    await passes(at.blogThere, at.web.ip);
    await members.putService('web', {});
    await eventually('all is as before', async () =>
      isDeepStrictEqual(await elementsOf(a.host), before),
    );
  });

  it.each([
    ['all elements flushed', ['nft', 'flush', 'set', 'ip', 'nap', 'iso-allowed']],
    ['a base chain flushed', ['nft', 'flush', 'chain', 'ip', 'nap', 'isolation-forward']],
    ['the table deleted', ['nft', 'delete', 'table', 'ip', 'nap']],
  ])('is mended: %s', async (_, [program = '', ...args]) => {
    await a.manager.audit();
    a.problems.length = 0;
    await a.host.exec(program, args);
    await a.manager.audit();
    a.manager.requestAudit();
    await passes(at.webThere, at.db.ip);
    await ends(at.blogThere, at.db.ip);
    await eventually('it is told', () => a.problems.some(({ state }) => state === 'repaired'));
  });
});

const link = { service: 'db', alias: 'db', project: 'shop' };
