import { beforeAll, describe, expect, test } from 'vitest';
import { dockerChain, tableName } from '../../src/network/nftables/ruleset.ts';
import type { Container } from '../support/box.ts';
import { agentHealthPort } from '../support/control-plane.ts';
import {
  box,
  cleansUp,
  conditions,
  containers,
  eventually,
  hosts,
  kubectl,
  project,
  resolve,
  settles,
} from './harness.ts';

/** How long the adversary is at it, in seconds; a minute is what is promised. */
const stormSeconds = Number(process.env['NAP_E2E_STORM'] ?? '15');
/** The agents' `--audit-interval`, and the time that an audit takes on a busy machine. */
const withinMs = 30_000 + 15_000;
const victim = 'h2';

/** One thing of each kind that a host's network is made of, and what its repair is counted as. */
const deeds: Readonly<Record<string, string>> = {
  forwarding: `bridge fdb show dev nap.1 | { read mac rest; bridge fdb del $mac dev nap.1; }`,
  neighbour: `ip -4 neigh show dev nap.1 nud permanent | { read ip rest; ip neigh del $ip dev nap.1; }`,
  route: `ip -4 route show dev nap.1 via | { read net rest; ip route del $net dev nap.1; }; ip route flush dev nap.1`,
  sysctl: `sysctl -qw net.ipv4.ip_forward=0`,
  'docker-chain': `iptables -w 5 -D DOCKER-USER -j ${dockerChain}`,
  bridge: `ip -4 addr flush dev nap0`,
  element: `nft list maps ip | awk '$1 == "map" { print $2 }' | while read map; do nft flush map ip ${tableName} $map; done`,
  chain: `nft flush chain ip ${tableName} overlay-postrouting`,
  device: `ip link del nap.1`,
};

/** Does what it can: an audit may be at the same thing, or not have made again yet what an earlier deed has taken away. */
async function spoil(script: string): Promise<void> {
  await box.sh(victim, ['sh', '-c', script]);
}

async function deleteTable(): Promise<void> {
  await box.run(victim, 'nft', 'delete', 'table', 'ip', tableName);
}

/** What the kernel of the host holds, in an order of its own. */
async function kernelState(): Promise<readonly string[]> {
  const commands = [
    'ip -4 route show dev nap.1',
    'ip -4 neigh show dev nap.1 nud permanent',
    'bridge fdb show dev nap.1',
    `nft list table ip ${tableName}`,
    'iptables -S DOCKER-USER',
    `iptables -S ${dockerChain}`,
    'sysctl net.ipv4.ip_forward net.ipv4.conf.nap/1.rp_filter',
    'ip -4 -o addr show dev nap0',
  ];
  const { stdout } = await box.sh(victim, ['sh', '-c', `${commands.join(';')} 2>&1`]);
  return stdout
    .split(/[\s,]+/)
    .filter((word) => word !== '')
    .sort();
}

async function repairs(): Promise<ReadonlyMap<string, number>> {
  const url = `http://127.0.0.1:${agentHealthPort}/metrics`;
  const { stdout } = await box.sh(victim, ['curl', '-sSfm5', url]);
  const lines = stdout.matchAll(/^nap_audit_repairs_total\{kind="([^"]+)"\} (\d+)$/gm);
  return new Map([...lines].map(([, kind = '', count]) => [kind, Number(count)]));
}

describe('an agent whose host is meddled with', () => {
  cleansUp('audited');
  let web: Container[];
  let here: Container;
  let healthy: readonly string[];

  /** From every host to the service, and from the host that was spoilt to each instance. */
  async function allReachable(): Promise<void> {
    for (const from of web) {
      const seen = await box.exec(from, 'curl', '-sSm2', 'http://web/');
      expect(seen).toMatch(/^audited-web-\d\n$/);
    }
    const ips = await resolve(here, 'tasks.web');
    expect(ips).toHaveLength(hosts.length);
    for (const ip of ips) await box.exec(here, 'curl', '-sSm2', `http://${ip}/`);
  }

  beforeAll(async () => {
    const command = ['sh', '-c', 'hostname >/tmp/index.html; exec httpd -f -p 80 -h /tmp'];
    const spread = { placement: { maxPerHost: 1 } };
    await kubectl.apply([project('audited', { web: { command, replicas: 3, ...spread } })]);
    await kubectl.wait('project/audited');
    web = await containers('audited');
    here = web.find(({ host }) => host === victim)!;
    await settles(
      'nothing is left to repair',
      async () => {
        expect(await conditions(`host/${victim}`)).toMatchObject({
          NetworkReady: { status: 'True', reason: 'AsItShouldBe' },
        });
      },
      90_000,
    );
    // Chains that earlier agents of this host have left would not be made again.
    await deleteTable();
    await box.signal(victim, 'USR2', 'nap.js agent');
    await settles('the table stands', async () => {
      healthy = await kernelState();
      await allReachable();
      expect(await kernelState()).toEqual(healthy);
    });
  });

  test('has everything as it was within one period, has counted it, and says so', async () => {
    const before = await repairs();
    const end = performance.now() + stormSeconds * 1_000;
    while (performance.now() < end) {
      for (const deed of Object.values(deeds)) await spoil(deed);
      await new Promise((resume) => setTimeout(resume, 1_000));
    }
    await deleteTable();
    await settles(
      'all is as it was',
      async () => {
        expect(await kernelState()).toEqual(healthy);
        await allReachable();
      },
      withinMs,
    );
    // An audit counts and tells when it is done: then the kernel has been right for a moment.
    await settles('it was counted', async () => {
      const after = await repairs();
      for (const kind of Object.keys(deeds)) {
        expect(after.get(kind), kind).toBeGreaterThan(before.get(kind)!);
      }
    });
    await settles('it is said', async () => {
      const { NetworkReady: told, Ready: ready } = await conditions(`host/${victim}`);
      expect(told).toMatchObject({ status: 'True', reason: 'Repaired' });
      expect(told!.message).toContain('overlay-postrouting');
      expect(ready!.status).toBe('True');
      const events = await kubectl.run('get', 'events', '-A', '-o', 'jsonpath={.items[*].reason}');
      expect(events).toContain('NetworkRepaired');
    });
    // Nobody has taken the host for lost meanwhile.
    expect((await containers('audited')).map(({ id }) => id).sort()).toEqual(
      web.map(({ id }) => id).sort(),
    );
  });

  test('looks at once when it is asked to', async () => {
    await deleteTable();
    await box.signal(victim, 'USR2', 'nap.js agent');
    await settles(
      'all is as it was',
      async () => {
        expect(await kernelState()).toEqual(healthy);
      },
      10_000,
    );
  });

  test('says what it cannot put right', async () => {
    // Something else sits where the overlay has to be: whoever puts it there has to be faster than the agent.
    const isThere = 'ip -d link show nap.1 | grep -qw bridge';
    const put = 'ip link del nap.1; ip link add nap.1 type bridge';
    const tries = `for try in $(seq 50); do ${isThere} && break; ${put}; done; ${isThere}`;
    await box.run(victim, 'sh', '-c', tries);
    await box.signal(victim, 'USR2', 'nap.js agent');
    await settles('the condition says so', async () => {
      const { NetworkReady: told } = await conditions(`host/${victim}`);
      expect(told).toMatchObject({ status: 'False', reason: 'NetworkProblem' });
      expect(told!.message).toContain('interface nap.1 exists, but is a "bridge"');
    });
    await box.run(victim, 'ip', 'link', 'del', 'nap.1');
    await box.signal(victim, 'USR2', 'nap.js agent');
    await eventually('it is right again', async () => {
      const { NetworkReady: told } = await conditions(`host/${victim}`);
      return told?.status === 'True';
    });
    await settles('all is reachable', allReachable);
  });
});
