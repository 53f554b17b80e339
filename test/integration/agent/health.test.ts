import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { resolveHealthCheck } from '../../../src/api/v1alpha1/health-check.ts';
import type { InstanceKey } from '../../../src/registry/records/index.ts';
import type { Store } from '../../../src/registry/store.ts';
import { TestDocker } from '../../support/docker.ts';
import { TestEtcd } from '../../support/etcd.ts';
import { eventually } from '../../support/eventually.ts';
import { key, openTestStore, Operator, RunningAgent, spec } from './harness.ts';

const checkedImage = 'nap-test/checked:1';

let docker: TestDocker;
let etcd: TestEtcd;
let store: Store;
let operator: Operator;
let agent: RunningAgent;

beforeAll(async () => {
  [docker, etcd] = await Promise.all([TestDocker.start(), TestEtcd.start()]);
  await docker.importImage(checkedImage, [
    'HEALTHCHECK --interval=1s --retries=1 CMD sh -c "[ -e /ok ] || { echo no /ok; exit 1; }"',
  ]);
  store = await openTestStore(etcd);
  operator = new Operator(store);
  agent = new RunningAgent(docker, store);
  await eventually('host is ready', async () => (await operator.host())?.ready);
});

afterAll(async () => {
  await agent.stop();
  await store.close();
  await docker.stop();
  await etcd.stop();
});

/** Milliseconds until the registry's endpoint is gone. */
async function goneAfter(instance: InstanceKey, cause: () => Promise<unknown>): Promise<number> {
  let caused = Infinity;
  const causing = cause().then(() => {
    caused = performance.now();
  });
  await eventually(
    'the endpoint is gone',
    async () => (await operator.endpoint(instance)) === undefined,
  );
  const gone = performance.now();
  await causing;
  return Math.max(0, gone - caused);
}

async function ready(instance: InstanceKey): Promise<string> {
  const record = await eventually('it serves', async () => {
    const seen = await operator.instance(instance);
    return seen?.ready === true && (await operator.endpoint(instance)) !== undefined && seen;
  });
  return record.containerId!;
}

describe('a health check', () => {
  it('by a program in the container: the endpoint comes and goes with it', async () => {
    const instance = key(1, 'exec');
    const command = ['sh', '-c', '[ -e /ok ] || { echo "no /ok"; exit 3; }'];
    const healthCheck = resolveHealthCheck(
      { exec: { command }, interval: '300ms', retries: 1, unhealthyAction: 'none' },
      'always',
    );
    await operator.place(instance, spec({ ...(healthCheck && { healthCheck }) }));
    const unhealthy = await eventually('unhealthy', async () => {
      const seen = await operator.instance(instance);
      return seen?.reason === 'Unhealthy' && seen;
    });
    expect(unhealthy).toMatchObject({
      phase: 'Running',
      ready: false,
      health: 'unhealthy',
      message: 'sh: exit code 3: no /ok',
    });
    expect(await operator.endpoint(instance)).toBeUndefined();
    const id = unhealthy.containerId!;
    await docker.cli('exec', id, 'sh', '-c', ': >/ok');
    await ready(instance);
    const tookMs = await goneAfter(instance, () =>
      docker.cli('exec', id, 'sh', '-c', 'busybox rm /ok'),
    );
    // One interval until the check; well under a second after that on an idle machine.
    expect(tookMs).toBeLessThan(5_000);
    expect(await operator.instance(instance)).toMatchObject({ health: 'unhealthy', flaps: 1 });
  });

  it('by a program that hangs: it fails, and only one of them is there', async () => {
    const instance = key(1, 'hang');
    const healthCheck = resolveHealthCheck(
      {
        exec: { command: ['sleep', '1000'] },
        interval: '200ms',
        timeout: '300ms',
        unhealthyAction: 'none',
      },
      'always',
    );
    await operator.place(instance, spec({ ...(healthCheck && { healthCheck }) }));
    const record = await eventually('unhealthy', async () => {
      const seen = await operator.instance(instance);
      return seen?.health === 'unhealthy' && seen;
    });
    expect(record.message).toMatch(/^sleep/);
    const hanging = async (): Promise<number> => {
      const processes = await docker.cli('top', record.containerId!);
      return processes.split('\n').filter((line) => line.includes('sleep 1000')).length;
    };
    // The next one may not have begun yet.
    for (let looks = 0; looks < 3; looks++) {
      expect(await eventually('one is there', async () => (await hanging()) || undefined)).toBe(1);
    }
  });

  it("of the image itself: the engine's verdict counts, and a written check takes its place", async () => {
    const instance = key(1, 'image');
    await operator.place(instance, spec({ image: checkedImage }));
    const record = await eventually('unhealthy', async () => {
      const seen = await operator.instance(instance);
      return seen?.health === 'unhealthy' && seen;
    });
    expect(record).toMatchObject({ ready: false, reason: 'Unhealthy', restarts: 0 });
    expect(record.message).toBe("the image's check: exit code 1: no /ok");
    await docker.cli('exec', record.containerId!, 'sh', '-c', ': >/ok');
    await ready(instance);

    const other = key(1, 'instead');
    const healthCheck = resolveHealthCheck({ exec: { command: ['true'] } }, 'always');
    await operator.place(other, spec({ image: checkedImage, ...(healthCheck && { healthCheck }) }));
    const id = await ready(other);
    expect(await docker.cli('inspect', '--format', '{{json .State.Health}}', id)).toBe('null');
  });

  it('is not needed to see that a container is dead', async () => {
    const instance = key(1, 'dead');
    await operator.place(instance, spec({ restart: 'no' }));
    const id = await ready(instance);
    // Told by the engine, not found by the next look at it. A few 100 ms on an idle machine.
    expect(await goneAfter(instance, () => docker.cli('kill', id))).toBeLessThan(5_000);
  });

  it('that fails restarts the container where that is asked for', async () => {
    const instance = key(1, 'cure');
    const command = ['sh', '-c', '[ ! -e /sick ]'];
    const healthCheck = resolveHealthCheck(
      { exec: { command }, interval: '300ms', retries: 2 },
      'on-failure',
    );
    const container = spec({ restart: 'on-failure', ...(healthCheck && { healthCheck }) });
    container.command = ['sh', '-c', `busybox rm -f /sick; ${container.command?.[2] ?? ''}`];
    await operator.place(instance, container);
    const id = await ready(instance);
    await docker.cli('exec', id, 'sh', '-c', ': >/sick');
    await eventually('it was started again, and serves', async () => {
      const seen = await operator.instance(instance);
      return seen?.restarts === 1 && seen.ready;
    });
  });
});
