import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AddressBook } from '../../../src/agent/addresses/address-book.ts';
import { AddressFeed } from '../../../src/agent/addresses/address-feed.ts';
import { hostExec, hostFollow } from '../../../src/agent/host/exec.ts';
import { NetworkManager } from '../../../src/agent/host/network-manager.ts';
import { ServiceFeed } from '../../../src/agent/service-feed.ts';
import { MemoryDatabase } from '../../../src/registry/memory/database.ts';
import { MemoryStore } from '../../../src/registry/memory/store.ts';
import {
  endpointRecords,
  hostRecords,
  instanceRecords,
  networkConfigPath,
  placementRecords,
  serviceRecords,
  virtualRangePath,
  virtualRangeRecords,
  type ContainerSpec,
  type InstanceKey,
} from '../../../src/registry/records/index.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/telemetry/log.ts';
import { TestDocker } from '../../support/docker.ts';
import { eventually } from '../../support/eventually.ts';
import { RunningAgent, spec } from './harness.ts';

/** Two hosts with a real engine and a real overlay each: containers of both families speak with whom they may. */
const database = new MemoryDatabase();
const store = new MemoryStore({ database });
const exec = hostExec();
const hosts: { docker: TestDocker; agent: RunningAgent }[] = [];

/** @param n of the host: its address on the segment is 10.98.7.n */
async function addHost(n: number, docker: TestDocker): Promise<void> {
  const address = `10.98.7.${n}`;
  await docker.inNetwork('ip', 'addr', 'add', `${address}/24`, 'dev', 'eth9');
  await docker.inNetwork('ip', 'addr', 'add', `fd98::${n}/64`, 'dev', 'eth9', 'nodad');
  await docker.inNetwork('ip', 'link', 'set', 'eth9', 'up');
  await docker.inNetwork('ip', 'route', 'add', 'default', 'via', '10.98.7.254');
  const line = new MemoryStore({ database });
  const common = { store: line, log: silentLogger, clock: systemClock };
  const services = new ServiceFeed(common);
  const addresses = {
    book: new AddressBook('nap', () => systemClock.monotonic()),
    feed: new AddressFeed(common),
  };
  const manager = new NetworkManager({
    ...{ ...common, services, addresses, address },
    exec: hostExec(docker.prefix),
    follow: hostFollow(docker.prefix),
  });
  const agent = new RunningAgent(
    docker,
    line,
    { hostName: `h${n}`, machineID: `machine-${n}`, address },
    {
      services,
      addresses,
      network: {
        ensure: (signal) => manager.ensure(signal),
        dockerNetworkStands: () => {
          manager.dockerNetworkStands();
        },
        run: (signal) => manager.run(signal),
        problems: () => manager.problems(),
        onProblems: () => undefined,
      },
    },
  );
  hosts.push({ docker, agent });
}

const keyOf = (project: string, ordinal: number): InstanceKey => ({
  ...{ namespace: 'default', project, service: 'web', ordinal: String(ordinal) },
});

async function place(
  host: number,
  project: string,
  ordinal: number,
  over: Partial<ContainerSpec> = {},
): Promise<void> {
  const key = keyOf(project, ordinal);
  const value = placementRecords.encode({
    ...{ id: `${project}-${ordinal}`, serviceUID: 'u', specHash: 's', placedAt: '' },
    container: spec({ hostname: `${project}-web-${ordinal}`, ...over }),
  });
  const path = placementRecords.path({ host: `h${host}`, ...key });
  await store.commit([], [{ type: 'put', key: path, value }]);
}

interface Place {
  readonly docker: TestDocker;
  readonly id: string;
  readonly ipv6: string;
}

function serving(host: number, project: string, ordinal: number): Promise<Place> {
  const key = keyOf(project, ordinal);
  return eventually(
    `${project} ${String(ordinal)} serves`,
    async () => {
      const record = await store.get(instanceRecords.path({ host: `h${host}`, ...key }));
      const endpoint = await store.get(endpointRecords.path(key));
      const id = record && instanceRecords.decode(record.value).containerId;
      const ipv6 = endpoint && endpointRecords.decode(endpoint.value).ipv6_addr;
      const { docker } = hosts[host - 1]!;
      return id !== undefined && ipv6 !== undefined && { docker, id, ipv6 };
    },
    60_000,
  );
}

const reaches = (from: Place, to: Place): Promise<boolean> =>
  from.docker.cli('exec', from.id, 'busybox', 'ping', '-6', '-c1', '-W1', to.ipv6).then(
    () => true,
    () => false,
  );

beforeAll(async () => {
  const dockers = await Promise.all([TestDocker.start(), TestDocker.start()]);
  const [one = '', other = ''] = dockers.map(({ prefix }) => prefix[1]?.split('/').at(-1));
  const peer = ['peer', 'name', 'eth9', 'netns', other];
  await exec('ip', ['link', 'add', 'eth9', 'netns', one, 'type', 'veth', ...peer]);
  const config = { Network: '10.77.0.0/16', EnableIPv6: true, IPv6Network: 'fd00:77::/64' };
  const put = (key: string, value: string) => ({ type: 'put' as const, key, value });
  await store.commit(
    [],
    [
      put(networkConfigPath, JSON.stringify({ ...config, Backend: { Type: 'vxlan' } })),
      put(virtualRangePath, virtualRangeRecords.encode({ ranges: ['10.78.0.0/16'] })),
      ...['shop', 'blog'].map((project) =>
        put(
          serviceRecords.path(keyOf(project, 1)),
          serviceRecords.encode({ uid: 'u', ports: [], links: [] }),
        ),
      ),
    ],
  );
  for (const [i, docker] of dockers.entries()) await addHost(i + 1, docker);
  for (const host of ['h1', 'h2']) {
    await eventually(
      `${host} is ready`,
      async () => {
        const entry = await store.get(hostRecords.path({ host }));
        return entry && hostRecords.decode(entry.value).ready;
      },
      60_000,
    );
  }
}, 180_000);

afterAll(async () => {
  for (const { agent } of hosts) await agent.stop();
  for (const { docker } of hosts) await docker.stop();
  await store.close();
});

describe('instances of real engines', { timeout: 180_000 }, () => {
  it('reach those of their project in IPv6, here and there, and no others', async () => {
    for (const [host, project, ordinal] of [
      [1, 'shop', 1],
      [1, 'shop', 2],
      [2, 'shop', 3],
      [1, 'blog', 1],
      [2, 'blog', 2],
    ] as const) {
      await place(host, project, ordinal);
    }
    const [a, near, far, foe, farFoe] = await Promise.all([
      serving(1, 'shop', 1),
      serving(1, 'shop', 2),
      serving(2, 'shop', 3),
      serving(1, 'blog', 1),
      serving(2, 'blog', 2),
    ]);
    for (const friend of [near, far]) {
      await eventually(`${friend.ipv6} is reached`, () => reaches(a, friend), 60_000);
      await eventually('and answers back', () => reaches(friend, a), 60_000);
    }
    await eventually(
      'so is what is another project to the first',
      () => reaches(foe, farFoe),
      60_000,
    );
    for (const stranger of [foe, farFoe]) expect(await reaches(a, stranger)).toBe(false);
  });

  it('answer on a published port of their host, in both families', async () => {
    await place(1, 'shop', 4, {
      command: ['httpd', '-f', '-p', '80', '-h', '/tmp'],
      ports: [{ containerPort: 80, protocol: 'tcp', hostPort: 8080 }],
    });
    await serving(1, 'shop', 4);
    const { docker } = hosts[1]!;
    const asked = 'printf "GET / HTTP/1.0\\r\\n\\r\\n" | busybox nc -w 3';
    for (const address of ['10.98.7.1', 'fd98::1']) {
      await eventually(
        `an answer at ${address}`,
        async () =>
          /HTTP\/1/.test(
            await docker.inNetwork('sh', '-c', `${asked} ${address} 8080`).catch(String),
          ),
        30_000,
      );
    }
  });
});
