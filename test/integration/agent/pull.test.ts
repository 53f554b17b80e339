import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ChildProcess } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DockerodeEngine } from '../../../src/agent/docker/dockerode-engine.ts';
import type { PullProgress } from '../../../src/agent/docker/engine.ts';
import { MemoryStore } from '../../../src/registry/memory/store.ts';
import { TestDocker, testImage } from '../../support/docker.ts';
import { eventually } from '../../support/eventually.ts';
import { key, Operator, RunningAgent, spec } from './harness.ts';

let docker: TestDocker;
let registry: ChildProcess;
let dir: string;
const repository = '127.0.0.1:5000/demo/app';

beforeAll(async () => {
  docker = await TestDocker.start();
  dir = await mkdtemp(join(tmpdir(), 'nap-registry-'));
  const config = {
    version: '0.1',
    storage: { filesystem: { rootdirectory: join(dir, 'data') } },
    http: { addr: '127.0.0.1:5000' },
  };
  await writeFile(join(dir, 'config.yml'), JSON.stringify(config));
  registry = docker.spawnInNetwork('docker-registry', 'serve', join(dir, 'config.yml'));
  await docker.cli('tag', testImage, `${repository}:1`);
  await eventually('push', () => docker.cli('push', `${repository}:1`).then(() => true));
});

afterAll(async () => {
  registry.kill('SIGKILL');
  await docker.stop();
  await rm(dir, { recursive: true, force: true });
});

/** Whatever the engine has of the image is removed; what was pulled can only come from the registry. */
async function forget(): Promise<void> {
  await docker.cli('rmi', '-f', `${repository}:1`, testImage);
}

describe('pulling', () => {
  it('reports progress, and ends with the image here', async () => {
    await forget();
    const engine = new DockerodeEngine({ socketPath: docker.socketPath });
    await engine.connect();
    const seen: PullProgress[] = [];
    expect(await engine.hasImage(`${repository}:1`)).toBe(false);
    await engine.pull(`${repository}:1`, (progress) => seen.push(progress));
    expect(await engine.hasImage(`${repository}:1`)).toBe(true);
    expect(seen.at(-1)).toMatchObject({ layers: 1, layersDone: 1 });
    engine.close();
  });

  it('fails honestly for a missing tag, a missing repository and a registry that is not there', async () => {
    const engine = new DockerodeEngine({ socketPath: docker.socketPath });
    await engine.connect();
    const nothing = (): void => undefined;
    await expect(engine.pull(`${repository}:2`, nothing)).rejects.toMatchObject({
      reason: 'ImagePullFailed',
      message: expect.stringMatching(
        /127\.0\.0\.1:5000\/demo\/app:2.*(not found|unknown)/,
      ) as unknown,
    });
    await expect(engine.pull('127.0.0.1:5000/none:1', nothing)).rejects.toMatchObject({
      reason: 'ImagePullFailed',
    });
    await expect(engine.pull('127.0.0.1:1/none:1', nothing)).rejects.toMatchObject({
      reason: 'ImagePullFailed',
      message: expect.stringContaining('connection refused') as unknown,
    });
    await expect(engine.pull('Not A Reference', nothing)).rejects.toMatchObject({
      reason: 'ImagePullFailed',
      message: expect.stringContaining('Not A Reference') as unknown,
    });
    engine.close();
  });

  it('that fails is shown and tried again until the image is there; an old version serves meanwhile', async () => {
    const store = new MemoryStore();
    const operator = new Operator(store);
    const agent = new RunningAgent(docker, store);
    try {
      await operator.place(key(), spec({ image: `${repository}:1` }));
      const old = await eventually('serves', async () => {
        const record = await operator.instance(key());
        return record?.ready === true && record.containerId;
      });
      await operator.place(key(), spec({ image: `${repository}:2` }));
      await operator.place(key(2), spec({ image: `${repository}:2` }));
      await eventually('new one fails', async () => {
        const record = await operator.instance(key(2));
        return record?.phase === 'Failed' && record.reason === 'ImagePullFailed';
      });
      const updating = await eventually('old one says what holds it up', async () => {
        const record = await operator.instance(key());
        return record?.reason === 'ImagePullFailed' && record;
      });
      expect(updating).toMatchObject({ phase: 'Running', ready: true, containerId: old });
      expect(updating.message).toMatch(/app:2.*next try in/);
      await docker.cli('tag', `${repository}:1`, `${repository}:2`);
      await docker.cli('push', `${repository}:2`);
      await eventually('new one runs', async () => {
        const record = await operator.instance(key());
        return record?.ready === true && record.containerId !== old;
      });
      await operator.place(key(3), spec({ image: 'never/there:1', pullPolicy: 'never' }));
      await eventually('pullPolicy never', async () => {
        return (await operator.instance(key(3)))?.message?.includes('pullPolicy is never');
      });
    } finally {
      await agent.stop();
      await store.close();
    }
  });
});
