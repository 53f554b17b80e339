import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventually } from '../../test/support/eventually.ts';
import { agentOptions, agentParts } from '../../test/support/agent-parts.ts';
import { FakeEngine } from '../../test/support/fake-engine.ts';
import { containerSpec } from '../../test/support/instances.ts';
import { MemoryStore } from '../registry/memory/store.ts';
import {
  endpointRecords,
  placementRecords,
  type ContainerSpec,
} from '../registry/records/index.ts';
import { systemClock } from '../runtime/clock.ts';
import { silentLogger } from '../telemetry/log.ts';
import { AddressBook } from './addresses/address-book.ts';
import { AddressFeed } from './addresses/address-feed.ts';
import { runAgent } from './agent.ts';
import type { LocalNetwork } from './options.ts';

const web = { namespace: 'default', project: 'shop', service: 'web', ordinal: '1' };
const plain: LocalNetwork = { subnet: '10.77.1.0/24', gateway: '10.77.1.1', dockerOptions: {} };
const dual: LocalNetwork = {
  ...plain,
  ipv6Subnet: 'fd00:77::a4d:100/120',
  ipv6Gateway: 'fd00:77::a4d:101',
};

let engine: FakeEngine;
let store: MemoryStore;
let network: LocalNetwork;
/** Called when the Docker network is said to stand. */
let stands: () => void;
let stop: () => Promise<void>;

beforeEach(() => {
  engine = new FakeEngine();
  engine.images.add('shop/web:1');
  store = new MemoryStore();
});

afterEach(async () => {
  await stop();
  await store.close();
});

function start(on: LocalNetwork): void {
  network = on;
  const end = new AbortController();
  const line = new MemoryStore({ database: store.database });
  const parts = agentParts(
    { store: line, engine },
    {
      addresses: {
        book: new AddressBook('nap', () => systemClock.monotonic()),
        feed: new AddressFeed({ store: line, log: silentLogger, clock: systemClock }),
      },
      machine: { cpus: 2, memoryBytes: 1, kernel: 'k' },
    },
    async () => network,
  );
  stands = () => undefined;
  const agent = runAgent(
    agentOptions({ auditMs: 50 }),
    {
      ...parts,
      network: {
        ...parts.network,
        dockerNetworkStands: () => {
          stands();
        },
      },
    },
    end.signal,
  );
  stop = async () => {
    end.abort();
    await agent.catch(() => undefined);
    await line.close();
  };
}

async function place(over: Partial<ContainerSpec> = {}): Promise<void> {
  const value = placementRecords.encode({
    ...{ id: 'a', serviceUID: 'u', specHash: 's', placedAt: '' },
    container: containerSpec({ stopGracePeriodMs: 100, ...over }),
  });
  await store.commit(
    [],
    [{ type: 'put', key: placementRecords.path({ host: 'h1', ...web }), value }],
  );
}

const endpoint = () => store.database.get(endpointRecords.path(web))?.value;
const serves = (where: RegExp) =>
  eventually(`it serves at ${where.source}`, () => where.test(endpoint() ?? '') && endpoint());

describe('an agent without IPv6', () => {
  it('says nothing of it: neither to the engine nor in records', async () => {
    start(plain);
    await place();
    expect(await serves(/"ipv4_addr"/)).toMatch(
      /^\{"host":"h1","ipv4_addr":"10\.77\.1\.\d+","ports":\[\]\}$/,
    );
    const [request] = [...engine.requests.values()];
    expect(request?.address).toEqual({ ipv4: '10.77.1.254' });
    expect(request?.network).toEqual({ name: 'nap', gateway: '10.77.1.1' });
    expect(await engine.inspectNetwork('nap')).not.toHaveProperty('ipv6');
  });
});

describe('an agent with IPv6', () => {
  it('gives each container the twin of its address, and tells of it', async () => {
    start(dual);
    await place();
    const record = await serves(/"ipv6_addr"/);
    expect(endpointRecords.decode(record)).toMatchObject({
      ipv4_addr: '10.77.1.254',
      ipv6_addr: 'fd00:77::a4d:1fe',
    });
    expect(await engine.inspectNetwork('nap')).toMatchObject({
      ipv6: { subnet: 'fd00:77::a4d:100/120', gateway: 'fd00:77::a4d:101' },
    });
  });

  it('takes over what an earlier one has made', async () => {
    start(dual);
    await place();
    await serves(/"ipv6_addr"/);
    await stop();
    const before = engine.containers.map(({ id }) => id);
    engine.calls.length = 0;
    start(dual);
    await serves(/"ipv6_addr"/);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(engine.containers.map(({ id }) => id)).toEqual(before);
    expect(engine.calls).toEqual([]);
  });

  it('gives the container of a hook the twin of its own address', async () => {
    start(dual);
    const asked: unknown[] = [];
    engine.runs = (request) => {
      asked.push(request.address);
      return 0;
    };
    await place({ hooks: { startPre: [{ command: ['migrate'] }] } });
    await serves(/"ipv6_addr"/);
    expect(asked).toEqual([{ ipv4: '10.77.1.253', ipv6: 'fd00:77::a4d:1fd' }]);
  });

  it('begins and ends while it runs: network and containers are made anew', async () => {
    start(plain);
    await place();
    await serves(/"ipv4_addr"/);
    const first = engine.containers[0]?.id;
    network = dual;
    await serves(/"ipv6_addr"/);
    const second = engine.containers[0]?.id;
    expect(second).not.toBe(first);
    network = plain;
    await eventually(
      'IPv6 has gone',
      async () => (await engine.inspectNetwork('nap'))?.ipv6 === undefined,
    );
    await eventually('it serves without', () => endpoint()?.includes('ipv6_addr') === false);
    expect(engine.containers).toHaveLength(1);
    expect(engine.containers[0]?.id).not.toBe(second);
  });

  it('that is restarted without says that the network stands when that has none, and isolation may go', async () => {
    start(dual);
    await place();
    await serves(/"ipv6_addr"/);
    await stop();
    const stood: boolean[] = [];
    start(plain);
    stands = () => stood.push(engine.hasIpv6('nap'));
    await eventually('it is said to stand', () => stood.length > 0);
    expect(stood[0]).toBe(false);
  });
});
