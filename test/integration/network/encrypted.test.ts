import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, unlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AuditBook } from '../../../src/agent/audit/audit-book.ts';
import type { FindingKind } from '../../../src/agent/audit/finding.ts';
import { ExecError, type Exec } from '../../../src/agent/host/exec.ts';
import { NetworkManager } from '../../../src/agent/host/network-manager.ts';
import type { NetworkProblem, OverlayInfo } from '../../../src/agent/host/network-options.ts';
import { parseCidr } from '../../../src/network/address/cidr.ts';
import { tunnelAddress } from '../../../src/network/overlay/tunnel.ts';
import { MemoryDatabase } from '../../../src/registry/memory/database.ts';
import { MemoryStore } from '../../../src/registry/memory/store.ts';
import { subnetRecords, type SubnetLease } from '../../../src/registry/records/subnet.ts';
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
  readonly tunnel: string;
  readonly keyPath: string;
  readonly stop: () => Promise<void>;
}

const encrypted = JSON.stringify({
  Network: '10.77.0.0/16',
  Backend: { Type: 'vxlan', Encryption: 'wireguard' },
});
const configPath = '/coreos.com/network/config';
const database = new MemoryDatabase();
const observer = new MemoryStore({ database });
const network = new TestNetwork({ prefix: '10.97.0' });
const id = randomBytes(3).toString('hex');
const members: Member[] = [];
/** Every host that may have a tunnel. */
const tunnels: { readonly host: TestHost; readonly tunnel: string }[] = [];
let directory: string;

/** The programs of all namespaces find each other in one /run/wireguard: each host's device has a name of its own. */
function placesOf(host: TestHost): Pick<Member, 'tunnel' | 'keyPath'> {
  const n = host.address.split('.').at(-1) ?? '';
  return { tunnel: `wg${id}${n}`, keyPath: join(directory, n, 'wireguard.key') };
}

/** As on a kernel without WireGuard, whatever this one has: it is wireguard-go that these tests find, kill and hide. */
function withoutModule(exec: Exec): Exec {
  return (command, args, options, signal) =>
    args.join(' ').endsWith(' type wireguard')
      ? Promise.reject(
          new ExecError(command, { exitCode: 2, stderr: 'Error: Unknown device type.' }),
        )
      : exec(command, args, options, signal);
}

function manage(
  host: TestHost,
  problems: NetworkProblem[] = [],
  options: { readonly store?: MemoryStore; readonly exec?: Exec } = {},
): Pick<Member, 'manager' | 'audits' | 'tunnel' | 'keyPath' | 'stop'> {
  const audits = new AuditBook(systemClock);
  const places = placesOf(host);
  tunnels.push({ host, tunnel: places.tunnel });
  const manager = new NetworkManager({
    store: options.store ?? new MemoryStore({ database }),
    log: silentLogger,
    exec: withoutModule(options.exec ?? host.exec),
    follow: host.follow,
    tunnelDevice: places.tunnel,
    tunnelKeyPath: places.keyPath,
    onProblem: (problem) => problems.push(problem),
    audits,
    // Never by itself within a test: what is repaired is so because somebody asked for it, or the kernel told of it.
    auditIntervalMs: 600_000,
  });
  const controller = new AbortController();
  const running = manager.run(controller.signal);
  return {
    ...{ manager, audits, ...places },
    stop: async () => {
      controller.abort();
      await running;
    },
  };
}

async function addMember(): Promise<Member> {
  const host = await network.addHost();
  const problems: NetworkProblem[] = [];
  const parts = manage(host, problems);
  const overlay = await parts.manager.ensure();
  const container = await network.addContainer(host, overlay);
  const member = { host, overlay, container, problems, ...parts };
  members.push(member);
  return member;
}

/** One ping of `size` bytes of data that must not be fragmented. */
async function ping(from: { exec: Exec }, to: string, size = 56): Promise<true> {
  await from.exec('ping', ['-c', '1', '-W', '1', '-M', 'do', '-s', String(size), to]);
  return true;
}

async function leaseOf(subnet: string): Promise<SubnetLease> {
  const entry = await observer.get(subnetRecords.path({ subnet }));
  return subnetRecords.decode(entry?.value ?? '');
}

async function put(key: string, value: string): Promise<void> {
  await observer.commit([], [{ type: 'put', key, value }]);
}

async function del(key: string): Promise<void> {
  await observer.commit([], [{ type: 'delete', key }]);
}

/** What goes over a host's cable while `action` runs, as tcpdump writes it. */
async function captured(host: TestHost, action: () => Promise<unknown>): Promise<Buffer> {
  const file = join(directory, `${randomBytes(4).toString('hex')}.pcap`);
  const stop = new AbortController();
  const args = ['-i', 'eth0', '-U', '-Z', 'root', '-w', file];
  const dump = host
    .exec('tcpdump', args, { timeoutMs: 100_000 }, stop.signal)
    .catch((error: unknown) => {
      if (!(error instanceof ExecError && error.cancelled)) throw error;
    });
  const neighbour = members.find((m) => m.host !== host)?.host.address ?? '';
  const size = async (): Promise<number> => (await readFile(file)).length;
  try {
    await eventually('tcpdump runs', async () => (await size()) > 0);
    await action();
    // A last packet in the clear, which has to be seen: so what is not seen has not been there.
    await eventually('the end is seen', async () => {
      await shout(host, neighbour, 'end-of-capture');
      return (await readFile(file)).includes('end-of-capture');
    });
    return await readFile(file);
  } finally {
    stop.abort();
    await dump;
  }
}

/** Sends `text` in a packet of UDP. */
async function shout(from: { exec: Exec }, to: string, text: string): Promise<void> {
  const script = `const s = require('dgram').createSocket('udp4'); s.send(${JSON.stringify(text)}, 9999, '${to}', () => s.close())`;
  await from.exec(process.execPath, ['-e', script]);
}

/** Has `of` send to `gateway`, in the clear, whatever it has no better way for. */
async function actAsGateway(gateway: TestHost, of: TestHost): Promise<void> {
  const { stdout } = await gateway.exec('ip', ['-j', 'link', 'show', 'dev', 'eth0']);
  const [{ address }] = JSON.parse(stdout) as [{ address: string }];
  const neighbour = ['10.97.0.254', 'lladdr', address, 'dev', 'eth0', 'nud', 'permanent'];
  await of.exec('ip', ['neigh', 'replace', ...neighbour]);
}

/** Received packets of a device. */
async function received(host: TestHost, device: string): Promise<number> {
  const { stdout } = await host.exec('ip', ['-s', '-j', 'link', 'show', 'dev', device]);
  const [link] = JSON.parse(stdout) as [{ stats64: { rx: { packets: number } } }];
  return link.stats64.rx.packets;
}

async function programOf({ host, tunnel }: Pick<Member, 'host' | 'tunnel'>): Promise<number> {
  const { stdout } = await host.exec('ip', ['netns', 'pids', host.name]);
  for (const pid of stdout.trim().split('\n')) {
    const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (line.split('\0').slice(0, 2).join(' ') === `wireguard-go ${tunnel}`) return Number(pid);
  }
  throw new Error(`no wireguard-go for ${tunnel}`);
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nap-encrypted-'));
  await network.start();
  await put(configPath, encrypted);
  for (let i = 0; i < 3; i++) await addMember();
});

afterAll(async () => {
  for (const member of members) await member.stop();
  // wireguard-go ends with its device.
  for (const { host, tunnel } of tunnels) {
    await host.exec('ip', ['link', 'del', tunnel]).catch(() => undefined);
  }
  await network.stop();
  await rm(directory, { recursive: true, force: true });
});

describe('an encrypted overlay of three hosts', () => {
  it('joins every container with every other one, by keys that the records tell', async () => {
    for (const a of members) {
      for (const b of members) {
        if (a !== b) await eventually('a ping', () => ping(a.container, b.container.ip));
      }
    }
    for (const m of members) {
      const { BackendData } = await leaseOf(m.overlay.subnet);
      const { stdout } = await m.host.exec('wg', ['show', m.tunnel, 'public-key']);
      expect(BackendData?.WireGuardPublicKey).toBe(stdout.trim());
      expect(m.manager.problems()).toEqual([]);
    }
  });

  it('carries packets of the full MTU in one piece, and none larger', async () => {
    const [a, b] = members as [Member, Member];
    expect(a.overlay.mtu).toBe(1370);
    await ping(a.container, b.container.ip, 1370 - 28);
    await expect(ping(a.container, b.container.ip, 1371 - 28)).rejects.toThrow();
  });

  it('shows nobody on the way what is said', async () => {
    const [a, b] = members as [Member, Member];
    const pcap = await captured(b.host, async () => {
      await shout(a.container, b.container.ip, 'a-secret-of-the-overlay');
      await ping(a.container, b.container.ip);
      await shout(a.host, b.container.ip, 'a-secret-of-the-overlay');
      await shout(b.container, a.container.ip, 'a-secret-of-the-overlay');
    });
    expect(pcap.includes('a-secret-of-the-overlay')).toBe(false);
    // Nor who speaks: the addresses of the containers.
    const [one, two] = [a, b].map(({ container }) => container.ip.split('.').map(Number));
    expect(pcap.includes(Buffer.from([...one!, ...two!]))).toBe(false);
    expect(pcap.includes(Buffer.from([...two!, ...one!]))).toBe(false);
  });

  it('takes nothing that is forged on the way', async () => {
    const [, b] = members as [Member, Member];
    const forger = await network.addHost();
    const mac = (await leaseOf(b.overlay.subnet)).BackendData?.VtepMAC ?? '';
    const target = b.overlay.subnet.replace('/24', '');
    await b.host.exec('ip', ['addr', 'add', 'fd99::2/64', 'dev', 'eth0', 'nodad']);
    for (const line of [
      'ip addr add fd99::66/64 dev eth0 nodad',
      'ip link add forged type vxlan id 1 local fd99::66 dev eth0 dstport 8472 nolearning',
      'ip link set forged up',
      'ip addr add 10.77.66.0/32 dev forged',
      `bridge fdb append ${mac} dev forged dst fd99::2`,
      `ip neigh replace ${target} lladdr ${mac} dev forged nud permanent`,
      `ip route add ${target} dev forged`,
    ]) {
      const [program = '', ...args] = line.split(' ');
      await forger.exec(program, args);
    }
    const forge = async (): Promise<number> => {
      const before = await received(b.host, b.overlay.device);
      // Ports that nobody uses, so that none of the answers of others is counted for them.
      for (let i = 0; i < 5; i++) await shout(forger, target, `forged ${i}`);
      return (await received(b.host, b.overlay.device)) - before;
    };
    // Once the forger knows its neighbour, they arrive: without the rule, the kernel takes them.
    const chain = ['ip6', 'nap', 'tunnel-prerouting'];
    await b.host.exec('nft', ['flush', 'chain', ...chain]);
    await eventually('forged packets that are taken', async () => (await forge()) >= 5);
    expect((await b.manager.audit()).map(({ kind }) => kind)).toEqual(['chain']);
    expect(await forge()).toBeLessThan(5);
  });
});

describe('audit', () => {
  type Wound = (m: Member, other: Member) => Promise<readonly string[]> | readonly string[];
  const keyOf = async (m: Member): Promise<string> =>
    (await m.host.exec('wg', ['show', m.tunnel, 'public-key'])).stdout.trim();
  const stranger = Buffer.alloc(32, 9).toString('base64');
  const wounds: readonly (readonly [string, FindingKind, Wound])[] = [
    ['the device deleted', 'tunnel', (m) => ['ip', 'link', 'del', m.tunnel]],
    ['the device set down', 'tunnel', (m) => ['ip', 'link', 'set', m.tunnel, 'down']],
    ['its address deleted', 'tunnel', (m) => ['ip', '-6', 'addr', 'flush', 'dev', m.tunnel]],
    ['a wrong MTU', 'tunnel', (m) => ['ip', 'link', 'set', m.tunnel, 'mtu', '1300']],
    ['a wrong port', 'tunnel', (m) => ['wg', 'set', m.tunnel, 'listen-port', '51999']],
    ['a wrong key', 'tunnel', (m, o) => ['wg', 'set', m.tunnel, 'private-key', o.keyPath]],
    [
      'a peer removed',
      'tunnel-peer',
      async (m, o) => ['wg', 'set', m.tunnel, 'peer', await keyOf(o), 'remove'],
    ],
    [
      'a peer that may send from other addresses',
      'tunnel-peer',
      async (m, o) => ['wg', 'set', m.tunnel, 'peer', await keyOf(o), 'allowed-ips', '::/0'],
    ],
    [
      'a peer with a preshared key',
      'tunnel-peer',
      async (m, o) => ['wg', 'set', m.tunnel, 'peer', await keyOf(o), 'preshared-key', m.keyPath],
    ],
    [
      'a stranger among the peers',
      'tunnel-peer',
      (m) => ['wg', 'set', m.tunnel, 'peer', stranger, 'allowed-ips', 'fd77::1/128'],
    ],
    ['the dead end deleted', 'route', () => ['ip', 'route', 'del', 'unreachable', '10.77.0.0/16']],
    ['the filter deleted', 'chain', () => ['nft', 'delete', 'table', 'ip6', 'nap']],
  ];

  it.each(wounds)('repairs %s, counts it and says so', async (_, kind, command) => {
    const [m, other] = members as [Member, Member];
    await m.manager.audit();
    m.problems.length = 0;
    const repairs = m.audits.counts.get(kind)!;
    const [program = '', ...args] = await command(m, other);
    await m.host.exec(program, args);
    // The kernel's own hint may have led to the repair already, or be about it: an old program may have to end first.
    await eventually('an audit', async () => {
      await m.manager.audit();
      return m.audits.counts.get(kind)! > repairs;
    });
    await eventually('a ping', () => ping(m.container, other.container.ip), 60_000);
    expect(m.problems.map((p) => p.state)).toContain('repaired');
    expect(await m.manager.audit()).toEqual([]);
  });

  it('need not be asked for when the program that encrypts is killed', async () => {
    const [m, other] = members as [Member, Member];
    await ping(m.container, other.container.ip);
    const first = await programOf(m);
    process.kill(first, 'SIGKILL');
    await eventually('another program', async () => (await programOf(m)) !== first);
    // Handshakes are tried again after five seconds only.
    await eventually('a ping', () => ping(m.container, other.container.ip), 20_000);
    await eventually('no problem is told', () => m.manager.problems().length === 0);
  });

  it('leaves a peer where it has moved to, if its packets come from there', async () => {
    const [m, other] = members as [Member, Member];
    const { host } = other;
    // As seen by the others, its packets come from another port than it listens on.
    const rule = ['-p', 'udp', '--sport', '51821', '-j', 'SNAT', '--to', `${host.address}:40000`];
    await host.exec('iptables', ['-t', 'nat', '-A', 'POSTROUTING', '-o', 'eth0', ...rule]);
    await host.exec('conntrack', ['-D', '-p', 'udp']).catch(() => undefined);
    const endpoint = async (): Promise<string> =>
      (await m.host.exec('wg', ['show', m.tunnel, 'endpoints'])).stdout;
    await eventually('it has moved', async () => {
      await ping(other.container, m.container.ip).catch(() => undefined);
      return (await endpoint()).includes(`${host.address}:40000`);
    });
    expect(await m.manager.audit()).toEqual([]);
    expect(await endpoint()).toContain(`${host.address}:40000`);
    await host.exec('iptables', ['-t', 'nat', '-D', 'POSTROUTING', '-o', 'eth0', ...rule]);
    await host.exec('conntrack', ['-D', '-p', 'udp']).catch(() => undefined);
    await eventually('it has moved back', async () => {
      await ping(other.container, m.container.ip).catch(() => undefined);
      return (await endpoint()).includes(`${host.address}:51821`);
    });
  });
});

describe('the tunnel', () => {
  it('carries VXLAN and nothing else', async () => {
    const [a, b] = members as [Member, Member];
    const address = tunnelAddress(parseCidr(b.overlay.subnet));
    await a.host.exec('ping', ['-c', '1', '-W', '5', address]);
    const script =
      "require('net').createServer((s) => s.end()).listen(7777, '::', () => console.log('listening'))";
    const stop = new AbortController();
    const server = b.host.exec(process.execPath, ['-e', script], {}, stop.signal);
    const ended = server.catch(() => undefined);
    const connect = (to: string): Promise<unknown> =>
      a.host.exec(
        process.execPath,
        [
          '-e',
          `const s = require('net').connect(7777, '${to}'); s.on('error', () => process.exit(1)); s.on('connect', () => process.exit(0))`,
        ],
        { timeoutMs: 2000 },
      );
    await eventually('a connection', () => connect(b.host.address).then(() => true));
    await expect(connect(address)).rejects.toThrow();
    stop.abort();
    await ended;
  });
});

describe('a host without a key of its own', () => {
  const subnet = '10.77.200.0/24';
  const key = subnetRecords.path({ subnet });
  const recordOf = (host: TestHost, WireGuardPublicKey?: unknown): string =>
    JSON.stringify({
      PublicIP: host.address,
      PublicIPv6: null,
      BackendType: 'vxlan',
      BackendData: { VNI: 1, VtepMAC: '02:f1:a0:00:00:05', WireGuardPublicKey },
    });

  it('is told, and gets nothing, neither in the clear nor otherwise', async () => {
    const [a, b] = members as [Member, Member];
    const host = await network.addHost();
    const others = (await leaseOf(b.overlay.subnet)).BackendData?.WireGuardPublicKey;
    await actAsGateway(host, a.host);
    const pcap = await captured(host, async () => {
      for (const [value, reason] of [
        [undefined, 'it has no WireGuardPublicKey, and this host sends nothing in the clear'],
        ['oops', 'its WireGuardPublicKey "oops" is not a key of WireGuard'],
        [others, 'its WireGuardPublicKey is also that of another host'],
      ] as const) {
        await put(key, recordOf(host, value));
        await eventually(`it is told: ${reason}`, () =>
          a.manager.problems().some((each) => each.includes(subnet) && each.includes(reason)),
        );
        await shout(a.container, '10.77.200.2', 'a-secret-of-the-overlay');
        await expect(ping(a.container, '10.77.200.2')).rejects.toThrow();
        await ping(a.container, b.container.ip);
      }
    });
    expect(pcap.includes('a-secret-of-the-overlay')).toBe(false);
    const { stdout } = await a.host.exec('wg', ['show', a.tunnel, 'dump']);
    expect(stdout).not.toContain(`${host.address}:`);
    expect(stdout).not.toContain(tunnelAddress(parseCidr(subnet)));
    await del(key);
    await eventually('no problem is told', () => a.manager.problems().length === 0);
  });
});

describe('a tunnel that is gone', () => {
  it('makes nothing go in the clear, though nobody repairs it', async () => {
    const [m, other] = members as [Member, Member];
    const gateway = await network.addHost();
    await actAsGateway(gateway, m.host);
    await m.stop();
    process.kill(await programOf(m), 'SIGKILL');
    const devices = async (): Promise<string> => (await m.host.exec('ip', ['-br', 'link'])).stdout;
    await eventually('the devices are gone', async () => !/nap\.1/.test(await devices()));
    const say = (from: { exec: Exec }, to: string, text: string): Promise<unknown> =>
      // The kernel may refuse to send it at all.
      shout(from, to, text).catch(() => undefined);
    const pcap = await captured(gateway, async () => {
      await say(m.container, other.container.ip, 'a-secret-of-the-overlay');
      await say(m.host, other.container.ip, 'a-secret-of-the-overlay');
      await say(m.host, '192.0.2.1', 'what-is-not-secret');
    });
    expect(pcap.includes('what-is-not-secret')).toBe(true);
    expect(pcap.includes('a-secret-of-the-overlay')).toBe(false);
    const next = manage(m.host, m.problems);
    expect(await next.manager.ensure()).toEqual(m.overlay);
    members[0] = { ...m, ...next };
    await eventually('a ping', () => ping(m.container, other.container.ip), 60_000);
  });
});

describe('a new agent', () => {
  it('adopts what its predecessor left, without losing a packet', async () => {
    const [m, other] = members as [Member, Member];
    await eventually('a ping', () => ping(other.container, m.container.ip));
    const program = await programOf(m);
    const pings = pinging(other.container, m.container.ip);
    await pings.begun;
    await m.stop();
    const next = manage(m.host, m.problems);
    expect(await next.manager.ensure()).toEqual(m.overlay);
    members[0] = { ...m, ...next };
    await eventually('an audit', () => next.manager.counters.audits > 0);
    expect(await pings.loss).toBe('0% packet loss');
    expect(next.manager.counters).toMatchObject({ repairs: 0, tableChanges: 0 });
    expect(await programOf(m)).toBe(program);
  });

  it('leaves a host where it was whose record nobody can read', async () => {
    const [m, other] = members as [Member, Member];
    const key = subnetRecords.path({ subnet: '10.77.201.0/24' });
    const late = await network.addHost();
    const parts = manage(late);
    const overlay = await parts.manager.ensure();
    const container = await network.addContainer(late, overlay);
    await eventually('a ping', () => ping(m.container, container.ip));
    await parts.stop();
    await m.stop();
    await put(subnetRecords.path({ subnet: overlay.subnet }), 'oops');
    const next = manage(m.host, m.problems);
    await next.manager.ensure();
    members[0] = { ...m, ...next };
    await eventually('it is told', () =>
      next.manager.problems().some((each) => each.includes(overlay.subnet)),
    );
    await next.manager.audit();
    await ping(m.container, container.ip);
    await ping(m.container, other.container.ip);
    await del(key);
    await del(subnetRecords.path({ subnet: overlay.subnet }));
    await eventually('the tunnel forgets the host', async () => {
      const { stdout } = await m.host.exec('wg', ['show', m.tunnel, 'endpoints']);
      return !stdout.includes(late.address);
    });
  });

  it('makes another key when its own is lost, and the others follow', async () => {
    const [m, other] = members as [Member, Member];
    const before = (await leaseOf(m.overlay.subnet)).BackendData?.WireGuardPublicKey;
    await m.stop();
    await unlink(m.keyPath);
    const next = manage(m.host, m.problems);
    expect(await next.manager.ensure()).toEqual(m.overlay);
    members[0] = { ...m, ...next };
    expect((await leaseOf(m.overlay.subnet)).BackendData?.WireGuardPublicKey).not.toBe(before);
    await eventually('a ping', () => ping(other.container, m.container.ip), 60_000);
    await eventually('a ping', () => ping(m.container, other.container.ip));
    const { stdout } = await other.host.exec('wg', ['show', other.tunnel, 'peers']);
    expect(stdout).not.toContain(before as string);
    expect(stdout.trim().split('\n')).toHaveLength(2);
  });

  it('goes over to encryption and back as the network config says, and never in the clear', async () => {
    const own = new MemoryDatabase();
    const store = new MemoryStore({ database: own });
    const config = (value: string): Promise<unknown> =>
      store.commit([], [{ type: 'put', key: configPath, value }]);
    const host = await network.addHost();
    const devices = async (): Promise<string> => (await host.exec('ip', ['-br', 'link'])).stdout;
    const plain = '{"Network":"10.77.0.0/16","Backend":{"Type":"vxlan"}}';

    await config(plain);
    const first = manage(host, [], { store });
    const { subnet, mtu } = await first.manager.ensure();
    expect(mtu).toBe(1450);
    await first.stop();
    // As an agent leaves them that routed directly.
    const direct = ['10.77.250.0/24', 'via', '10.97.0.250', 'dev', 'eth0', 'table', '1778'];
    await host.exec('ip', ['route', 'add', ...direct, 'proto', '178']);
    const rule = ['from', '10.77.0.0/16', 'to', '10.77.0.0/16', 'lookup', '1778'];
    await host.exec('ip', ['rule', 'add', 'pref', '17781', ...rule, 'protocol', '178']);

    await config(encrypted);
    const without =
      (missing: string): Exec =>
      (command, args, options, signal) =>
        command === missing
          ? Promise.reject(new ExecError(command, { notFound: true, why: 'not installed' }))
          : host.exec(command, args, options, signal);
    for (const [program, advice] of [
      ['wireguard-go', /its kernel lacks the module "wireguard".*apt-get install wireguard-go/],
      ['wg', /this host has no "wg": apt-get install wireguard-tools/],
    ] as const) {
      const lacking = manage(host, [], { store, exec: without(program) });
      await expect(lacking.manager.ensure()).rejects.toThrow(advice);
      expect(lacking.manager.problems()).toEqual([expect.stringMatching(advice)]);
      // What there was would go on in the clear.
      expect(await devices()).not.toContain('nap.1');
      expect((await host.exec('ip', ['rule', 'show'])).stdout).not.toContain('1778');
      await lacking.stop();
    }
    const second = manage(host, [], { store });
    expect(await second.manager.ensure()).toMatchObject({ subnet, mtu: 1370 });
    await second.stop();
    expect(await devices()).toContain(second.tunnel);

    await config(plain);
    const third = manage(host, [], { store });
    expect(await third.manager.ensure()).toMatchObject({ subnet, mtu: 1450 });
    await third.stop();
    expect(await devices()).not.toContain(second.tunnel);
    expect((await host.exec('nft', ['list', 'tables'])).stdout).not.toContain('ip6 nap');
    const routes = await host.exec('ip', ['route', 'show', 'type', 'unreachable']);
    expect(routes.stdout.trim()).toBe('');
    const record = await store.get(subnetRecords.path({ subnet }));
    expect(record?.value).not.toContain('WireGuard');
  });

  it('never takes the default config, which does not encrypt, for one that was lost', async () => {
    const store = new MemoryStore({ database: new MemoryDatabase() });
    const commit = (...operations: Parameters<MemoryStore['commit']>[1]): Promise<unknown> =>
      store.commit([], operations);
    const host = await network.addHost();
    await commit({ type: 'put', key: configPath, value: encrypted });
    const first = manage(host, [], { store });
    const { subnet } = await first.manager.ensure();
    await first.stop();
    await commit({ type: 'delete', key: configPath });
    const refuses = async (at: TestHost, by: RegExp): Promise<void> => {
      const { manager, stop } = manage(at, [], { store });
      await expect(manager.ensure()).rejects.toThrow(by);
      expect(manager.problems()).toEqual([
        expect.stringMatching(/network\/config is not there.*was encrypted.*write it again/),
      ]);
      await stop();
      expect(await store.get(configPath)).toBeUndefined();
    };
    const another = await network.addHost();
    await refuses(another, /the record \S+ has a WireGuardPublicKey/);
    await commit({ type: 'delete', key: subnetRecords.path({ subnet }) });
    await refuses(host, /nap\.1 sends through an encrypted tunnel/);
    await host.exec('ip', ['link', 'del', 'nap.1']);
    await refuses(host, new RegExp(`${first.tunnel} is that of an encrypted tunnel`));
    await host.exec('ip', ['link', 'del', first.tunnel]);
    await refuses(host, /ip route show type unreachable proto 179/);
    // It goes on by itself when there is one again.
    const waiting = manage(host, [], { store });
    await eventually('it is told', () => waiting.manager.problems().length > 0);
    await commit({ type: 'put', key: configPath, value: encrypted });
    await eventually('it goes on', () => waiting.manager.current !== undefined);
    await eventually('no problem is told', () => waiting.manager.problems().length === 0);
    await waiting.stop();
    // A key alone shows nothing: it stays for good, whatever the overlay is.
    await host.exec('ip', ['link', 'del', first.tunnel]);
    await host.exec('ip', ['route', 'flush', 'type', 'unreachable']);
    await commit({ type: 'delete', key: configPath });
    for (const { key } of (await store.list(subnetRecords.prefix)).entries) {
      await commit({ type: 'delete', key });
    }
    expect((await readFile(first.keyPath, 'utf8')).trim()).not.toBe('');
    const fresh = manage(host, [], { store });
    expect(await fresh.manager.ensure()).toMatchObject({ mtu: 1450 });
    await fresh.stop();
  });

  it('has what is left of another network go nowhere for as long as this host has an address in it', async () => {
    const store = new MemoryStore({ database: new MemoryDatabase() });
    const host = await network.addHost();
    const config = (value: object): Promise<unknown> => {
      const text = JSON.stringify({ ...(JSON.parse(encrypted) as object), ...value });
      return store.commit([], [{ type: 'put', key: configPath, value: text }]);
    };
    const ends = async (): Promise<string[]> => {
      const show = (family: string) =>
        host.exec('ip', [family, 'route', 'show', 'type', 'unreachable', 'proto', '179']);
      const text = (await show('-4')).stdout + (await show('-6')).stdout;
      return [...text.matchAll(/unreachable (\S+)/g)].map(([, to]) => to ?? '').sort();
    };
    const ipv6 = { EnableIPv6: true, IPv6Network: 'fd00:77::/64' };
    await config(ipv6);
    const first = manage(host, [], { store });
    const { gateway } = await first.manager.ensure();
    await first.stop();
    expect(await ends()).toEqual(['10.77.0.0/16', 'fd00:77::a4d:0/112']);
    await host.exec('ip', ['link', 'add', 'nap0', 'type', 'bridge']);
    await host.exec('ip', ['addr', 'add', `${gateway}/24`, 'dev', 'nap0']);
    await config({ ...ipv6, Network: '10.76.0.0/15' });
    const second = manage(host, [], { store });
    await second.manager.ensure();
    // The new network holds the old one, and the bridge's address is in both: there is nothing left of the old alone.
    await second.manager.ensure();
    expect(await ends()).toEqual(['10.76.0.0/15', 'fd00:77::a4c:0/111']);
    await second.stop();
    await config({ ...ipv6, Network: '10.88.0.0/16', IPv6Network: 'fd00:88::/64' });
    const third = manage(host, [], { store });
    await third.manager.ensure();
    await third.manager.ensure();
    const wanted = ['10.88.0.0/16', 'fd00:88::a58:0/112'];
    // The second agent has given the bridge its address in IPv6, too.
    expect(await ends()).toEqual([...wanted, '10.76.0.0/15', 'fd00:77::a4c:0/111'].sort());
    await host.exec('ip', ['link', 'del', 'nap0']);
    await third.manager.ensure();
    expect(await ends()).toEqual(wanted);
    await third.stop();
    await config({ ...ipv6, Network: '10.99.0.0/16', Backend: { Type: 'vxlan' } });
    const plain = manage(host, [], { store });
    await plain.manager.ensure();
    expect(await ends()).toEqual([]);
    await plain.stop();
  });

  it('carries IPv6 as well, and the rules of both live in one table', async () => {
    const database = new MemoryDatabase();
    const store = new MemoryStore({ database });
    const dual = { EnableIPv6: true, IPv6Network: 'fd00:77::/64' };
    const config = (value: string): Promise<unknown> => {
      const both = JSON.stringify({ ...(JSON.parse(value) as object), ...dual });
      return store.commit([], [{ type: 'put', key: configPath, value: both }]);
    };
    await config(encrypted);
    const join = async () => {
      const host = await network.addHost();
      const parts = manage(host, [], { store: new MemoryStore({ database }) });
      const overlay = await parts.manager.ensure();
      return { host, overlay, container: await network.addContainer(host, overlay), ...parts };
    };
    const [one, two] = [await join(), await join()];
    const passes = () =>
      eventually('a ping', () => ping(one.container, two.container.ipv6, 1370 - 48));
    await passes();
    const chains = async () => (await one.host.exec('nft', ['list', 'table', 'ip6', 'nap'])).stdout;
    expect(await chains()).toMatch(/overlay6-postrouting[^]*tunnel-prerouting/);
    // What has no way in the overlay, and the overlay's own way.
    const gone = await one.host.exec('ip', ['-6', 'route', 'show', 'type', 'unreachable']);
    expect(gone.stdout).toContain('fd00:77::a4d:0/112');
    await one.stop();
    await two.stop();

    await config('{"Network":"10.77.0.0/16","Backend":{"Type":"vxlan"}}');
    const plain = [one, two].map(({ host }) =>
      manage(host, [], { store: new MemoryStore({ database }) }),
    );
    for (const { manager } of plain) await manager.ensure();
    await passes();
    expect(await chains()).toContain('overlay6-postrouting');
    expect(await chains()).not.toContain('tunnel-prerouting');
    const none = await one.host.exec('ip', ['-6', 'route', 'show', 'type', 'unreachable']);
    expect(none.stdout.trim()).toBe('');
    for (const { stop } of plain) await stop();
  });

  it('says which port is taken', async () => {
    const host = await network.addHost();
    const stop = new AbortController();
    const script = "require('dgram').createSocket('udp4').bind(51821)";
    const other = host.exec(process.execPath, ['-e', script], { timeoutMs: 60_000 }, stop.signal);
    const ended = other.catch(() => undefined);
    await eventually('it listens', async () =>
      (await host.exec('ss', ['-uln'])).stdout.includes(':51821 '),
    );
    const database = new MemoryDatabase();
    const store = new MemoryStore({ database });
    await store.commit([], [{ type: 'put', key: configPath, value: encrypted }]);
    const late = manage(host, [], { store });
    await expect(late.manager.ensure()).rejects.toThrow(
      /UDP port 51821.*is used by another program.*EncryptionPort/,
    );
    stop.abort();
    await ended;
    await eventually('it has its port', () => late.manager.ensure());
    await late.stop();
  });
});
