import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { agentOptions, agentParts } from '../../test/support/agent-parts.ts';
import { FakeEngine } from '../../test/support/fake-engine.ts';
import { containerSpec } from '../../test/support/instances.ts';
import { resolveHealthCheck, type HealthCheckInput } from '../api/v1alpha1/health-check.ts';
import { MemoryStore } from '../registry/memory/store.ts';
import {
  endpointRecords,
  instanceRecords,
  placementRecords,
  type ContainerSpec,
  type InstanceRecord,
} from '../registry/records/index.ts';
import { runAgent } from './agent.ts';
import type { CheckResult } from './health/state.ts';

const key = { namespace: 'default', project: 'shop', service: 'web', ordinal: '1' };
const image = 'shop/web:1';
let engine: FakeEngine;
let store: MemoryStore;
let line: MemoryStore;
let result: CheckResult;
let probe: () => CheckResult;
let stop: AbortController;
let agent: Promise<void>;

beforeEach(() => {
  engine = new FakeEngine();
  engine.images.add(image);
  store = new MemoryStore();
  line = new MemoryStore({ database: store.database });
  result = { type: 'pass' };
  probe = () => result;
  start();
});

afterEach(async () => {
  stop.abort();
  await agent;
  await line.close();
  await store.close();
});

function start(): void {
  stop = new AbortController();
  agent = runAgent(
    agentOptions(),
    agentParts({ store: line, engine }, { prober: async () => probe() }),
    stop.signal,
  );
}

async function place(
  restart: ContainerSpec['restart'],
  check?: HealthCheckInput,
  over: Partial<ContainerSpec> = {},
): Promise<void> {
  const healthCheck = resolveHealthCheck(check, restart);
  const container: ContainerSpec = containerSpec({
    image,
    restart,
    ...(healthCheck && { healthCheck }),
    stopGracePeriodMs: 1000,
    ...over,
  });
  const record = {
    id: 'a',
    serviceUID: 'u',
    specHash: '1',
    container,
    placedAt: '2026-01-01T00:00:00Z',
  };
  const path = placementRecords.path({ host: 'h1', ...key });
  await store.commit([], [{ type: 'put', key: path, value: placementRecords.encode(record) }]);
}

async function seen(): Promise<(InstanceRecord & { endpoint: boolean }) | undefined> {
  const entry = await store.get(instanceRecords.path({ host: 'h1', ...key }));
  const endpoint = (await store.get(endpointRecords.path(key))) !== undefined;
  return entry && { ...instanceRecords.decode(entry.value), endpoint };
}

async function until(
  what: Partial<InstanceRecord & { endpoint: boolean }>,
  withinMs = 20_000,
): Promise<InstanceRecord> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const record = await seen();
    try {
      expect(record).toMatchObject(what);
      return record!;
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const quick: HealthCheckInput = { tcp: { port: 80 }, interval: '100ms', retries: 2 };
const no: CheckResult = { type: 'fail', message: 'port 80: connection refused' };

describe('an instance with a health check', () => {
  it('serves only while it passes, and says why it does not', async () => {
    result = no;
    await place('no', quick);
    await until({
      phase: 'Running',
      ready: false,
      endpoint: false,
      health: 'unhealthy',
      reason: 'Unhealthy',
    });
    result = { type: 'pass' };
    await until({ ready: true, endpoint: true, health: 'healthy' });
    result = no;
    const record = await until({ ready: false, endpoint: false, flaps: 1, reason: 'Unhealthy' });
    expect(record.message).toBe('port 80: connection refused');
    expect(engine.calls.filter((call) => call.startsWith('stop'))).toEqual([]);
  });

  it('is started again when it is unhealthy, and forgiven then', async () => {
    await place('on-failure', quick);
    const first = await until({ ready: true });
    probe = () => (engine.calls.some((call) => call.startsWith('stop')) ? { type: 'pass' } : no);
    const second = await until({ ready: true, restarts: 1 });
    expect(second.containerId).toBe(first.containerId);
    expect(
      engine.calls.filter((call) => /^(stop|start|create)/.test(call)).map((c) => c.split(' ')[0]),
    ).toEqual(['create', 'start', 'stop', 'start']);
  });

  it('stays down when it is to be restarted and the policy starts nothing again after a timeout', async () => {
    await place('on-success', { ...quick, unhealthyAction: 'restart' });
    await until({ ready: true });
    result = no;
    await until({ phase: 'Exited', reason: 'Unhealthy', endpoint: false });
    expect(engine.calls.filter((call) => call.startsWith('start'))).toHaveLength(1);
  });

  it('goes on serving while its agent is replaced', async () => {
    await place('always', { ...quick, interval: '10s' });
    await until({ ready: true });
    // As if it had been started long ago.
    engine.containers[0]!.startedAt = new Date(Date.now() - 60_000).toISOString();
    stop.abort();
    await agent;
    const lost: boolean[] = [];
    const watching = { on: true };
    const watch = (async () => {
      while (watching.on) {
        lost.push((await seen())?.endpoint === true);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    })();
    result = { type: 'unknown' };
    start();
    await new Promise((resolve) => setTimeout(resolve, 500));
    watching.on = false;
    await watch;
    expect(lost.length).toBeGreaterThan(10);
    expect(lost).not.toContain(false);
  });
});

describe("the image's own check", () => {
  it('decides whether an instance serves, without a check by the agent', async () => {
    result = no;
    await place('always');
    await until({ ready: true });
    const { id } = engine.containers[0]!;
    engine.judge(id, { status: 'unhealthy', message: 'exit code 1' });
    await until({ ready: false, endpoint: false, reason: 'Unhealthy', message: 'exit code 1' });
    engine.judge(id, { status: 'healthy', message: undefined });
    await until({ ready: true, endpoint: true, health: 'healthy' });
    expect(engine.calls.filter((call) => call.startsWith('stop'))).toEqual([]);
  });

  it('may have an unhealthy container restarted', async () => {
    // Down for long enough to be seen.
    await place('always', { unhealthyAction: 'restart' }, { restartMs: 2_000 });
    await until({ ready: true });
    engine.judge(engine.containers[0]!.id, { status: 'unhealthy', message: 'x' });
    await until({ phase: 'Starting', reason: 'Unhealthy', endpoint: false });
    await until({ restarts: 1 });
  });
});

describe('a container that the agent restarts', () => {
  it('is down for the pause of its policy, and up again', async () => {
    await place('on-failure', undefined, { restartMs: 2_000 });
    await until({ ready: true });
    engine.exit(engine.containers[0]!.id, 3);
    const record = await until({ phase: 'Starting', reason: 'Restarting', endpoint: false });
    expect(record.message).toBe('exited with code 3 after 0.1 s; next start in 2 s');
    await until({ phase: 'Running', restarts: 1 });
  });

  it('is given up at its limit, with the reason', async () => {
    await place('on-failure', undefined, { startLimit: { burst: 2, intervalMs: 60_000 } });
    await until({ ready: true });
    engine.exit(engine.containers[0]!.id, 3);
    await until({ phase: 'Running', restarts: 1 });
    engine.exit(engine.containers[0]!.id, 3);
    const record = await until({ phase: 'Failed', reason: 'StartLimitHit' });
    expect(record.message).toMatch(/^2 starts within 1m; exited with code 3/);
  });

  it('runs again when its engine has taken it down with itself', async () => {
    await place('on-failure');
    await until({ ready: true });
    const container = engine.containers[0]!;
    engine.shuttingDown = true;
    engine.stopByHand(container.id);
    container.exitCode = 0;
    engine.setDown(true);
    await new Promise((resolve) => setTimeout(resolve, 100));
    engine.shuttingDown = false;
    engine.setDown(false);
    await until({ phase: 'Running', restarts: 1 });
  });
});
