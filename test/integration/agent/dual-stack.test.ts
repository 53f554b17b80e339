import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { AddressBook } from '../../../src/agent/addresses/address-book.ts';
import { AddressFeed } from '../../../src/agent/addresses/address-feed.ts';
import type { LocalNetwork } from '../../../src/agent/options.ts';
import { ipv6Of, parseIpv6Prefix } from '../../../src/network/address/dual-stack.ts';
import { parseIpv4 } from '../../../src/network/address/cidr.ts';
import type { Store } from '../../../src/registry/store.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/telemetry/log.ts';
import { TestDocker, testImage } from '../../support/docker.ts';
import { TestEtcd } from '../../support/etcd.ts';
import { eventually } from '../../support/eventually.ts';
import { key, openTestStore, Operator, RunningAgent, spec } from './harness.ts';

/** Containers of a real engine on a network with IPv6, and what becomes of them when that is switched. */
const plain: LocalNetwork = {
  subnet: '10.77.1.0/24',
  gateway: '10.77.1.1',
  dockerOptions: { 'com.docker.network.bridge.name': 'nap0' },
};
const dual: LocalNetwork = {
  ...plain,
  ipv6Subnet: 'fd00:77::a4d:100/120',
  ipv6Gateway: 'fd00:77::a4d:101',
};
const prefix = parseIpv6Prefix('fd00:77::/64');
const twinOf = (ipv4: string): string => ipv6Of(prefix, parseIpv4(ipv4));
/** As /proc/net/if_inet6 has it. */
const digitsOf = (ipv4: string): string =>
  `fd000077${'0'.repeat(16)}${parseIpv4(ipv4).toString(16).padStart(8, '0')}`;

let docker: TestDocker;
let etcd: TestEtcd;
let store: Store;
let operator: Operator;
let agent: RunningAgent | undefined;
let directory: string;

beforeAll(async () => {
  [docker, etcd] = await Promise.all([TestDocker.start(), TestEtcd.start()]);
  store = await openTestStore(etcd);
  operator = new Operator(store);
  directory = await mkdtemp(join(tmpdir(), 'nap-dual-'));
}, 120_000);

afterAll(async () => {
  await store.close();
  await docker.stop();
  await etcd.stop();
  await rm(directory, { recursive: true });
});

afterEach(async () => {
  await agent?.stop();
  agent = undefined;
});

async function start(local: LocalNetwork): Promise<void> {
  const ended = (signal: AbortSignal): Promise<void> =>
    new Promise((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener('abort', () => {
        resolve();
      });
    });
  agent = new RunningAgent(
    docker,
    store,
    {},
    {
      network: {
        ensure: async () => local,
        dockerNetworkStands: () => undefined,
        run: ended,
        problems: () => [],
        onProblems: () => undefined,
      },
      addresses: {
        book: new AddressBook('nap', () => systemClock.monotonic()),
        feed: new AddressFeed({ store, log: silentLogger, clock: systemClock }),
      },
    },
  );
  await eventually('host is ready', async () => (await operator.host())?.ready, 60_000);
}

async function inspect(id: string): Promise<{ GlobalIPv6Address: string; IPAddress: string }> {
  const text = await docker.cli(
    'inspect',
    '--format',
    '{{json .NetworkSettings.Networks.nap}}',
    id,
  );
  return JSON.parse(text) as { GlobalIPv6Address: string; IPAddress: string };
}

const hasIpv6 = (): Promise<string> =>
  docker.cli('network', 'inspect', '--format', '{{.EnableIPv6}}', 'nap');

/** The instance as it serves, with or without an IPv6 address. */
function serving(ordinal: number, ipv6: boolean) {
  return eventually(
    `instance ${String(ordinal)} serves`,
    async () => {
      const [record, endpoint] = [
        await operator.instance(key(ordinal)),
        await operator.endpoint(key(ordinal)),
      ];
      if (record?.containerId === undefined || !record.ready || endpoint === undefined) return;
      if ((endpoint.ipv6_addr !== undefined) !== ipv6) return;
      return { id: record.containerId, endpoint };
    },
    60_000,
  );
}

describe('containers with IPv6', { timeout: 240_000 }, () => {
  it('have the twin of their address, and keep both when they are started again', async () => {
    await start(dual);
    await operator.place(key(1), spec());
    const { id, endpoint } = await serving(1, true);
    const { ipv4_addr: short, ipv6_addr: long } = endpoint;
    expect(long).toBe(twinOf(short));
    expect(await inspect(id)).toMatchObject({ IPAddress: short, GlobalIPv6Address: long });
    expect(await docker.cli('exec', id, 'cat', '/proc/net/if_inet6')).toContain(digitsOf(short));
    await docker.cli('restart', '-t', '0', id);
    await eventually(
      'it runs again',
      async () => (await inspect(id)).GlobalIPv6Address === long,
      60_000,
    );
    expect(await hasIpv6()).toBe('true');
  });

  it('are taken over by the next agent', async () => {
    await start(dual);
    const { id } = await serving(1, true);
    await operator.place(key(2), spec());
    await serving(2, true);
    expect((await serving(1, true)).id).toBe(id);
  });

  it('are told apart from one that has the twin of what is given out next', async () => {
    await start(dual);
    const used = await Promise.all([1, 2].map(async (n) => (await serving(n, true)).endpoint));
    // What an agent that has just started gives out next: the highest that is free. In IPv6 only, somebody else has it.
    const next = Array.from({ length: 20 }, (_, i) => `10.77.1.${String(254 - i)}`).find(
      (address) => used.every((endpoint) => endpoint.ipv4_addr !== address),
    )!;
    const at = ['--network', 'nap', '--ip', '10.77.1.20', '--ip6', twinOf(next)];
    await docker.cli('run', '-d', '--name', 'other', ...at, testImage, 'sleep', '999');
    await operator.place(key(3), spec());
    const { endpoint } = await serving(3, true);
    expect(endpoint.ipv4_addr).not.toBe(next);
    expect(endpoint.ipv6_addr).toBe(twinOf(endpoint.ipv4_addr));
    await docker.cli('rm', '-f', 'other');
    await operator.unplace(key(3));
  });

  it('of hooks have one of their own', async () => {
    await start(dual);
    const command = ['sh', '-c', 'cat /proc/net/if_inet6 >/log/hook'];
    await operator.place(
      key(4),
      spec({
        mounts: [{ type: 'bind', source: directory, target: '/log', readOnly: false }],
        hooks: { startPre: [{ command }] },
      }),
    );
    const { endpoint } = await serving(4, true);
    const seen = await readFile(join(directory, 'hook'), 'utf8');
    expect(seen).toMatch(/^fd000077/m);
    expect(seen).not.toContain(digitsOf(endpoint.ipv4_addr));
    await operator.unplace(key(4));
  });

  it("are told of addresses of both families, through the engine's own resolver", async () => {
    await start(dual);
    const { id } = await serving(1, true);
    const script = new URL('../dns/serve.ts', import.meta.url).pathname;
    const server = docker.spawnInNetwork(
      ...[process.execPath, '--import', 'tsx', script, dual.gateway],
    );
    try {
      const ask = (type: string): Promise<string> =>
        docker
          .cli('exec', id, 'busybox', 'nslookup', `-type=${type}`, 's.p.ns.nap.local')
          .catch(String);
      await eventually('AAAA', async () => /fd00:77::c000:207/.test(await ask('aaaa')), 60_000);
      await eventually('A', async () => /192\.0\.2\.7/.test(await ask('a')), 60_000);
    } finally {
      const gone = new Promise((resolve) => server.once('exit', resolve));
      server.kill('SIGKILL');
      await gone;
    }
  });

  it('are made anew without when it is switched off, and with it when it is on again', async () => {
    await start(plain);
    const { id, endpoint } = await serving(1, false);
    expect(endpoint).not.toHaveProperty('ipv6_addr');
    expect(await hasIpv6()).toBe('false');
    expect((await inspect(id)).GlobalIPv6Address).toBe('');
    await serving(2, false);
    await agent?.stop();
    await start(dual);
    const again = await serving(1, true);
    expect((await inspect(again.id)).GlobalIPv6Address).toBe(twinOf(again.endpoint.ipv4_addr));
  });
});
