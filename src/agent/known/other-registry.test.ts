import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { agentOptions, agentParts } from '../../../test/support/agent-parts.ts';
import { eventually } from '../../../test/support/eventually.ts';
import { FakeEngine } from '../../../test/support/fake-engine.ts';
import { containerSpec } from '../../../test/support/instances.ts';
import { MemoryStore } from '../../registry/memory/store.ts';
import { instanceRecords, placementRecords } from '../../registry/records/index.ts';
import { systemClock } from '../../runtime/clock.ts';
import { silentLogger } from '../../telemetry/log.ts';
import { runAgent } from '../agent.ts';
import { LastKnown } from './last-known.ts';

const image = 'shop/web:1';
const placements = `${placementRecords.prefix}h1/`;
let directory: string;
let engine: FakeEngine;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nap-known-'));
  engine = new FakeEngine();
  engine.images.add(image);
});
afterEach(async () => {
  await rm(directory, { recursive: true });
});

/** Runs an agent of h1 while `work` goes on. It lists its placements before it follows them, and knows those from earlier before that. */
async function whileAgentRuns(store: MemoryStore, work: () => Promise<void>): Promise<void> {
  const stop = new AbortController();
  const lastKnown = new LastKnown({ directory, clock: systemClock, log: silentLogger });
  const line = new MemoryStore({ database: store.database });
  line.disconnect();
  const [read, list, watch] = [lastKnown.read, line.list, line.watch];
  lastKnown.read = async (prefix) => {
    const entries = await read.call(lastKnown, prefix);
    line.reconnect();
    return entries;
  };
  let listed: () => void = () => undefined;
  const isListed = new Promise<void>((resolve) => (listed = resolve));
  line.list = async (prefix, ...rest) => {
    const listing = await list.call(line, prefix, ...rest);
    if (prefix === placements) listed();
    return listing;
  };
  line.watch = async function* (prefix, ...rest) {
    if (prefix === placements) await isListed;
    yield* watch.call(line, prefix, ...rest);
  };
  const agent = runAgent(
    agentOptions({ auditMs: 50 }),
    agentParts({ store: line, engine }, { lastKnown }),
    stop.signal,
  );
  try {
    await work();
  } finally {
    stop.abort();
    await agent.catch(() => undefined);
    await line.close();
    await store.close();
  }
}

async function place(store: MemoryStore, service: string, id: string): Promise<void> {
  const key = { host: 'h1', namespace: 'default', project: 'shop', service, ordinal: '1' };
  const value = placementRecords.encode({
    id,
    serviceUID: 'u',
    specHash: 'h',
    container: containerSpec({ image, stopGracePeriodMs: 100 }),
    placedAt: 'now',
  });
  await store.commit([], [{ type: 'put', key: placementRecords.path(key), value }]);
}

const running = (): string[] =>
  engine.containers.filter(({ state }) => state === 'running').map(({ name }) => name);

/** Has agent and engine work for a registry that has come far. */
async function before(...services: readonly string[]): Promise<void> {
  const store = new MemoryStore();
  for (let i = 0; i < 50; i++) await store.commit([], [{ type: 'put', key: '/x', value: 'y' }]);
  await whileAgentRuns(store, async () => {
    for (const service of services) await place(store, service, `old-${service}`);
    await eventually('it runs', () => running().length === services.length);
  });
}

it('on a host that belonged to another cluster, and was emptied, nothing of that is made again', async () => {
  await before('web', 'db');
  engine = new FakeEngine();
  engine.images.add(image);
  const store = new MemoryStore();
  await whileAgentRuns(store, async () => {
    await place(store, 'api', 'new-api');
    await eventually('what is placed runs', () => running().length > 0);
    await place(store, 'web', 'new-web');
    await eventually('and what is placed later', () => running().length > 1);
    expect(running().sort()).toEqual([
      'nap_default_shop_api_1_new-api',
      'nap_default_shop_web_1_new-web',
    ]);
    expect(engine.calls.filter((call) => call.startsWith('create')).join()).not.toContain('db');
    const said = store.database.get(
      instanceRecords.path({
        ...{ host: 'h1', namespace: 'default', project: 'shop' },
        ...{ service: 'db', ordinal: '1' },
      }),
    );
    expect(said).toBeUndefined();
  });
});

it('what runs goes on while a registry that was emptied says nothing of it', async () => {
  await before('web', 'db');
  const calls = engine.calls.length;
  const store = new MemoryStore();
  await whileAgentRuns(store, async () => {
    await place(store, 'api', 'new-api');
    await eventually('what is placed runs', () => running().length === 3);
    engine.stopByHand(engine.containers[0]!.id);
    await eventually('what ended is started again', () => running().length === 3);
    expect(engine.calls.slice(calls).filter((call) => /^(stop|remove)/.test(call))).toEqual([]);
  });
});
