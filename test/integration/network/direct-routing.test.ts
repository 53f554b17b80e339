import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  networkConfigPath,
  networkConfigRecords,
  subnetRecords,
} from '../../../src/registry/records/subnet.ts';
import { virtualRangePath, virtualRangeRecords } from '../../../src/registry/records/index.ts';
import { hear, say } from '../../support/datagrams.ts';
import { eventually as poll } from '../../support/eventually.ts';
import type { TestContainer, TestHost } from '../../support/netns.ts';
import { Members, type Member } from './members.ts';
import { pinging } from './pinging.ts';

const members = new Members('10.99.7', true);
/** On one segment. */
let a: Member;
let b: Member;
/** Behind a router. */
let distant: Member;
/** On the segment, and not in the overlay. */
let outside: TestHost;

type Place = Pick<TestHost, 'exec'>;

const eventually = <T>(what: string, probe: () => T | Promise<T>) => poll(what, probe, 60_000, 50);
const first = (member: Member): TestContainer => member.containers[0]!;

async function putConfig(backend: object): Promise<void> {
  const value = networkConfigRecords.encode({
    Network: '10.77.0.0/16',
    Backend: { Type: 'vxlan', ...backend },
  });
  await members.store.commit([], [{ type: 'put', key: networkConfigPath, value }]);
}

/** All its containers are instances of one project. */
function own(member: Member): void {
  members.own(member, new Map(member.containers.map((each) => [each, 'web'])));
}

/** The device by which packets of a member's first container go to a container elsewhere. */
async function wayOf(from: Member, to: string): Promise<string> {
  const args = ['-4', 'route', 'get', to, 'from', first(from).ip, 'iif', from.overlay.bridge];
  return / dev (\S+)/.exec((await from.host.exec('ip', args)).stdout)?.[1] ?? '';
}

const goesBy = (device: string, from: Member, to: Member): Promise<unknown> =>
  eventually(`${from.host.address} reaches ${first(to).ip} by ${device}`, async () =>
    (await wayOf(from, first(to).ip)).includes(device),
  );

async function areDirect(one: Member, other: Member): Promise<void> {
  await goesBy('eth0', one, other);
  await goesBy('eth0', other, one);
}

/** Counts what leaves a host for another, in the tunnel and as it is. */
async function watch(host: TestHost): Promise<void> {
  const rules = `add table ip watch
add chain ip watch out { type filter hook postrouting priority 300; }
add set ip watch tunnel { type ipv4_addr; flags dynamic; counter; }
add set ip watch direct { type ipv4_addr; flags dynamic; counter; }
add rule ip watch out oifname "eth0" udp dport 8472 update @tunnel { ip daddr }
add rule ip watch out oifname "eth0" ip daddr 10.77.0.0/16 update @direct { ip daddr }`;
  await host.exec('nft', ['-f', '-'], { input: rules });
}

async function sent(from: Member, to: Member): Promise<{ tunnel: number; direct: number }> {
  const count = async (set: string, address: string): Promise<number> => {
    const { stdout } = await from.host.exec('nft', ['list', 'set', 'ip', 'watch', set]);
    return Number(new RegExp(`${address} counter packets (\\d+)`).exec(stdout)?.[1] ?? 0);
  };
  return {
    tunnel: await count('tunnel', to.host.address),
    direct: await count('direct', first(to).ip),
  };
}

/** What `action` has `from` send to `to`. */
async function during(from: Member, to: Member, action: () => Promise<unknown>) {
  const before = await sent(from, to);
  await action();
  const after = await sent(from, to);
  return { tunnel: after.tunnel - before.tunnel, direct: after.direct - before.direct };
}

const ping = (from: Place, to: string, ...more: readonly string[]) =>
  from.exec('ping', ['-c', '1', '-W', '1', ...more, to]);
/** Sends for three seconds, has `action` run meanwhile, and says what was lost. */
async function lossWhile(
  from: TestContainer,
  to: string,
  action: () => Promise<unknown>,
): Promise<string> {
  const pings = pinging(from, to);
  await pings.begun;
  await action();
  return pings.loss;
}

beforeAll(async () => {
  await putConfig({ DirectRouting: true });
  await members.start();
  const value = virtualRangeRecords.encode({ ranges: ['10.78.0.0/16'] });
  await members.store.commit([], [{ type: 'put', key: virtualRangePath, value }]);
  const strict = async (): Promise<TestHost> => {
    const host = await members.network.addHost();
    await host.exec('sysctl', ['-qw', 'net/ipv4/conf/all/rp_filter=1']);
    return host;
  };
  a = await members.join(2, await strict());
  b = await members.join(2, await strict());
  outside = await members.network.addHost();
  distant = await members.join(1, await members.network.addDistantHost());
  await members.putService('web', {});
  for (const member of [a, b, distant]) {
    await watch(member.host);
    await members.serve(first(member));
    own(member);
  }
  await areDirect(a, b);
  await eventually('the distant one is reached', () => ping(first(a), first(distant).ip));
});

afterAll(() => members.stop());

describe('direct routing', () => {
  it('is for hosts on one segment; to others, the tunnel leads', async () => {
    const five = (from: Member, to: Member) => () => ping(first(from), first(to).ip, '-c5', '-i.1');
    expect(await during(a, b, five(a, b))).toEqual({ tunnel: 0, direct: 5 });
    expect(await during(b, a, five(a, b))).toEqual({ tunnel: 0, direct: 5 });
    for (const [from, to] of [
      [a, distant],
      [distant, a],
    ] as const) {
      expect(await wayOf(from, first(to).ip)).toBe('nap.1');
      expect(await during(from, to, five(a, distant))).toEqual({ tunnel: 5, direct: 0 });
    }
    await eventually('nothing is told', () => a.manager.problems().length === 0);
  });

  it('shows the address of the container or host that calls', async () => {
    const callers = [...a.containers, first(distant)].map((each) => [each, each.ip] as const);
    for (const [from, address] of callers) {
      const seen = await members.call(from, first(b).ip, { count: 3 });
      expect(seen.map(({ client }) => client)).toEqual(Array(3).fill(address));
    }
    for (const protocol of ['tcp', 'udp'] as const) {
      const [seen] = await members.call(a.host, first(b).ip, { count: 1, protocol });
      expect(seen?.client).toBe(a.overlay.gateway.replace(/1$/, '0'));
    }
  });

  it('leaves the MTU of the overlay as it is, for paths are mixed', async () => {
    expect(a.overlay.mtu).toBe(1450);
    await ping(first(a), first(b).ip, '-M', 'do', '-s', '1422');
    await ping(first(a), first(distant).ip, '-M', 'do', '-s', '1422');
  });

  it('serves virtual IPs, by all paths', async () => {
    const vip = '10.78.0.9';
    await members.putService('web', { virtualIP: vip });
    for (const [i, each] of [a, b, distant].entries()) {
      await members.setEndpoint('web', i + 1, first(each).ip);
    }
    const servers = [a, b, distant].map((each) => first(each).ip).sort();
    for (const protocol of ['tcp', 'udp'] as const) {
      for (const from of [a.containers[1]!, b.containers[1]!, a.host, distant.host]) {
        await eventually(`all are led to, by ${protocol}`, async () => {
          const seen = await members.call(from, vip, { count: 30, protocol });
          const found = [...new Set(seen.map(({ server }) => server))].sort();
          return found.join() === servers.join();
        });
      }
      const seen = await members.call(a.containers[1]!, vip, { count: 20, protocol });
      expect(new Set(seen.map(({ client }) => client))).toEqual(new Set([a.containers[1]!.ip]));
    }
  });

  it.each(['tcp', 'udp'] as const)(
    'keeps the tunnel for clients of mesh ports, whose addresses arrive, by %s',
    async (protocol) => {
      const port = 7000;
      await members.putService('web', {
        ports: [{ port: 7777, protocol }],
        mesh: [{ port, protocol, target: 7777 }],
      });
      for (const ordinal of [1, 3]) await members.setEndpoint('web', ordinal, undefined);
      await members.setEndpoint('web', 2, first(b).ip);
      const call = (from: Place, entry: Member) =>
        members.call(from, entry.host.address, { count: 5, port, protocol });
      const only = new Set([first(b).ip]);
      for (const entry of [a, b, distant]) {
        await eventually(`${entry.host.address} leads to the only instance`, async () =>
          (await call(outside, entry)).every(({ server }) => only.has(server)),
        );
        expect(new Set((await call(outside, entry)).map(({ client }) => client))).toEqual(
          new Set([outside.address]),
        );
      }
      const there = await during(a, b, () => call(outside, a));
      expect(there.direct).toBe(0);
      expect(there.tunnel).toBeGreaterThanOrEqual(5);
      // From the hosts themselves, and from containers through their own host and through others.
      const places = [a.host, b.host, distant.host, a.containers[1]!, first(b), first(distant)];
      for (const from of places) {
        for (const entry of [a, b, distant]) {
          expect(new Set((await call(from, entry)).map(({ server }) => server))).toEqual(only);
        }
      }
      // Not under its own address, which may not be let in.
      const [seen] = await call(a.containers[1]!, a);
      expect(seen?.client).toBe(a.overlay.gateway.replace(/1$/, '0'));
      await members.putService('web', {});
    },
  );

  it('drops what comes under an address that is not the sender’s', async () => {
    const to = first(a).ip;
    const heard = await hear(first(a));
    await outside.exec('ip', ['route', 'add', `${to}/32`, 'via', a.host.address]);
    // From the segment: as instances of a host there, of one elsewhere, and of the one that is spoken to.
    for (const source of [first(b).ip, first(distant).ip, a.containers[1]!.ip]) {
      await say(outside, source, to);
    }
    // From a host on the segment, as instances of another one.
    await b.host.exec('ip', ['route', 'add', `${to}/32`, 'via', a.host.address]);
    await say(b.host, first(distant).ip, to);
    // From elsewhere, as an instance of a host on the segment.
    await say(distant.host, first(b).ip, to);
    await b.host.exec('ip', ['route', 'del', `${to}/32`]);
    // From an instance, as one of another host.
    await say(a.containers[1]!, first(b).ip, to);
    await say(b.containers[1]!, first(distant).ip, to);
    await say(b.containers[1]!, first(a).ip.replace(/2$/, '9'), to);
    // And what is true.
    await say(b.containers[1]!, b.containers[1]!.ip, to);
    await say(first(distant), first(distant).ip, to);
    await eventually('what is true is heard', () => heard.from.size >= 2);
    expect([...heard.from].sort()).toEqual([b.containers[1]!.ip, first(distant).ip].sort());
    heard.child.kill('SIGKILL');
  });

  it('is no way round isolation', async () => {
    members.own(a, new Map([[first(a), 'blog/blog']]));
    await eventually('it is another project’s', () =>
      ping(first(b), first(a).ip).then(
        () => false,
        () => true,
      ),
    );
    expect(await wayOf(b, first(a).ip)).toBe('eth0');
    await ping(b.host, first(a).ip);
    own(a);
    await eventually('it is of the project', () => ping(first(b), first(a).ip));
  });
});

describe('what others break', () => {
  it.each([
    ['a direct route', () => ['route', 'del', b.overlay.subnet, 'table', '1778']],
    ['all direct routes', () => ['route', 'flush', 'table', '1778']],
    ['the rule', () => ['rule', 'del', 'pref', '17781']],
  ])('costs no packet and is repaired: %s', async (_, command) => {
    a.problems.length = 0;
    const loss = await lossWhile(first(a), first(b).ip, async () => {
      await a.host.exec('ip', command());
      await goesBy('eth0', a, b);
    });
    expect(loss).toBe('0% packet loss');
    expect(a.problems.map(({ state }) => state)).toContain('repaired');
    expect(await a.manager.audit()).toEqual([]);
  });

  it('is repaired where a route leads to a wrong host', async () => {
    const route = ['route', 'replace', b.overlay.subnet, 'via', outside.address, 'table', '1778'];
    await a.host.exec('ip', route);
    await a.manager.audit();
    await ping(first(a), first(b).ip);
    expect(await wayOf(a, first(b).ip)).toBe('eth0');
  });
});

describe('a path that changes', () => {
  it('is taken again when the cable is put back in', async () => {
    await members.network.setCable(a.host, false);
    await members.network.setCable(a.host, true);
    await a.host.exec('ip', ['route', 'replace', 'default', 'via', '10.99.7.254']);
    await areDirect(a, b);
    await eventually('it is reached', () => ping(first(a), first(b).ip));
  });

  it('leads through the tunnel while there is a gateway on it, without losing a packet', async () => {
    const gateway = ['route', 'add', `${b.host.address}/32`, 'via', '10.99.7.254'];
    const loss = await lossWhile(first(a), first(b).ip, async () => {
      await a.host.exec('ip', gateway);
      await a.manager.audit();
      await goesBy('nap.1', a, b);
    });
    expect(loss).toBe('0% packet loss');
    // The other side still comes directly, and is let in.
    expect(await wayOf(b, first(a).ip)).toBe('eth0');
    const back = await lossWhile(first(a), first(b).ip, async () => {
      await a.host.exec('ip', ['route', 'del', `${b.host.address}/32`]);
      await a.manager.audit();
      await goesBy('eth0', a, b);
    });
    expect(back).toBe('0% packet loss');
  });

  it('is not used before packets have passed on it, which is told', async () => {
    const host = await members.network.addHost();
    // As clouds do it.
    const rules = `add table ip cloud
add chain ip cloud in { type filter hook prerouting priority -400; }
add rule ip cloud in iifname "eth0" ip saddr 10.77.0.0/16 drop`;
    await host.exec('nft', ['-f', '-'], { input: rules });
    const late = await members.join(1, host);
    own(late);
    await eventually('it is reached', () => ping(first(a), first(late).ip));
    const told = (): string | undefined =>
      a.manager.problems().find((text) => text.includes(`host ${host.address} is on this`));
    await eventually('it is told', told);
    expect(await wayOf(a, first(late).ip)).toBe('nap.1');
    await ping(first(a), first(late).ip);
    await host.exec('nft', ['delete', 'table', 'ip', 'cloud']);
    await areDirect(a, late);
    await eventually('it is told no more', () => told() === undefined);
    await ping(first(a), first(late).ip);
  });

  it('leads to hosts of flannel’s make, with the option on, too', async () => {
    const host = await members.network.addHost();
    const subnet = '10.77.200.0/24';
    const flannel = { subnet, gateway: '10.77.200.1', bridge: 'cni0', mtu: 1450 };
    const mac = '02:f1:a0:00:00:05';
    // What flanneld does where it routes directly: no neighbour, no forwarding entry.
    for (const line of [
      `ip link add flannel.1 address ${mac} mtu 1450 type vxlan id 1 local ${host.address} dev eth0 dstport 8472 nolearning`,
      'ip link set flannel.1 up',
      'ip addr add 10.77.200.0/32 dev flannel.1',
      'sysctl -w net/ipv4/ip_forward=1',
      `ip route replace ${a.overlay.subnet} via ${a.host.address}`,
    ]) {
      const [program = '', ...args] = line.split(' ');
      await host.exec(program, args);
    }
    const container = await members.network.addContainer(host, flannel);
    await host.exec('iptables', ['-P', 'FORWARD', 'ACCEPT']);
    const value = subnetRecords.encode({
      ...{ PublicIP: host.address, PublicIPv6: null },
      ...{ BackendType: 'vxlan', BackendData: { VNI: 1, VtepMAC: mac } },
    });
    const key = subnetRecords.path({ subnet });
    await members.store.commit([], [{ type: 'put', key, value }]);
    await eventually('it is reached', () => ping(first(a), container.ip));
    await eventually('it is reached directly', async () =>
      (await wayOf(a, container.ip)).includes('eth0'),
    );
    await ping(first(a), container.ip);
    await members.store.commit([], [{ type: 'delete', key }]);
    await eventually('it is forgotten', async () => {
      const { stdout } = await a.host.exec('ip', ['route', 'show', 'table', '1778']);
      return !stdout.includes(subnet);
    });
  });

  it('is adopted by a new agent, which loses no packet', async () => {
    const loss = await lossWhile(first(b), first(a).ip, async () => {
      await a.stop();
      Object.assign(a, members.manage(a.host));
      await eventually('it is back', () => a.manager.current !== undefined);
      own(a);
      await eventually('an audit', () => a.manager.counters.audits > 0);
    });
    expect(loss).toBe('0% packet loss');
    expect(await wayOf(a, first(b).ip)).toBe('eth0');
    expect(a.manager.counters.repairs).toBe(0);
  });

  it('turns to the tunnel when the host moves, and open connections go on', async () => {
    const open = [
      members.call(a.containers[1]!, first(b).ip, { count: 1, echoes: 100, pauseMs: 100 }),
      members.call(b.containers[1]!, first(a).ip, { count: 1, echoes: 100, pauseMs: 100 }),
    ];
    for (const each of open) each.catch(() => undefined);
    await eventually('both are open', async () => {
      const args = ['-L', '-p', 'tcp', '--state', 'ESTABLISHED', '--orig-port-dst', '7777'];
      const { stdout } = await a.host.exec('conntrack', args);
      return stdout.split('\n').filter((line) => line.startsWith('tcp')).length >= 2;
    });
    const address = await members.network.plugIntoRouter(b.host, 'eth1');
    await b.stop();
    // The record is the host's, wherever it is; under another address it would take another subnet.
    const key = subnetRecords.path({ subnet: b.overlay.subnet });
    const record = subnetRecords.decode((await members.store.get(key))?.value ?? '');
    const value = subnetRecords.encode({ ...record, PublicIP: address });
    await members.store.commit([], [{ type: 'put', key, value }]);
    Object.assign(b, members.manage(b.host, address));
    await b.manager.ensure();
    own(b);
    await goesBy('nap.1', a, b);
    await goesBy('nap.1', b, a);
    await members.network.setCable(b.host, false);
    expect(await Promise.all(open)).toHaveLength(2);
    await eventually('it is reached', () => ping(first(a), first(b).ip));
  });
});

describe('the end of direct routing', () => {
  it('comes with the config, without losing a packet, and leaves nothing behind', async () => {
    const host = await members.network.addHost();
    const late = await members.join(1, host);
    own(late);
    await areDirect(a, late);
    const loss = await lossWhile(first(a), first(late).ip, async () => {
      await putConfig({});
      await goesBy('nap.1', a, late);
      await goesBy('nap.1', late, a);
    });
    expect(loss).toBe('0% packet loss');
    await a.stop();
    Object.assign(a, members.manage(a.host));
    await a.manager.ensure();
    own(a);
    expect((await a.host.exec('ip', ['rule', 'show'])).stdout).not.toMatch(/177[89]/);
    await eventually('it is reached', () => ping(first(a), first(late).ip));
  });

  it('that cannot be made sure of is told, and keeps the overlay from nothing', async () => {
    const host = await members.network.addHost();
    const route = ['10.77.250.0/24', 'via', '10.99.7.250', 'dev', 'eth0', 'table', '1778'];
    await host.exec('ip', ['route', 'add', ...route, 'proto', '178']);
    let isStrange = true;
    const parts = members.manage(host, undefined, async (command, args, options, signal) => {
      const result = await host.exec(command, args, options, signal);
      return isStrange && args.includes('rule') ? { ...result, stdout: '0: from all' } : result;
    });
    await parts.manager.ensure();
    const told = /DirectRouting is off, and it cannot be told .*ip rule did not print JSON/;
    expect(parts.manager.problems()).toContainEqual(expect.stringMatching(told));
    expect((await host.exec('ip', ['link', 'show', 'dev', 'nap.1'])).stdout).toContain('UP');
    isStrange = false;
    await parts.manager.ensure();
    expect(parts.manager.problems()).not.toContainEqual(expect.stringMatching(told));
    await eventually('nothing is left', async () => {
      const shown = host.exec('ip', ['route', 'show', 'table', '1778']);
      return shown.then(
        ({ stdout }) => stdout.trim() === '',
        () => true,
      );
    });
    await parts.stop();
  });
});
