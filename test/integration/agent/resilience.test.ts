import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { DockerodeEngine } from '../../../src/agent/docker/dockerode-engine.ts';
import {
  hostRecords,
  instanceRecords,
  placementRecords,
} from '../../../src/registry/records/index.ts';
import type { Store } from '../../../src/registry/store.ts';
import { TestDocker, testImage } from '../../support/docker.ts';
import { eventually } from '../../support/eventually.ts';
import { TestEtcd } from '../../support/etcd.ts';
import { TcpProxy } from '../../support/tcp-proxy.ts';
import { host, key, openTestStore, Operator, RunningAgent, spec } from './harness.ts';

let docker: TestDocker;
let etcd: TestEtcd;
let proxy: TcpProxy;
/** The test's own, undisturbed view. */
let store: Store;
let agentStores: Store[];
let operator: Operator;
let agents: RunningAgent[];

beforeAll(async () => {
  [docker, etcd] = await Promise.all([TestDocker.start(), TestEtcd.start()]);
});

afterAll(async () => {
  await docker.stop();
  await etcd.stop();
});

beforeEach(async () => {
  proxy = await TcpProxy.start('127.0.0.1', etcd.port);
  store = await openTestStore(etcd);
  operator = new Operator(store);
  agents = [];
  agentStores = [];
});

afterEach(async () => {
  for (const agent of agents) await agent.stop().catch(() => undefined);
  // The engine may need several tries: a mount of one container is busy while another one is being started.
  await eventually('containers are gone', async () => {
    const ids = await containerIds();
    if (ids.length > 0) await docker.cli('rm', '-fv', ...ids);
    return true;
  });
  for (const prefix of ['/nap/', '/services/']) {
    for (const { key: path } of (await store.list(prefix)).entries) {
      await store.commit([], [{ type: 'delete', key: path }]);
    }
  }
  for (const each of agentStores) await each.close();
  await store.close();
  await proxy.close();
});

async function containerIds(): Promise<string[]> {
  return (await docker.cli('ps', '-aq', '--no-trunc'))
    .split('\n')
    .filter((id) => id !== '')
    .sort();
}

/** Ids and start times: equal before and after means that nothing was touched. */
async function untouched(): Promise<string> {
  return docker.cli(
    'inspect',
    '--format',
    '{{.Id}} {{.State.StartedAt}}',
    ...(await containerIds()),
  );
}

/** An agent with a connection of its own through the proxy. */
async function startAgent(over: ConstructorParameters<typeof RunningAgent>[2] = {}) {
  const agentStore = await openTestStore({ url: `http://127.0.0.1:${proxy.port}` });
  agentStores.push(agentStore);
  const agent = new RunningAgent(docker, agentStore, over);
  agents.push(agent);
  return agent;
}

async function serves(ordinal = 1): Promise<string> {
  const record = await eventually(
    `instance ${ordinal} serves`,
    async () => {
      const seen = await operator.instance(key(ordinal));
      return seen?.ready === true && (await operator.endpoint(key(ordinal))) !== undefined && seen;
    },
    30_000,
  );
  return record.containerId!;
}

async function threeRunning(): Promise<void> {
  for (const ordinal of [1, 2, 3]) await operator.place(key(ordinal), spec());
  for (const ordinal of [1, 2, 3]) await serves(ordinal);
}

describe('the agent', () => {
  it('stopped and started again adopts its containers, whose names resolve all the while', async () => {
    const first = await startAgent();
    await threeRunning();
    const before = await untouched();
    await first.stop();
    expect(await operator.host()).toBeDefined();
    expect(await operator.endpoint(key(2))).toBeDefined();
    expect((await store.get(`/nap/v1/grace/${host}`))?.value).toContain('until');
    // Past the life of the old lease: the records stand on the one that bridges the pause.
    await new Promise((resolve) => setTimeout(resolve, 4000));
    expect(await operator.endpoint(key(2))).toBeDefined();
    await startAgent();
    await eventually('note is removed', async () => {
      return (await store.get(`/nap/v1/grace/${host}`)) === undefined;
    });
    await serves(3);
    expect(await untouched()).toBe(before);
  });

  it('killed (no farewell) and replaced within its lease adopts its containers', async () => {
    const first = await startAgent();
    await threeRunning();
    const before = await untouched();
    proxy.refuse();
    proxy.cut();
    await operator.unplace(key(3));
    proxy.accept();
    const session = (await operator.host())?.session;
    await startAgent();
    await eventually('taken over', async () => (await operator.host())?.session !== session);
    await eventually('the third is gone', async () => (await containerIds()).length === 2);
    for (const id of await containerIds()) expect(before).toContain(id);
    await expect(first.done).rejects.toThrow(/taken over/);
    await serves(1);
    await serves(2);
  });

  it('with the host name of another machine is refused with a clear error', async () => {
    await startAgent();
    await eventually('registered', () => operator.host());
    const other = await startAgent({
      machineID: 'machine-2',
      address: '10.99.0.2',
      leaseTtlMs: 2000,
    });
    await expect(other.done).rejects.toThrow(/host name "h1" is taken by machine machine-1/);
    expect((await operator.host())?.machineID).toBe('machine-1');
  });

  it('is alone on its machine', async () => {
    const exclusive = `h1@${docker.socketPath}`;
    await startAgent({ exclusive });
    const other = await startAgent({ exclusive });
    await expect(other.done).rejects.toThrow(/running on this machine already/);
  });

  it('cut off from the registry leaves everything running, and stops what was given away meanwhile', async () => {
    const agent = await startAgent();
    await threeRunning();
    const before = await untouched();
    proxy.refuse();
    proxy.cut();
    await eventually('the host is lost', async () => (await operator.host()) === undefined, 15_000);
    expect(await operator.endpoint(key(1))).toBeUndefined();
    // The operator gives two of them to another host, which serves the first one already.
    await operator.unplace(key(1));
    await operator.unplace(key(2));
    const elsewhere = JSON.stringify({ host: 'h2', ipv4_addr: '10.77.2.2', ports: [] });
    const path = '/services/default/guestbook/web/1';
    await store.commit([], [{ type: 'put', key: path, value: elsewhere }]);
    expect(await untouched()).toBe(before);
    expect(agent.dns?.local.localInstance('10.77.1.2')).toBeDefined();
    proxy.accept();
    const kept = await serves(3);
    await eventually('the others are stopped', async () => {
      return JSON.stringify(await containerIds()) === JSON.stringify([kept]);
    });
    expect(before).toContain(kept);
    expect((await store.get(path))?.value).toBe(elsewhere);
  });

  it('started without a registry touches nothing, and knows its containers for the name server', async () => {
    const first = await startAgent();
    await threeRunning();
    const before = await untouched();
    await first.stop();
    proxy.refuse();
    const second = await startAgent();
    await eventually('local instances are known', () =>
      second.dns?.local.localInstance('10.77.1.2'),
    );
    const victim = (await containerIds())[0]!;
    await docker.cli('kill', victim);
    expect(await containerIds()).toHaveLength(3);
    proxy.accept();
    await eventually('the one that was killed runs again', async () => {
      return (await docker.cli('ps', '-q')).split('\n').length === 3;
    });
    for (const ordinal of [1, 2, 3]) await serves(ordinal);
    const after = await untouched();
    for (const line of before.split('\n'))
      if (!line.startsWith(victim)) expect(after).toContain(line);
  });
});

describe('the engine', () => {
  it('restarted under the agent: the host says so, instances come back, nothing is made twice', async () => {
    await startAgent();
    await threeRunning();
    const before = await containerIds();
    await docker.stopEngine();
    await eventually('problem is shown', async () => {
      const record = await operator.host();
      return record?.ready === false && record.problems.join().includes('EngineUnavailable');
    });
    await docker.resumeEngine();
    await eventually('host is ready', async () => (await operator.host())?.ready);
    for (const ordinal of [1, 2, 3]) await serves(ordinal);
    expect(await containerIds()).toEqual(before);
  });

  it('after a power cut restarts the containers by itself, before any agent is there', async () => {
    const first = await startAgent();
    await threeRunning();
    await operator.place(key(4), spec({ restart: 'no' }));
    await serves(4);
    await first.stop();
    const before = await containerIds();
    await docker.powerOff();
    await docker.startEngine();
    await eventually('three run', async () => {
      return (await docker.cli('ps', '-q')).split('\n').filter((id) => id !== '').length === 3;
    });
    await startAgent();
    for (const ordinal of [1, 2, 3]) await serves(ordinal);
    await eventually('the fourth had one run', async () => {
      return (await operator.instance(key(4)))?.phase === 'Exited';
    });
    expect(await containerIds()).toEqual(before);
  });

  it('answers 304 for what is so already, and that is no error', async () => {
    const engine = new DockerodeEngine({ socketPath: docker.socketPath });
    await engine.connect();
    const id = await docker.cli('run', '-d', '--network=none', testImage, 'sleep', '100');
    await engine.start(id);
    await engine.stop(id, 0);
    await engine.stop(id, 0);
    await engine.kill(id);
    await engine.remove(id);
    await engine.remove(id);
    await engine.stop(id, 0);
    await expect(engine.inspect(id)).rejects.toMatchObject({ reason: 'NotFound' });
    engine.close();
  });

  it('is spoken to at the socket given, whatever the environment says', async () => {
    process.env['DOCKER_HOST'] = 'tcp://127.0.0.1:1';
    try {
      const engine = new DockerodeEngine({ socketPath: docker.socketPath });
      expect(await engine.connect()).toMatchObject({ apiVersion: '1.41' });
      engine.close();
    } finally {
      delete process.env['DOCKER_HOST'];
    }
  });
});

describe('foreign things', () => {
  it('with nap labels of another host, or incomplete ones, are left alone', async () => {
    const labels = [
      'nap.dev/namespace=default',
      'nap.dev/project=guestbook',
      'nap.dev/service=web',
      'nap.dev/ordinal=1',
      'nap.dev/instance=x',
      'nap.dev/spec-hash=y',
    ].flatMap((label) => ['--label', label]);
    const run = ['run', '-d', '--network=none'];
    const foreign = await docker.cli(
      ...run,
      ...labels,
      '--label',
      'nap.dev/host=h2',
      testImage,
      'sleep',
      '100',
    );
    const partial = await docker.cli(
      ...run,
      '--label',
      'nap.dev/host=h1',
      testImage,
      'sleep',
      '100',
    );
    const stale = await docker.cli(
      ...run,
      ...labels,
      '--label',
      'nap.dev/host=h1',
      testImage,
      'sleep',
      '100',
    );
    await startAgent();
    await eventually('what is ours and not placed goes', async () => {
      return !(await containerIds()).includes(stale);
    });
    expect(await containerIds()).toEqual([foreign, partial].sort());
  });

  it('such as broken placement records stop nothing', async () => {
    await startAgent();
    await threeRunning();
    const before = await untouched();
    const path = placementRecords.path({ host, ...key(1) });
    await store.commit(
      [],
      [
        { type: 'put', key: path, value: '{"id":' },
        { type: 'put', key: placementRecords.path({ host, ...key(9) }), value: '{}' },
        { type: 'put', key: `/nap/v1/placements/${host}/nonsense`, value: 'x' },
      ],
    );
    await operator.place(key(4), spec());
    await serves(4);
    const after = await untouched();
    for (const line of before.split('\n')) expect(after).toContain(line);
  });
});

describe('records', () => {
  it('removed or forged by hand are set right', async () => {
    await startAgent({ auditMs: 500 });
    await threeRunning();
    const path = hostRecords.path({ host });
    await store.commit([], [{ type: 'delete', key: path }]);
    await eventually('host record is back', async () => (await operator.host())?.ready);
    const endpoint = '/services/default/guestbook/web/1';
    await store.commit([], [{ type: 'delete', key: endpoint }]);
    const forged = instanceRecords.path({ host, ...key(3) });
    await store.commit([], [{ type: 'put', key: forged, value: 'forged' }]);
    await eventually('reports are right again', async () => {
      const back = (await store.get(endpoint)) !== undefined;
      return back && (await store.get(forged))?.value !== 'forged';
    });
    expect((await store.get(instanceRecords.path({ host, ...key(2) })))?.lease).toBeDefined();
  });
});
