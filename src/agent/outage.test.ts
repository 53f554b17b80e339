import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { agentOptions, agentParts } from '../../test/support/agent-parts.ts';
import { FakeEngine } from '../../test/support/fake-engine.ts';
import { containerSpec } from '../../test/support/instances.ts';
import { VirtualClock } from '../../test/support/virtual-clock.ts';
import { MemoryStore } from '../registry/memory/store.ts';
import { placementRecords, type ContainerSpec } from '../registry/records/index.ts';
import { runAgent } from './agent.ts';

const image = 'shop/web:1';
let clock: VirtualClock;
let engine: FakeEngine;
let store: MemoryStore;
let line: MemoryStore;
let stop: AbortController;
let agent: Promise<void>;

beforeEach(async () => {
  clock = new VirtualClock(Date.parse('2026-01-01T00:00:00Z'));
  engine = new FakeEngine();
  engine.images.add(image);
  store = new MemoryStore({ clock });
  line = new MemoryStore({ database: store.database, clock });
  stop = new AbortController();
  agent = runAgent(
    agentOptions({ leaseTtlMs: 5_000 }),
    agentParts({ store: line, engine }, { clock }),
    stop.signal,
  );
  agent.catch(() => undefined);
  await place('web', {});
  await place('db', { fencing: 'stop' });
  await pass(2_000);
});

afterEach(async () => {
  stop.abort();
  for (let i = 0; i < 20; i++) await pass(1_000);
  await agent.catch(() => undefined);
  await line.close();
  await store.close();
});

/** Virtual time passes, and the engine gets the real moment that each of its calls takes. */
async function pass(ms: number): Promise<void> {
  const steps = Math.min(20, Math.ceil(ms / 500));
  for (let i = 0; i < steps; i++) {
    await clock.advance(ms / steps);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function place(service: string, over: Partial<ContainerSpec>): Promise<void> {
  const container: ContainerSpec = containerSpec({ image, stopGracePeriodMs: 100, ...over });
  const key = { host: 'h1', namespace: 'default', project: 'shop', service, ordinal: '1' };
  const value = placementRecords.encode({
    id: `id-of-${service}`,
    serviceUID: 'u',
    specHash: 'h',
    container,
    placedAt: 'now',
  });
  await store.commit([], [{ type: 'put', key: placementRecords.path(key), value }]);
}

const states = (): Record<string, string> =>
  Object.fromEntries(
    engine.containers.map(({ labels, state }) => [labels['nap.dev/service'] ?? '', state]),
  );

describe('an outage of the registry of 10 minutes', () => {
  it('stops nothing but what is fenced, which is stopped within the lease and goes on after it', async () => {
    expect(states()).toEqual({ web: 'running', db: 'running' });
    const before = [...engine.calls];
    line.disconnect();
    await pass(3_000);
    expect(states()).toEqual({ web: 'running', db: 'running' });
    await pass(2_000);
    expect(states()).toEqual({ web: 'running', db: 'exited' });
    await pass(600_000);
    expect(states()).toEqual({ web: 'running', db: 'exited' });
    line.reconnect();
    await pass(10_000);
    expect(states()).toEqual({ web: 'running', db: 'running' });
    const done = engine.calls.slice(before.length);
    expect(done.map((call) => call.split(' ')[0])).toEqual(['stop', 'start']);
  }, 180_000);
});

describe('an engine that hangs', () => {
  it('is noticed in bounded time, and heard when it goes on', async () => {
    let goOn: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    engine.hang = gate;
    await pass(16_000);
    const record = async (): Promise<string> =>
      (await store.get('/nap/v1/hosts/h1'))?.value ?? 'none';
    expect(JSON.parse(await record())).toMatchObject({
      ready: false,
      problems: [expect.stringMatching(/^EngineUnavailable: .*ping/)],
    });
    engine.hang = undefined;
    goOn();
    await pass(5_000);
    expect(JSON.parse(await record())).toMatchObject({ ready: true, problems: [] });
    expect(states()).toEqual({ web: 'running', db: 'running' });
  });
});
