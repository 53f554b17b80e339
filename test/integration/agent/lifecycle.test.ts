import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Store } from '../../../src/registry/store.ts';
import { eventually, TestDocker } from '../../support/docker.ts';
import { TestEtcd } from '../../support/etcd.ts';
import { key, openTestStore, Operator, RunningAgent, spec } from './harness.ts';

let docker: TestDocker;
let etcd: TestEtcd;
let store: Store;
let operator: Operator;
let agent: RunningAgent;

beforeAll(async () => {
  [docker, etcd] = await Promise.all([TestDocker.start(), TestEtcd.start()]);
});

afterAll(async () => {
  await docker.stop();
  await etcd.stop();
});

beforeEach(async () => {
  store = await openTestStore(etcd);
  operator = new Operator(store);
  agent = new RunningAgent(docker, store);
});

afterEach(async () => {
  await agent.stop();
  await wipe();
  await store.close();
});

async function wipe(): Promise<void> {
  const ids = (await docker.cli('ps', '-aq')).split('\n').filter((id) => id !== '');
  if (ids.length > 0) await docker.cli('rm', '-fv', ...ids);
  for (const prefix of ['/nap/', '/services/']) {
    for (const { key: path } of (await store.list(prefix)).entries) {
      await store.commit([], [{ type: 'delete', key: path }]);
    }
  }
}

async function names(): Promise<string[]> {
  const out = await docker.cli('ps', '--format', '{{.Names}}');
  return out.split('\n').filter((name) => name !== '');
}

describe('an instance', () => {
  it('runs where it is placed, is reported, and leaves nothing behind', async () => {
    await eventually('host is ready', async () => (await operator.host())?.ready);
    await operator.place(key(), spec({ ports: [{ containerPort: 80, protocol: 'tcp' }] }));
    const endpoint = await eventually('endpoint', () => operator.endpoint(key()));
    expect(endpoint).toMatchObject({ host: 'h1', port: 80 });
    expect(endpoint.ipv4_addr).toMatch(/^10\.77\.1\./);
    expect(await operator.instance(key())).toMatchObject({
      phase: 'Running',
      ready: true,
      restarts: 0,
      ip: endpoint.ipv4_addr,
    });
    expect(await names()).toEqual([expect.stringMatching(/^nap_default_guestbook_web_1_/)]);
    expect(agent.dns?.gateway).toBe('10.77.1.1');
    expect(agent.dns?.local.localInstance(endpoint.ipv4_addr)).toEqual(key());

    await operator.unplace(key());
    await eventually('record is gone', async () => (await operator.instance(key())) === undefined);
    expect(await operator.endpoint(key())).toBeUndefined();
    expect(await docker.cli('ps', '-aq')).toBe('');
  });
});
