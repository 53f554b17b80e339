import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { agentOptions, agentParts } from '../../test/support/agent-parts.ts';
import { FakeEngine } from '../../test/support/fake-engine.ts';
import { containerSpec } from '../../test/support/instances.ts';
import { MemoryStore } from '../registry/memory/store.ts';
import {
  endpointRecords,
  hostRecords,
  instanceRecords,
  placementRecords,
  type ContainerSpec,
  type InstanceRecord,
} from '../registry/records/index.ts';
import { eventually } from '../../test/support/eventually.ts';
import { runAgent } from './agent.ts';
import type { LocalNetwork } from './options.ts';

const image = 'shop/web:1';
let engine: FakeEngine;
/** The operator's connection. */
let store: MemoryStore;
/** The agent's connection. */
let line: MemoryStore;
let stop: AbortController;
let agent: Promise<void>;
let subnet: string;
let network: () => Promise<LocalNetwork>;

beforeEach(() => {
  engine = new FakeEngine();
  engine.images.add(image);
  store = new MemoryStore();
  line = new MemoryStore({ database: store.database });
  subnet = '10.77.1';
  network = async () => ({ subnet: `${subnet}.0/24`, gateway: `${subnet}.1`, dockerOptions: {} });
  start();
});

afterEach(async () => {
  stop.abort();
  await agent.catch(() => undefined);
  await line.close();
  await store.close();
});

function start(): void {
  stop = new AbortController();
  agent = runAgent(
    agentOptions({ auditMs: 200 }),
    agentParts({ store: line, engine }, { machine: { cpus: 2, memoryBytes: 1, kernel: 'k' } }, () =>
      network(),
    ),
    stop.signal,
  );
  agent.catch(() => undefined);
}

const until = <T>(probe: () => T | Promise<T>) => eventually(probe.toString(), probe, 20_000, 1);

const key = (ordinal: number) => ({
  namespace: 'default',
  project: 'shop',
  service: 'web',
  ordinal: String(ordinal),
});

async function place(ordinal: number, over: Partial<ContainerSpec> = {}, id = `id-${ordinal}`) {
  const container: ContainerSpec = containerSpec({ image, stopGracePeriodMs: 100, ...over });
  const value = placementRecords.encode({
    id,
    serviceUID: 'u',
    specHash: JSON.stringify(over).replaceAll('/', '-'),
    container,
    placedAt: '',
  });
  await store.commit([], [{ type: 'put', key: placementPath(ordinal), value }]);
}

function placementPath(ordinal: number): string {
  return placementRecords.path({ host: 'h1', ...key(ordinal) });
}

async function unplace(ordinal: number): Promise<void> {
  await store.commit([], [{ type: 'delete', key: placementPath(ordinal) }]);
}

function instance(ordinal: number): InstanceRecord | undefined {
  const entry = store.database.get(instanceRecords.path({ host: 'h1', ...key(ordinal) }));
  return entry && instanceRecords.decode(entry.value);
}

function endpoint(ordinal: number): string | undefined {
  return store.database.get(endpointRecords.path(key(ordinal)))?.value;
}

function host() {
  const entry = store.database.get(hostRecords.path({ host: 'h1' }));
  return entry && hostRecords.decode(entry.value);
}

const serves = (ordinal: number) =>
  until(() => instance(ordinal)?.ready === true && endpoint(ordinal));

describe('an agent', () => {
  it('creates at the placement, long before the next full pass', async () => {
    await until(() => host()?.ready);
    await place(1);
    await until(() => engine.calls.some((call) => call.includes('_web_1_')));
  });

  it('takes the endpoint away as soon as the container has died', async () => {
    await place(1);
    await serves(1);
    engine.exit(engine.containers[0]!.id, 1);
    await until(() => endpoint(1) === undefined);
    expect(instance(1)).toMatchObject({ phase: 'Starting', reason: 'Restarting', restarts: 1 });
    engine.revive(engine.containers[0]!.id);
    await serves(1);
  });

  it('writes nothing while nothing changes', async () => {
    for (const ordinal of [1, 2, 3]) await place(ordinal);
    for (const ordinal of [1, 2, 3]) await serves(ordinal);
    await until(() => host()?.ready);
    const { revision } = store.database;
    engine.cutEvents();
    await new Promise((resolve) => setTimeout(resolve, 500));
    // The cut itself is worth a word, and so is its end; nothing else is.
    expect(store.database.revision - revision).toBeLessThanOrEqual(2n);
  });

  it('starts many at once, but no more than the engine can take', async () => {
    for (let ordinal = 1; ordinal <= 40; ordinal++) await place(ordinal);
    for (let ordinal = 1; ordinal <= 40; ordinal++) await serves(ordinal);
    expect(engine.containers).toHaveLength(40);
    // Two for each processor.
    expect(engine.busiest).toBe(4);
  });

  it('pulls an image once for all, and breaks off when nobody wants it any more', async () => {
    let open: () => void = () => undefined;
    engine.pullGate = new Promise((resolve) => {
      open = resolve;
    });
    engine.registry.add('new:1');
    for (const ordinal of [1, 2, 3]) await place(ordinal, { image: 'new:1' });
    await until(() => instance(3)?.phase === 'Pulling' && instance(1)?.message?.includes('0 of 1'));
    await unplace(1);
    await until(() => instance(1) === undefined);
    expect(engine.calls).toEqual(['pull new:1']);
    open();
    await serves(2);
    await serves(3);
    engine.pullGate = new Promise(() => undefined);
    await place(4, { image: 'never:1' });
    await until(() => engine.calls.includes('pull never:1'));
    await unplace(4);
    await until(() => engine.calls.includes('abort never:1'));
    await until(() => instance(4) === undefined);
  });

  it('tries a port that is in use again, and disturbs nobody else', async () => {
    engine.portsInUse.add(80);
    await place(1, { ports: [{ containerPort: 80, protocol: 'tcp', hostPort: 80 }] });
    await place(2);
    await serves(2);
    const failed = await until(() => instance(1)?.phase === 'Failed' && instance(1));
    expect(failed).toMatchObject({ reason: 'PortInUse', ready: false });
    engine.portsInUse.clear();
    await serves(1);
    expect(engine.containers).toHaveLength(2);
  });

  it('pauses between tries to remove what the engine will not let go', async () => {
    await place(1);
    await serves(1);
    engine.stuck = true;
    await unplace(1);
    await until(() => engine.calls.some((call) => call.startsWith('remove')));
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(engine.calls.filter((call) => call.startsWith('remove'))).toHaveLength(1);
    expect(instance(1)).toMatchObject({ phase: 'Stopping', ready: false, reason: 'EngineRefused' });
    expect(instance(1)?.message).toMatch(/busy; next try in/);
    engine.stuck = false;
    await until(() => instance(1) === undefined);
    expect(engine.containers).toEqual([]);
  });

  it('does not start what an engine that is shutting down has stopped', async () => {
    await place(1);
    await serves(1);
    const calls = engine.calls.length;
    engine.shuttingDown = true;
    engine.stopByHand(engine.containers[0]!.id);
    await until(() => instance(1)?.ready === false);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(engine.calls.slice(calls)).toEqual([]);
    engine.shuttingDown = false;
    await serves(1);
  });

  it('notices what happened while the event stream was cut', async () => {
    await place(1);
    await serves(1);
    engine.setDown(true);
    await until(() => host()?.problems.join().includes('EngineUnavailable'));
    expect(endpoint(1)).toBeDefined();
    engine.removeByHand(engine.containers[0]!.id);
    engine.setDown(false);
    await until(() => host()?.ready);
    await until(() => engine.containers[0]?.state === 'running');
    await serves(1);
  });

  it('creates nothing under a lost lease, keeps what runs, and goes on when the registry is back', async () => {
    await place(1);
    await serves(1);
    line.disconnect();
    await until(() => host() === undefined);
    expect(endpoint(1)).toBeUndefined();
    await place(2);
    await unplace(1);
    engine.stopByHand(engine.containers[0]!.id);
    await until(() => engine.containers[0]?.state === 'running');
    expect(engine.containers).toHaveLength(1);
    line.reconnect();
    await serves(2);
    await until(() => engine.containers.length === 1 && instance(1) === undefined);
  });

  it('does not speak for an instance that was given to another host', async () => {
    await place(1);
    await serves(1);
    line.disconnect();
    await until(() => host() === undefined);
    await unplace(1);
    const path = endpointRecords.path(key(1));
    await store.commit([], [{ type: 'put', key: path, value: '{"host":"h2"}' }]);
    line.reconnect();
    await until(() => engine.containers.length === 0 && host()?.ready);
    expect(endpoint(1)).toBe('{"host":"h2"}');
  });

  it('adopts everything when it starts anew', async () => {
    for (const ordinal of [1, 2, 3]) await place(ordinal);
    for (const ordinal of [1, 2, 3]) await serves(ordinal);
    stop.abort();
    await agent;
    expect(endpoint(2)).toBeDefined();
    const calls = engine.calls.length;
    await unplace(3);
    start();
    await until(() => engine.containers.length === 2);
    await until(() => instance(3) === undefined && endpoint(3) === undefined);
    expect(engine.calls.slice(calls)).toEqual([
      expect.stringMatching(/^stop/),
      expect.stringMatching(/^remove/),
    ]);
  });

  it('makes its containers anew when the subnet has moved', async () => {
    await place(1);
    await serves(1);
    const old = engine.containers[0]!.id;
    stop.abort();
    await agent;
    subnet = '10.77.9';
    start();
    await until(() => engine.containers[0]?.id !== old && instance(1)?.containerId !== old);
    await serves(1);
    expect(engine.containers[0]?.dns).toEqual(['10.77.9.1']);
  });

  it('says so while the overlay is not to be had, and creates nothing', async () => {
    stop.abort();
    await agent;
    const works = network;
    network = () => Promise.reject(new Error('no subnet is free'));
    start();
    await place(1);
    await until(() => host()?.problems.join() === 'NetworkUnavailable: no subnet is free');
    expect(host()?.ready).toBe(false);
    expect(engine.containers).toEqual([]);
    network = works;
    await serves(1);
  });

  it('makes one container though its answers are lost on the way', async () => {
    line.loseAnswers(3);
    await place(1);
    await serves(1);
    expect(engine.containers).toHaveLength(1);
  });

  it('refuses a host name that another machine uses', async () => {
    await until(() => host()?.ready);
    const other = runAgent(
      agentOptions({ machineID: 'm2', address: '10.0.0.2' }),
      agentParts({ store, engine: new FakeEngine() }, { random: () => 0.1 }, () => network()),
      stop.signal,
    );
    await expect(other).rejects.toThrow('host name "h1" is taken by machine m1 at 10.0.0.1');
    expect(host()?.machineID).toBe('m1');
  }, 15_000);
});
