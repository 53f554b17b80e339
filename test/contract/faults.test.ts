/* eslint-disable @typescript-eslint/no-unsafe-member-access, @typescript-eslint/no-unsafe-assignment, @typescript-eslint/no-unsafe-argument, @typescript-eslint/no-unsafe-call -- answers are looked into as they come off the wire */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { MemoryStore } from '../../src/registry/memory/store.ts';
import { UnavailableError } from '../../src/registry/store.ts';
import { startApiServer } from '../../src/apiserver/server.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/telemetry/log.ts';
import {
  startEmbedded,
  unique,
  type EmbeddedServer,
  type RawClient,
  type RawWatch,
} from '../support/apiserver.ts';
import { openTestStore } from '../support/etcd-store.ts';
import { TestEtcd } from '../support/etcd.ts';
import { eventually } from '../support/eventually.ts';
import { service, servicesPath } from './suite/fixtures.ts';

/** What the embedded server does when its store, its clients or its operator misbehave. */
const base = servicesPath('default');

describe('hostile requests', () => {
  let server: EmbeddedServer;
  let client: RawClient;
  beforeAll(async () => {
    server = await startEmbedded();
    client = server.client;
  });
  afterAll(() => server.close());
  afterEach(async () => {
    // Whatever was sent: the server still works.
    expect((await client.get('/readyz')).text).toBe('ok');
  });

  const post = (bytes: Buffer | string, type = 'application/json') =>
    client.request('POST', base, { bytes, type });

  it('a body of 10 MB is 413, whether its length is declared or not', async () => {
    const large = JSON.stringify(
      service('large', {}, { annotations: { a: 'x'.repeat(10 * 1024 * 1024) } }),
    );
    let code: number | string;
    try {
      const answer = await post(large);
      code = answer.code;
      expect(answer.body.reason).toBe('RequestEntityTooLarge');
    } catch (error) {
      // The server need not read on: a client that is still writing may see the connection go.
      code = (error as NodeJS.ErrnoException).code ?? '';
    }
    expect([413, 'EPIPE', 'ECONNRESET']).toContain(code);
    expect((await client.get(`${base}/large`)).code).toBe(404);
  });

  it.each([
    ['JSON that nests 100,000 deep', `{"spec":${'['.repeat(100_000)}${']'.repeat(100_000)}}`],
    [
      'objects that nest 100,000 deep',
      `{"spec":${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}}`,
    ],
    ['text that is not JSON', '{"apiVersion": nonsense'],
    ['half a document', '{"apiVersion":"nap.dev/v1alpha1","kind":"Serv'],
    ['nothing', ''],
    ['a list', '[]'],
    ['null', 'null'],
    ['a number', '42'],
    [
      'metadata that is a list',
      '{"apiVersion":"nap.dev/v1alpha1","kind":"Service","metadata":[],"spec":{"image":"a"}}',
    ],
    [
      'a kind that is a number',
      '{"apiVersion":"nap.dev/v1alpha1","kind":7,"metadata":{"name":"a"},"spec":{"image":"a"}}',
    ],
    ['bytes that are not UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d])],
  ])('%s is refused with a Status', async (_what, bytes) => {
    const answer = await post(bytes);
    expect([400, 422], answer.text).toContain(answer.code);
    expect(answer.body).toMatchObject({ kind: 'Status', status: 'Failure' });
  });

  it.each([
    [
      'aliases that multiply',
      `a: &a [x,x,x,x,x,x,x,x,x]\n${Array.from('bcdefghij')
        .map(
          (name, index) =>
            `${name}: &${name} [${Array(9).fill(`*${'abcdefghij'[index]}`).join(',')}]`,
        )
        .join('\n')}\n`,
    ],
    ['tags', 'apiVersion: !!js/function "function(){}"\n'],
    ['text that is not YAML', '{a: [b'],
  ])('YAML with %s is refused', async (_what, text) => {
    const answer = await post(text, 'application/yaml');
    expect(answer.code, answer.text).toBe(400);
  });

  it('deep JSON in a patch is refused too', async () => {
    await client.post(base, service('patched'));
    const deep = await client.request('PATCH', `${base}/patched`, {
      bytes: `{"spec":${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}}`,
      type: 'application/merge-patch+json',
    });
    expect(deep.code).toBe(400);
    // Deep only after the patch: each operation nests the object into itself.
    const nested = await client.jsonPatch(`${base}/patched`, [
      { op: 'add', path: '/spec/labels', value: { a: 'b' } },
      ...Array.from({ length: 40 }, () => ({ op: 'copy', from: '/spec', path: '/spec/bogus' })),
    ]);
    expect([200, 400, 413, 422]).toContain(nested.code);
  });

  it('a JSON patch cannot blow an object up', async () => {
    await client.post(base, service('blown', { command: ['x'.repeat(1000)] }));
    const patch = Array.from({ length: 60 }, (_, index) => [
      { op: 'copy', from: '/metadata/annotations', path: `/metadata/annotations/a${index}` },
    ]).flat();
    const answer = await client.jsonPatch(`${base}/blown`, [
      { op: 'add', path: '/metadata/annotations', value: { seed: 'y' } },
      ...patch,
    ]);
    expect([400, 413, 422]).toContain(answer.code);
  });

  it('__proto__ and constructor are names like others', async () => {
    const answer = await post(
      '{"apiVersion":"nap.dev/v1alpha1","kind":"Service","metadata":{"name":"proto","labels":{"constructor":"x"}},"spec":{"image":"a","environment":{"__proto__":"polluted","toString":"y"}}}',
    );
    expect([201, 422], answer.text).toContain(answer.code);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
    const patched = await client.request('PATCH', `${base}/proto`, {
      bytes: '{"__proto__":{"polluted":true},"metadata":{"__proto__":{"polluted":true}}}',
      type: 'application/merge-patch+json',
    });
    expect([200, 400, 422, 404]).toContain(patched.code);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
    const list = await client.get(`${base}?labelSelector=constructor%3Dx`);
    expect(list.code).toBe(200);
  });

  it.each([
    '/api/v1/namespaces/default/secrets/..%2F..%2F..%2Fkube-system%2Fsecrets%2Fx',
    '/api/v1/namespaces/..%2Fdefault/secrets/x',
    '/api/v1/namespaces/default/secrets/%2e%2e',
    '/api/v1/namespaces/%00/secrets/x',
    '/api/v1/namespaces/default/secrets/a%',
    '/api/v1/namespaces/default/secrets/../../../nap/v1/leader',
    '//api/v1/namespaces',
    '/api/v1/namespaces/default/secrets/' + 'x'.repeat(5000),
  ])('the path %s leads nowhere', async (path) => {
    const answer = await client.get(path);
    expect([400, 404], answer.text).toContain(answer.code);
    const written = await client.request('PATCH', `${path}?fieldManager=x`, {
      body: { apiVersion: 'v1', kind: 'Secret', metadata: {} },
      type: 'application/apply-patch+yaml',
    });
    expect([400, 404, 405, 422], written.text).toContain(written.code);
    const { entries } = await server.store.list('/');
    for (const { key } of entries)
      expect(key).toMatch(/^\/(nap\/apiserver|contract)\/[a-z0-9./-]+$/);
  });

  it('a record in the store that is no object disturbs nothing', async () => {
    const key = '/nap/apiserver/nap.dev/services/default/';
    await server.store.commit(
      [],
      ['{', '[]', '{"metadata":{}}', ''].map((value, index) => ({
        type: 'put' as const,
        key: `${key}broken${index}`,
        value,
      })),
    );
    await client.post(base, service('healthy'));
    const list = await client.get(base);
    expect(list.code).toBe(200);
    expect(
      list.body.items.map((item: { metadata: { name: string } }) => item.metadata.name),
    ).toContain('healthy');
    expect((await client.get(`${base}/broken0`)).code).toBe(404);
  });

  it('a watcher that does not read is cut off, and the others never notice', async () => {
    const start: string = (await client.get(base)).body.metadata.resourceVersion;
    const deaf = await client.open('GET', `${base}?watch=true&resourceVersion=${start}`);
    deaf.pause();
    let closed = false;
    deaf.socket.on('close', () => (closed = true));
    const keen = await client.watch(`${base}?watch=true&resourceVersion=${start}`);
    const path = `${base}/noisy`;
    await client.post(base, service('noisy', {}, { annotations: { text: 'x'.repeat(100_000) } }));
    let written = 1;
    for (let i = 0; i < 1300; i += 10) {
      const answers = await Promise.all(
        Array.from({ length: 10 }, (_, j) =>
          client.merge(path, { metadata: { labels: { [`l${j}`]: `v${i}` } } }),
        ),
      );
      written += answers.filter(({ code }) => code === 200).length;
      await eventually('the other keeps up', () => keen.events.length === written, 20_000);
    }
    expect(written).toBeGreaterThan(1100);
    await eventually(
      'the deaf watcher is cut off',
      () => {
        // A paused stream learns of the end only when it is read.
        if (deaf.socket.destroyed || closed) return true;
        deaf.resume();
        return false;
      },
      20_000,
    );
    expect(keen.ended).toBe(false);
    keen.close();
  }, 90_000);
});

describe('faults of the store', () => {
  it('without the store: 503 with Retry-After, watches end, and all is well again after it', async () => {
    const store = new MemoryStore();
    const server = await startEmbedded({ store });
    const { client } = server;
    try {
      const watch = await client.watch(`${base}?watch=true&resourceVersion=0`);
      store.failWith(new UnavailableError('gone'));
      const read = await client.get(base);
      expect(read.code).toBe(503);
      expect(read.body.reason).toBe('ServiceUnavailable');
      expect(Number(read.headers['retry-after'])).toBeGreaterThan(0);
      expect((await client.post(base, service('x'))).code).toBe(503);
      await watch.end(30_000);
      expect((await client.get(`${base}?watch=true`)).code).toBe(503);
      expect((await client.get('/readyz')).code).toBe(500);
      expect((await client.get('/livez')).code).toBe(200);
      store.failWith(undefined);
      await eventually(
        'ready again',
        async () => (await client.get('/readyz')).code === 200,
        15_000,
      );
      expect((await client.post(base, service('x'))).code).toBe(201);
    } finally {
      store.failWith(undefined);
      await server.close();
      await store.close();
    }
  });

  it('an etcd that hangs does not hang clients', async () => {
    const etcd = await TestEtcd.start();
    const store = await openTestStore(etcd.url);
    const server = await startEmbedded({ store });
    const { client } = server;
    try {
      const watch = await client.watch(`${base}?watch=true&resourceVersion=0`);
      etcd.pause();
      const started = performance.now();
      const read = await client.get(base);
      expect(read.code).toBe(503);
      expect(performance.now() - started).toBeLessThan(15_000);
      await watch.end(40_000);
      etcd.resume();
      await eventually(
        'ready again',
        async () => (await client.get('/readyz')).code === 200,
        30_000,
      );
      expect((await client.post(base, service('after'))).code).toBe(201);
    } finally {
      etcd.resume();
      await server.close();
      await store.close();
      await etcd.stop();
    }
  }, 120_000);

  it('compaction: an old continue token and an old exact revision are 410', async () => {
    const store = new MemoryStore();
    const server = await startEmbedded({ store });
    const { client } = server;
    try {
      for (const name of ['a', 'b', 'c']) await client.post(base, service(name));
      const page = await client.get(`${base}?limit=1`);
      const revision: string = page.body.metadata.resourceVersion;
      await client.post(base, service('d'));
      store.compact();
      const next = await client.get(
        `${base}?limit=1&continue=${encodeURIComponent(page.body.metadata.continue)}`,
      );
      expect(next.code).toBe(410);
      expect(next.body.reason).toBe('Expired');
      const fresh = await client.get(
        `${base}?continue=${encodeURIComponent(next.body.metadata.continue)}`,
      );
      expect(fresh.code).toBe(200);
      expect(
        fresh.body.items.map((item: { metadata: { name: string } }) => item.metadata.name),
      ).toEqual(['b', 'c', 'd']);
      const exact = await client.get(
        `${base}?resourceVersion=${revision}&resourceVersionMatch=Exact`,
      );
      expect(exact.code).toBe(410);
    } finally {
      await server.close();
      await store.close();
    }
  });
});

describe('life of the server', () => {
  it('a restart ends watches; afterwards they resume, or are told to list again', async () => {
    const server = await startEmbedded();
    const { client } = server;
    try {
      await client.post(base, service('before'));
      const revision: string = (await client.get(base)).body.metadata.resourceVersion;
      const watch = await client.watch(`${base}?watch=true&resourceVersion=${revision}`);
      await server.restart();
      await watch.end();
      await eventually(
        'it answers again',
        async () => (await client.get(`${base}/before`)).code === 200,
      );
      const again: RawWatch = await client.watch(`${base}?watch=true&resourceVersion=${revision}`);
      await client.post(base, service('after'));
      const event = await again.next();
      if (event.type === 'ERROR') expect(event.object.code).toBe(410);
      else expect(event).toMatchObject({ type: 'ADDED', object: { metadata: { name: 'after' } } });
      again.close();
    } finally {
      await server.close();
    }
  });

  it('stops quickly although clients watch and keep connections open', async () => {
    const server = await startEmbedded();
    const watches = await Promise.all(
      Array.from({ length: 20 }, () => server.client.watch(`${base}?watch=true&resourceVersion=0`)),
    );
    const started = performance.now();
    await server.stop();
    expect(performance.now() - started).toBeLessThan(3_000);
    for (const watch of watches) await watch.end();
    server.client.close();
  });

  it('two servers on one store are one API', async () => {
    const store = new MemoryStore();
    const [one, two] = [await startEmbedded({ store }), await startEmbedded({ store })];
    try {
      const watch = await two.client.watch(`${base}?watch=true&resourceVersion=0`);
      await one.client.post(base, service('shared'));
      expect((await watch.next()).object.metadata.name).toBe('shared');
      expect((await two.client.get(`${base}/shared`)).code).toBe(200);
      const put = async (server: EmbeddedServer) => {
        const { body } = await server.client.get(`${base}/shared`);
        return () =>
          server.client.put(`${base}/shared`, { ...body, spec: { ...body.spec, image: unique() } });
      };
      const writes = [await put(one), await put(two)];
      const codes = (await Promise.all(writes.map((write) => write()))).map(({ code }) => code);
      expect(codes.sort()).toEqual([200, 409]);
      watch.close();
    } finally {
      await one.close();
      await two.close();
      await store.close();
    }
  });

  it('without TLS it serves the loopback interface only, and nobody through a browser', async () => {
    const store = new MemoryStore();
    const options = { store, crds: [], tokens: [], log: silentLogger, clock: systemClock };
    await expect(
      startApiServer({ ...options, listen: { host: '0.0.0.0', port: 0 } }),
    ).rejects.toThrow('loopback');
    const server = await startApiServer({ ...options, listen: { host: '127.0.0.1', port: 0 } });
    try {
      expect((await fetch(`${server.url}/api/v1/namespaces`)).status).toBe(200);
      const rebound = await fetch(`${server.url}/api/v1/namespaces`, {
        headers: { origin: 'http://evil.example' },
      });
      expect(rebound.status).toBe(403);
    } finally {
      await server.close();
      await store.close();
    }
  });
});
