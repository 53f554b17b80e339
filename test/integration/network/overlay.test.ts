import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AuditBook } from '../../../src/agent/audit/audit-book.ts';
import type { FindingKind } from '../../../src/agent/audit/finding.ts';
import { NetworkManager } from '../../../src/agent/host/network-manager.ts';
import type { NetworkProblem, OverlayInfo } from '../../../src/agent/host/network-options.ts';
import { MemoryDatabase } from '../../../src/registry/memory/database.ts';
import { MemoryStore } from '../../../src/registry/memory/store.ts';
import { subnetRecords } from '../../../src/registry/records/subnet.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/telemetry/log.ts';
import { eventually } from '../../support/eventually.ts';
import { TestNetwork, type TestContainer, type TestHost } from '../../support/netns.ts';
import { pinging } from './pinging.ts';

interface Member {
  readonly host: TestHost;
  readonly manager: NetworkManager;
  readonly audits: AuditBook;
  readonly overlay: OverlayInfo;
  readonly container: TestContainer;
  readonly problems: NetworkProblem[];
  readonly stop: () => Promise<void>;
}

const database = new MemoryDatabase();
const network = new TestNetwork();
const members: Member[] = [];
const observer = new MemoryStore({ database });

function manage(
  host: TestHost,
  problems: NetworkProblem[],
): Pick<Member, 'manager' | 'audits' | 'stop'> {
  const audits = new AuditBook(systemClock);
  const manager = new NetworkManager({
    store: new MemoryStore({ database }),
    log: silentLogger,
    exec: host.exec,
    follow: host.follow,
    onProblem: (problem) => problems.push(problem),
    audits,
    // Never by itself within a test: what is repaired is so because somebody asked for it, or the kernel told of it.
    auditIntervalMs: 600_000,
  });
  const controller = new AbortController();
  const running = manager.run(controller.signal);
  return {
    manager,
    audits,
    stop: async () => {
      controller.abort();
      await running;
    },
  };
}

async function join(): Promise<Member> {
  const host = await network.addHost();
  const problems: NetworkProblem[] = [];
  const { manager, audits, stop } = manage(host, problems);
  const overlay = await manager.ensure();
  const container = await network.addContainer(host, overlay);
  const member = { host, manager, audits, overlay, container, problems, stop };
  members.push(member);
  return member;
}

/** One ping of `size` bytes of data that must not be fragmented. */
async function ping(from: { exec: TestHost['exec'] }, to: string, size = 56): Promise<true> {
  await from.exec('ping', ['-c', '1', '-W', '1', '-M', 'do', '-s', String(size), to]);
  return true;
}

/** The source address that a TCP server in `to` sees when `from` connects to it. */
async function callerSeen(
  from: Pick<TestHost, 'exec'>,
  to: Pick<TestContainer, 'exec' | 'ip'>,
): Promise<string> {
  const server = to.exec(process.execPath, [
    '-e',
    "require('net').createServer((s) => { console.log(s.remoteAddress); s.end(); process.exit(); }).listen(7777, '0.0.0.0')",
  ]);
  const connect = `const s = require('net').connect(7777, '${to.ip}'); s.on('error', () => process.exit(1)); s.on('connect', () => process.exit(0))`;
  await eventually('a connection', async () => {
    await from.exec(process.execPath, ['-e', connect], { timeoutMs: 2000 });
    return true;
  });
  return (await server).stdout.trim();
}

beforeAll(async () => {
  await network.start();
  for (let i = 0; i < 3; i++) await join();
});

afterAll(async () => {
  for (const member of members) await member.stop();
  await network.stop();
});

describe('overlay of three hosts', () => {
  it('joins every container with every other one, whatever the forward policy says', async () => {
    for (const a of members) {
      for (const b of members) {
        if (a !== b) await eventually('a ping', () => ping(a.container, b.container.ip));
      }
    }
    expect(new Set(members.map((m) => m.overlay.subnet)).size).toBe(3);
  });

  it('carries TCP and shows the server the address of the container that calls', async () => {
    const [a, b] = members as [Member, Member];
    expect(await callerSeen(a.container, b.container)).toBe(a.container.ip);
  });

  it('carries packets of the full MTU in one piece, and none larger', async () => {
    const [a, b] = members as [Member, Member];
    expect(a.overlay.mtu).toBe(1450);
    const headers = 28;
    await ping(a.container, b.container.ip, a.overlay.mtu - headers);
    await expect(ping(a.container, b.container.ip, a.overlay.mtu - headers + 1)).rejects.toThrow();
  });

  it('lets a host reach containers of other hosts, and be seen by its overlay address', async () => {
    const [a, b] = members as [Member, Member];
    expect(await callerSeen(a.host, b.container)).toBe(a.overlay.subnet.replace('/24', ''));
  });

  it('hides containers behind the address of their host when they speak with the outside', async () => {
    const [a, b] = members as [Member, Member];
    const outside = { ...b.host, ip: b.host.address };
    expect(await callerSeen(a.container, outside)).toBe(a.host.address);
  });
});

describe('audit', () => {
  type Wound = (m: Member, other: Member) => readonly string[];
  const wounds: readonly (readonly [string, FindingKind, Wound])[] = [
    ['the device deleted', 'device', (m) => ['ip', 'link', 'del', m.overlay.device]],
    ['the device set down', 'device', (m) => ['ip', 'link', 'set', m.overlay.device, 'down']],
    ['its address deleted', 'device', (m) => ['ip', 'addr', 'flush', 'dev', m.overlay.device]],
    ['a route deleted', 'route', (_, o) => ['ip', 'route', 'del', o.overlay.subnet]],
    [
      'a neighbour deleted',
      'neighbour',
      (m, o) => [
        'ip',
        'neigh',
        'del',
        o.overlay.subnet.replace('/24', ''),
        'dev',
        m.overlay.device,
      ],
    ],
    ['a wrong MTU', 'device', (m) => ['ip', 'link', 'set', m.overlay.device, 'mtu', '1200']],
    [
      'strict reverse path filtering',
      'device',
      (m) => ['sysctl', '-w', `net/ipv4/conf/${m.overlay.device}/rp_filter=1`],
    ],
    ['forwarding switched off', 'sysctl', () => ['sysctl', '-w', 'net/ipv4/ip_forward=0']],
    ['the nftables table deleted', 'chain', () => ['nft', 'delete', 'table', 'ip', 'nap']],
    [
      'a rule of ours flushed',
      'chain',
      () => ['nft', 'flush', 'chain', 'ip', 'nap', 'overlay-postrouting'],
    ],
    ['the jump from DOCKER-USER deleted', 'docker-chain', () => ['iptables', '-F', 'DOCKER-USER']],
    ['all iptables rules flushed', 'docker-chain', () => ['iptables', '-F']],
    [
      'the address of the bridge deleted',
      'bridge',
      (m) => ['ip', 'addr', 'flush', 'dev', m.overlay.bridge],
    ],
    ['the bridge set down', 'bridge', (m) => ['ip', 'link', 'set', m.overlay.bridge, 'down']],
  ];

  it.each(wounds)('repairs %s, counts it and says so', async (_, kind, command) => {
    const [m, other] = members as [Member, Member];
    await m.manager.audit();
    m.problems.length = 0;
    const repairs = m.audits.counts.get(kind)!;
    const [program = '', ...args] = command(m, other);
    await m.host.exec(program, args);
    // The kernel's own hint may have led to the repair already.
    await m.manager.audit();
    await eventually('a ping', () => ping(m.container, other.container.ip));
    expect(m.audits.counts.get(kind)).toBeGreaterThan(repairs);
    expect(m.audits.recent()).not.toEqual([]);
    expect(m.problems.map((p) => p.state)).toContain('repaired');
    expect(await m.manager.audit()).toEqual([]);
  });

  it('repairs a forwarding entry that points to a wrong host', async () => {
    const [m, other] = members as [Member, Member];
    const fdb = await m.host.exec('bridge', ['fdb', 'show', 'dev', m.overlay.device]);
    const line = fdb.stdout.split('\n').find((l) => l.includes(`dst ${other.host.address} `)) ?? '';
    const mac = line.split(' ')[0] ?? '';
    const repairs = m.audits.counts.get('forwarding')!;
    await m.host.exec('bridge', [
      'fdb',
      'replace',
      mac,
      'dev',
      m.overlay.device,
      'dst',
      '10.99.0.77',
      'self',
      'permanent',
    ]);
    await m.manager.audit();
    expect(m.audits.counts.get('forwarding')).toBeGreaterThan(repairs);
    await eventually('a ping', () => ping(m.container, other.container.ip));
  });

  it.each([
    ['deleted', ['link', 'del']],
    ['set down', ['link', 'set', 'down']],
  ])('need not be asked for when the device is %s: the kernel tells of it', async (_, command) => {
    const [m, other] = members as [Member, Member];
    await m.host.exec('ip', [...command, 'dev', m.overlay.device]);
    await eventually('a ping', () => ping(m.container, other.container.ip));
  });

  it('leaves the rules of the host’s owner alone', async () => {
    const [m] = members as [Member];
    await m.host.exec('iptables', ['-A', 'DOCKER-USER', '-s', '203.0.113.9', '-j', 'DROP']);
    await m.host.exec('iptables', ['-F', 'NAP-FORWARD']);
    await m.manager.audit();
    const { stdout } = await m.host.exec('iptables', ['-S', 'DOCKER-USER']);
    expect(stdout).toContain('203.0.113.9');
  });

  it('puts its jump before a RETURN that Docker appended', async () => {
    const [m, other] = members as [Member, Member];
    await m.host.exec('iptables', ['-F', 'DOCKER-USER']);
    await m.host.exec('iptables', ['-A', 'DOCKER-USER', '-j', 'RETURN']);
    await m.host.exec('iptables', ['-A', 'DOCKER-USER', '-j', 'NAP-FORWARD']);
    await m.manager.audit();
    const { stdout } = await m.host.exec('iptables', ['-S', 'DOCKER-USER']);
    expect(stdout.match(/-A .*/g)).toEqual([
      '-A DOCKER-USER -j NAP-FORWARD',
      '-A DOCKER-USER -j RETURN',
    ]);
    await eventually('a ping', () => ping(m.container, other.container.ip));
  });
});

describe('hosts that come and go', () => {
  it('are reachable as soon as their record is there, and forgotten when it goes', async () => {
    const [a] = members as [Member];
    const late = await join();
    await eventually('a ping', () => ping(a.container, late.container.ip));
    await late.stop();
    members.pop();
    const key = subnetRecords.path({ subnet: late.overlay.subnet });
    await observer.commit([], [{ type: 'delete', key }]);
    await eventually('the tables forget the host', async () => {
      const { stdout } = await a.host.exec('ip', ['route', 'show', 'dev', a.overlay.device]);
      const fdb = await a.host.exec('bridge', ['fdb', 'show', 'dev', a.overlay.device]);
      return !stdout.includes(late.overlay.subnet) && !fdb.stdout.includes(late.host.address);
    });
  });

  it('may be of flannel’s make: a device by hand and a record in its format', async () => {
    const [a] = members as [Member];
    const host = await network.addHost();
    const flannel = { subnet: '10.77.200.0/24', gateway: '10.77.200.1', bridge: 'cni0', mtu: 1450 };
    const mac = '02:f1:a0:00:00:05';
    const run = (line: string): Promise<unknown> => {
      const [program = '', ...args] = line.split(' ');
      return host.exec(program, args);
    };
    await run(
      `ip link add flannel.1 address ${mac} mtu 1450 type vxlan id 1 local ${host.address} dev eth0 dstport 8472 nolearning`,
    );
    await run('ip link set flannel.1 up');
    await run('ip addr add 10.77.200.0/32 dev flannel.1');
    await run('sysctl -w net/ipv4/ip_forward=1');
    for (const m of members) {
      const record = await observer.get(subnetRecords.path({ subnet: m.overlay.subnet }));
      const lease = subnetRecords.decode(record?.value ?? '');
      const peerMac = lease.BackendData?.VtepMAC ?? '';
      const via = m.overlay.subnet.replace('/24', '');
      await run(`ip neigh replace ${via} lladdr ${peerMac} dev flannel.1 nud permanent`);
      await run(`bridge fdb append ${peerMac} dev flannel.1 dst ${lease.PublicIP}`);
      await run(`ip route replace ${m.overlay.subnet} via ${via} dev flannel.1 onlink`);
    }
    const container = await network.addContainer(host, flannel);
    await run('iptables -P FORWARD ACCEPT');
    const value = JSON.stringify({
      PublicIP: host.address,
      PublicIPv6: null,
      BackendType: 'vxlan',
      BackendData: { VNI: 1, VtepMAC: mac },
    });
    const key = '/coreos.com/network/subnets/10.77.200.0-24';
    await observer.commit([], [{ type: 'put', key, value }]);
    await eventually('a ping', () => ping(a.container, container.ip));
    await eventually('a ping', () => ping(container, a.container.ip));
    await observer.commit([], [{ type: 'delete', key }]);
  });

  it('cannot take another host’s traffic by a forged or broken record', async () => {
    const [a, b, c] = members as [Member, Member, Member];
    const stolen = await observer.get(subnetRecords.path({ subnet: b.overlay.subnet }));
    const key = '/coreos.com/network/subnets/10.77.250.0-24';
    const forged = (stolen?.value ?? '').replace(b.host.address, '10.99.0.66');
    await observer.commit([], [{ type: 'put', key, value: forged }]);
    await eventually('the problem is told', async () =>
      a.manager.problems().some((p) => p.includes('10.77.250.0/24')),
    );
    await ping(a.container, b.container.ip);
    await observer.commit([], [{ type: 'put', key, value: '{"PublicIP": 5' }]);
    await eventually('the problem is told', async () =>
      a.manager.problems().some((p) => p.includes('not JSON')),
    );
    await ping(a.container, c.container.ip);
    await observer.commit([], [{ type: 'delete', key }]);
    await eventually('no problem is told', async () => a.manager.problems().length === 0);
  });

  it('stay joined when a record of theirs is spoilt, and write it again when it is lost', async () => {
    const [a, b] = members as [Member, Member];
    const key = subnetRecords.path({ subnet: b.overlay.subnet });
    const good = (await observer.get(key))?.value;
    await eventually('a ping', () => ping(a.container, b.container.ip));
    const pings = pinging(a.container, b.container.ip);
    await pings.begun;
    await observer.commit([], [{ type: 'put', key, value: 'oops' }]);
    await eventually(
      'the record is written again',
      async () => (await observer.get(key))?.value === good,
    );
    expect(await pings.loss).toBe('0% packet loss');
    await observer.commit([], [{ type: 'delete', key }]);
    await eventually(
      'the record is written again',
      async () => (await observer.get(key))?.value === good,
    );
    await eventually('a ping', () => ping(a.container, b.container.ip));
  });
});

describe('a new agent', () => {
  it('adopts what its predecessor left, without losing a packet', async () => {
    const [m, other] = members as [Member, Member];
    const pings = pinging(other.container, m.container.ip);
    await pings.begun;
    await m.stop();
    const next = manage(m.host, m.problems);
    const overlay = await next.manager.ensure();
    expect(overlay).toEqual(m.overlay);
    members[0] = { ...m, ...next };
    await eventually('an audit', async () => next.manager.counters.audits > 0);
    expect(await pings.loss).toBe('0% packet loss');
    expect(next.manager.counters).toMatchObject({ repairs: 0, tableChanges: 0 });
  });

  it('changes nothing while the store is away, and catches up afterwards', async () => {
    const [, b] = members as [Member, Member];
    const store = new MemoryStore({ database });
    const host = await network.addHost();
    const manager = new NetworkManager({
      store,
      log: silentLogger,
      exec: host.exec,
      follow: host.follow,
    });
    const controller = new AbortController();
    const overlay = await manager.ensure();
    const running = manager.run(controller.signal);
    const container = await network.addContainer(host, overlay);
    await eventually('a ping', () => ping(container, b.container.ip));
    store.disconnect();
    await manager.audit();
    await ping(container, b.container.ip);
    const late = await join();
    store.reconnect();
    await eventually('a ping', () => ping(container, late.container.ip));
    controller.abort();
    await running;
  });

  it('says what is wrong with a network config that somebody broke, and recovers when it is corrected', async () => {
    const store = new MemoryStore();
    const host = await network.addHost();
    const manager = new NetworkManager({
      store,
      log: silentLogger,
      exec: host.exec,
      follow: host.follow,
    });
    const put = (value: string): Promise<unknown> =>
      store.commit([], [{ type: 'put', key: '/coreos.com/network/config', value }]);
    await put('{"Network":"10.0.0.0/30","Backend":{"Type":"vxlan"}}');
    await expect(manager.ensure()).rejects.toThrow(
      '/coreos.com/network/config: network 10.0.0.0/30 is too small',
    );
    expect(manager.problems()).toEqual([expect.stringContaining('too small')]);
    await put('{"Network":"10.44.0.0/16","Backend":{"Type":"vxlan","VNI":7}}');
    expect((await manager.ensure()).network).toBe('10.44.0.0/16');
    expect(manager.problems()).toEqual([]);
  });
});

describe('a host that did not forward before', () => {
  it('does so for the overlay, and for nobody else', async () => {
    const host = await network.addHost();
    await host.exec('sysctl', ['-w', 'net/ipv4/ip_forward=0']);
    const store = new MemoryStore({ database });
    await new NetworkManager({
      store,
      log: silentLogger,
      exec: host.exec,
      follow: host.follow,
    }).ensure();
    const { stdout } = await host.exec('iptables', ['-S', 'FORWARD']);
    expect(stdout).toContain('-P FORWARD DROP');
    expect((await host.exec('sysctl', ['-n', 'net/ipv4/ip_forward'])).stdout.trim()).toBe('1');
  });
});

describe('a path that carries less than its ends say', () => {
  it('is told by every host that has it, with what it carries', async () => {
    const host = await network.addHost();
    await network.narrow(host, 1400);
    const narrow = manage(host, []);
    try {
      await narrow.manager.ensure();
      const what = `${host.address} carries packets of 1400 bytes at most`;
      const isTold = ({ manager }: Member): boolean =>
        manager.problems().some((each) => each.includes(what));
      // Some 12 sizes are tried, at two seconds for each that is too large, after the path that is being tried just now.
      await eventually('it is told', () => members.every(isTold), 90_000);
    } finally {
      await narrow.stop();
    }
  });
});

describe('throughput', () => {
  it('over the overlay is a good part of what the wire gives', async () => {
    const [a, b] = members as [Member, Member];
    const measure = async (
      from: Pick<TestHost, 'exec'>,
      to: Pick<TestHost, 'exec'>,
      ip: string,
    ): Promise<number> => {
      const stop = new AbortController();
      const server = to.exec('iperf3', ['-s'], { timeoutMs: 30_000 }, stop.signal);
      const ended = server.catch(() => undefined);
      const rate = await eventually(
        'a measurement',
        async () => {
          // Its exit status says nothing: it prints why there is no result.
          const args = ['-c', ip, '-t', '2', '-J'];
          const { stdout } = await from.exec('iperf3', args, { timeoutMs: 10_000 });
          const { end } = JSON.parse(stdout) as {
            end: { sum_received?: { bits_per_second: number } };
          };
          return end.sum_received?.bits_per_second;
        },
        20_000,
      ).finally(() => {
        stop.abort();
      });
      await ended;
      return rate;
    };
    const wire = await measure(a.host, b.host, b.host.address);
    const overlay = await measure(a.container, b.container, b.container.ip);
    expect(overlay / wire).toBeGreaterThan(0.1);
  });
});
