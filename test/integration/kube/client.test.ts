import { setMaxListeners } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KubeClient } from '../../../src/kube/client.ts';
import { KubeConfig, poolSize } from '../../../src/kube/config.ts';
import {
  isAlreadyExists,
  isConflict,
  isGone,
  isNotFound,
  KubeError,
} from '../../../src/kube/errors.ts';
import { configMaps, projects } from '../../../src/kube/resources.ts';
import { addFinalizer, removeFinalizer } from '../../../src/kube/finalizers.ts';
import { writeStatus } from '../../../src/kube/status.ts';
import { fail, FakeKube, type Fault } from '../../support/fake-kube.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { selfSigned } from '../../support/tls.ts';

const path = '/api/v1/namespaces/a/configmaps';

let fake: FakeKube;
let config: KubeConfig;
let client: KubeClient;

beforeEach(async () => {
  fake = await FakeKube.start();
  config = KubeConfig.fromString(fake.kubeconfig(), { insecureLoopback: true });
  client = new KubeClient(config, { timeoutMs: 2_000 });
});

afterEach(async () => {
  await config.close();
  await fake.stop();
});

async function errorOf(promise: Promise<unknown>): Promise<KubeError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(KubeError);
  return error as KubeError;
}

describe('connections', () => {
  it('are reused by calls one after the other', async () => {
    for (let i = 0; i < 50; i++) await client.list(configMaps);
    expect(fake.connections).toBeLessThanOrEqual(2);
  });

  it('are few under many calls at a time', async () => {
    await Promise.all(Array.from({ length: 100 }, () => client.list(configMaps)));
    expect(fake.requests).toHaveLength(100);
    expect(fake.connections).toBeLessThanOrEqual(poolSize);
  });

  it('of watches do not starve calls', async () => {
    const stop = new AbortController();
    setMaxListeners(0, stop.signal);
    const options = { resourceVersion: '100', timeoutSeconds: 300 };
    for (let i = 0; i < 2 * poolSize; i++) {
      await client.watch(configMaps, options, stop.signal);
    }
    await client.list(configMaps);
    stop.abort();
  });

  it('are reused over TLS too, and follow a CA that is replaced', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'kube-config-'));
    const caFile = join(directory, 'ca.crt');
    const [first, second] = [await selfSigned('first'), await selfSigned('second')];
    await writeFile(caFile, first.cert);
    const clock = new VirtualClock();
    let secure = await FakeKube.start(first);
    const port = secure.port;
    const cluster = { 'certificate-authority': caFile };
    const tls = KubeConfig.fromString(secure.kubeconfig(port, cluster), { clock });
    const tlsClient = new KubeClient(tls);
    for (let i = 0; i < 50; i++) await tlsClient.list(configMaps);
    expect(secure.connections).toBeLessThanOrEqual(2);

    await secure.stop();
    secure = await FakeKube.start(second, port);
    expect((await errorOf(tlsClient.list(configMaps))).code).toBe(0);
    await writeFile(caFile, second.cert);
    await clock.advance(5_001);
    await tlsClient.list(configMaps);
    await tls.close();
    await secure.stop();
    await rm(directory, { recursive: true });
  });

  it('are not made in plain text, unless to loopback and asked for', () => {
    expect(() => KubeConfig.fromString(fake.kubeconfig())).toThrow('refusing plain http');
    const remote = fake.kubeconfig().replace('127.0.0.1', '192.0.2.1');
    expect(() => KubeConfig.fromString(remote, { insecureLoopback: true })).toThrow(
      'refusing plain http',
    );
  });
});

describe('credentials', () => {
  it('are read again after a 401', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'kube-config-'));
    const file = join(directory, 'config');
    await writeFile(file, fake.kubeconfig());
    const fromFile = KubeConfig.fromFile(file, { insecureLoopback: true });
    const renewed = new KubeClient(fromFile);
    await renewed.list(configMaps);
    await writeFile(file, fake.kubeconfig().replace('secret', 'renewed'));
    fake.fault((request, response) => {
      if (request.headers.authorization === 'Bearer renewed') return false;
      fail(response, 401, 'Unauthorized');
      return true;
    }, 10);
    await renewed.list(configMaps);
    expect(fake.requests.at(-1)?.headers.authorization).toBe('Bearer renewed');
    await fromFile.close();
    await rm(directory, { recursive: true });
  });
});

describe('calls', () => {
  it('send each kind of patch as what it is', async () => {
    fake.put(`${path}/x`, { data: { a: '1' } });
    const name = { namespace: 'a', name: 'x' };
    const merged = await client.patch(configMaps, name, {
      type: 'merge',
      body: { data: { b: '2' } },
    });
    expect(merged.data).toEqual({ a: '1', b: '2' });
    await client.patch(configMaps, name, {
      type: 'json',
      body: [{ op: 'remove', path: '/data/a' }],
    });
    await client.apply(configMaps, { metadata: name, data: { c: '3' } }, { force: true });
    const patches = fake.requestsOf('PATCH');
    expect(patches.map(({ headers }) => headers['content-type'])).toEqual([
      'application/merge-patch+json',
      'application/json-patch+json',
      'application/apply-patch+yaml',
    ]);
    expect(Object.fromEntries(patches[2]!.query)).toEqual({ fieldManager: 'nap', force: 'true' });
    expect(JSON.parse(patches[2]!.body)).toMatchObject({ apiVersion: 'v1', kind: 'ConfigMap' });
    expect(fake.read(`${path}/x`)?.['data']).toEqual({ b: '2', c: '3' });
  });

  it('tell what the server said when it refuses', async () => {
    const missing = await errorOf(client.get(configMaps, { namespace: 'a', name: 'no' }));
    expect(isNotFound(missing)).toBe(true);
    expect(missing).toMatchObject({ code: 404, reason: 'NotFound', retryable: false });
    expect(await client.find(configMaps, { namespace: 'a', name: 'no' })).toBeUndefined();

    const created = await client.create(configMaps, { metadata: { namespace: 'a', name: 'x' } });
    expect(isAlreadyExists(await errorOf(client.create(configMaps, created)))).toBe(true);
    await client.update(configMaps, { ...created, data: { a: '1' } });
    const stale = await errorOf(client.update(configMaps, created));
    expect([isConflict(stale), isAlreadyExists(stale), stale.retryable]).toEqual([
      true,
      false,
      true,
    ]);

    fake.fault((_request, response) => {
      response.writeHead(502).end('<html>bad gateway</html>');
      return true;
    });
    const proxied = await errorOf(client.list(configMaps));
    expect(proxied).toMatchObject({ code: 502, retryable: true });
    expect(proxied.message).toContain('bad gateway');
  });

  it('do not take the answer of something else for one of the API', async () => {
    const login: Fault = (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<h1>please log in</h1>');
      return true;
    };
    fake.put(`${path}/x`);
    fake.fault(login, 2);
    expect((await errorOf(client.list(configMaps))).reason).toBe('Unreadable');
    expect((await errorOf(client.get(configMaps, { namespace: 'a', name: 'x' }))).reason).toBe(
      'Unreadable',
    );
    fake.fault((_request, response) => {
      response.writeHead(404, { 'content-type': 'text/plain' }).end('404 page not found');
      return true;
    }, 2);
    const name = { namespace: 'a', name: 'x' };
    expect(await errorOf(client.find(configMaps, name))).toMatchObject({
      code: 404,
      reason: 'NotServed',
    });
  });

  it('do as Retry-After says when there is time, else say so', async () => {
    const busy = (after: string) => (_request: unknown, response: Parameters<typeof fail>[0]) => {
      fail(response, 429, 'TooManyRequests', { 'retry-after': after });
      return true;
    };
    fake.fault(busy('0'), 2);
    await client.create(configMaps, { metadata: { namespace: 'a', name: 'x' } });
    expect(fake.requests).toHaveLength(3);
    fake.fault(busy('60'));
    expect(await errorOf(client.list(configMaps))).toMatchObject({
      code: 429,
      retryAfterMs: 60_000,
      retryable: true,
    });
  });

  it('end in time when the server does not answer', async () => {
    fake.fault(() => true);
    const hasty = new KubeClient(config, { timeoutMs: 100 });
    expect(await errorOf(hasty.list(configMaps))).toMatchObject({
      code: 0,
      reason: 'ClientTimeout',
      retryable: true,
    });
  });

  it('end with the reason of their signal', async () => {
    fake.fault(() => true);
    const stop = new AbortController();
    const reason = new Error('shutting down');
    const listing = client.list(configMaps, {}, stop.signal);
    stop.abort(reason);
    await expect(listing).rejects.toBe(reason);
  });

  it('read again over a connection that the server has just closed', async () => {
    await client.list(configMaps);
    fake.fault((_request, response) => {
      response.destroy();
      return true;
    });
    await client.list(configMaps);
    fake.fault((_request, response) => {
      response.destroy();
      return true;
    });
    const write = client.create(configMaps, { metadata: { namespace: 'a', name: 'x' } });
    expect(await errorOf(write)).toMatchObject({ code: 0, retryable: true });
  });

  it('report a server that is not there', async () => {
    await fake.stop();
    expect(await errorOf(client.list(configMaps))).toMatchObject({ code: 0, reason: 'Network' });
    await fake.listen();
  });
});

describe('lists', () => {
  beforeEach(() => {
    for (let i = 0; i < 12; i++) fake.put(`${path}/x${String(i).padStart(2, '0')}`);
  });

  it('are read in pages, and name the version of the first', async () => {
    const before = String(fake.version);
    fake.fault((request) => {
      if (request.query.has('continue')) fake.put(`${path}/later`);
      return false;
    });
    const { items, resourceVersion } = await client.list(configMaps, { pageSize: 5 });
    expect(items.map((item) => item.metadata.name)).toHaveLength(12);
    expect(items[0]).toMatchObject({ apiVersion: 'v1', kind: 'ConfigMap' });
    expect(resourceVersion).toBe(before);
    expect(fake.requests).toHaveLength(3);
  });

  it('start again when they expire between pages', async () => {
    let expired = false;
    fake.fault((request) => {
      if (request.query.has('continue') && !expired) {
        expired = true;
        fake.compact();
      }
      return false;
    });
    const { items } = await client.list(configMaps, { pageSize: 5 });
    expect(items).toHaveLength(12);
    expect(fake.requests).toHaveLength(5);
  });

  it('are given up when they keep expiring', async () => {
    fake.fault((request, response) => {
      if (!request.query.has('continue')) return false;
      fail(response, 410, 'Expired');
      return true;
    }, 100);
    expect(isGone(await errorOf(client.list(configMaps, { pageSize: 5 })))).toBe(true);
  });
});

describe('status and finalizers', () => {
  const name = { namespace: 'a', name: 'p' };
  const projectPath = '/apis/nap.dev/v1alpha1/namespaces/a/projects/p';

  beforeEach(() => {
    fake.put(projectPath, { spec: { services: {} }, metadata: { finalizers: ['other/one'] } });
  });

  it('status is written where it differs, and not at all where it does not', async () => {
    const project = await client.get(projects, name);
    expect(
      await writeStatus(client, projects, project, { state: 'Pending', services: '0/1' }),
    ).toBeDefined();
    const seen = await client.get(projects, name);
    expect(
      await writeStatus(client, projects, seen, { services: '0/1', state: 'Pending' }),
    ).toBeUndefined();
    expect(await writeStatus(client, projects, seen, { state: 'Running' })).toBeDefined();
    expect(fake.read(projectPath)?.['status']).toEqual({ state: 'Running' });
    expect(fake.requestsOf('PATCH').map((request) => request.path)).toEqual([
      `${projectPath}/status`,
      `${projectPath}/status`,
    ]);
  });

  it('a status meant for a deleted object does not land on its successor', async () => {
    const old = await client.get(projects, name);
    fake.remove(projectPath);
    fake.put(projectPath);
    expect(isConflict(await errorOf(writeStatus(client, projects, old, { state: 'Lost' })))).toBe(
      true,
    );
  });

  it('a finalizer is added once, holds the object, and leaves those of others alone', async () => {
    const add = async () =>
      addFinalizer(client, projects, await client.get(projects, name), 'nap.dev/x');
    const remove = async () =>
      removeFinalizer(client, projects, await client.get(projects, name), 'nap.dev/x');
    expect((await add()).metadata.finalizers).toEqual(['other/one', 'nap.dev/x']);
    await add();
    expect(fake.requestsOf('PATCH')).toHaveLength(1);
    await client.delete(projects, name);
    await remove();
    expect(fake.read(projectPath)?.metadata.finalizers).toEqual(['other/one']);
    // It may go now: nothing is put on it again.
    await add();
    await remove();
    expect(fake.requestsOf('PATCH')).toHaveLength(2);
  });

  it('a stale list of finalizers overwrites nobody', async () => {
    const stale = await client.get(projects, name);
    await client.patch(projects, name, { type: 'merge', body: { metadata: { finalizers: [] } } });
    expect(isConflict(await errorOf(addFinalizer(client, projects, stale, 'nap.dev/x')))).toBe(
      true,
    );
  });
});
