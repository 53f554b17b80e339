/* eslint-disable @typescript-eslint/no-unsafe-member-access, @typescript-eslint/no-unsafe-return -- answers are looked into as they come off the wire */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  scratchNamespace,
  unique,
  type RawClient,
  type RawWatch,
  type ServerUnderTest,
} from '../../support/apiserver.ts';
import { service, servicesPath, tableAccept } from './fixtures.ts';

/** Watches, as seen on the wire. */
export function watchesSuite(server: () => ServerUnderTest): void {
  describe('watches', () => {
    let client: RawClient;
    let ns: Awaited<ReturnType<typeof scratchNamespace>>;
    let base: string;
    const open: RawWatch[] = [];

    beforeAll(async () => {
      client = server().client;
      ns = await scratchNamespace(client);
      base = servicesPath(ns.name);
    });
    afterAll(() => ns.drop());
    afterEach(() => {
      for (const watch of open.splice(0)) watch.close();
    });

    async function watch(query: string, headers: Record<string, string> = {}): Promise<RawWatch> {
      const started = await client.watch(`${base}?watch=true&${query}`, headers);
      open.push(started);
      return started;
    }
    const now = async (): Promise<string> => (await client.get(base)).body.metadata.resourceVersion;
    async function make(metadata: Record<string, unknown> = {}): Promise<string> {
      const name = `w-${unique()}`;
      const made = await client.post(base, service(name, {}, metadata));
      expect(made.code, made.text).toBe(201);
      return name;
    }

    it('sends its headers at once, uncompressed, and then one document a line', async () => {
      const started = performance.now();
      const stream = await watch(`resourceVersion=${await now()}`, { 'accept-encoding': 'gzip' });
      expect(performance.now() - started).toBeLessThan(5_000);
      expect(stream.response.statusCode).toBe(200);
      expect(stream.response.headers['content-type']).toBe('application/json');
      expect(stream.response.headers['content-encoding']).toBeUndefined();
      expect(stream.response.headers['transfer-encoding']).toBe('chunked');
      const name = await make();
      expect(await stream.next()).toMatchObject({ type: 'ADDED', object: { metadata: { name } } });
    });

    it('follows creation, change and deletion, in order and once each', async () => {
      const stream = await watch(`resourceVersion=${await now()}`);
      const name = await make();
      await client.merge(`${base}/${name}`, { spec: { replicas: 2 } });
      await client.merge(`${base}/${name}`, { spec: { replicas: 2 } });
      await client.delete(`${base}/${name}`);
      const events = [await stream.next(), await stream.next(), await stream.next()];
      expect(events.map(({ type }) => type)).toEqual(['ADDED', 'MODIFIED', 'DELETED']);
      const revisions = events.map(({ object }) => Number(object.metadata.resourceVersion));
      expect(revisions[0]).toBeLessThan(revisions[1] ?? 0);
      // A deletion carries its own revision, so that a client resumes after it.
      expect(revisions[1]).toBeLessThan(revisions[2] ?? 0);
      expect(events[2]?.object.spec.replicas).toBe(2);
    });

    it.each(['', 'resourceVersion=0'])('announces what is there first (%j)', async (query) => {
      const name = await make();
      const stream = await watch(`${query}&fieldSelector=metadata.name%3D${name}`);
      expect(await stream.next()).toMatchObject({ type: 'ADDED', object: { metadata: { name } } });
      await client.delete(`${base}/${name}`);
      expect(await stream.next()).toMatchObject({ type: 'DELETED' });
    });

    it('resumes after a revision without loss or repetition', async () => {
      const start = await now();
      const names = [await make(), await make(), await make()];
      const first = await watch(`resourceVersion=${start}`);
      const one = await first.next();
      first.close();
      const second = await watch(`resourceVersion=${one.object.metadata.resourceVersion}`);
      const rest = [await second.next(), await second.next()];
      expect([one, ...rest].map(({ object }) => object.metadata.name)).toEqual(names);
    });

    it('shows objects entering and leaving a selector as ADDED and DELETED', async () => {
      const stream = await watch(
        `resourceVersion=${await now()}&labelSelector=${encodeURIComponent('color=red')}`,
      );
      const name = await make({ labels: { color: 'blue' } });
      await client.merge(`${base}/${name}`, { metadata: { labels: { color: 'red' } } });
      const added = await stream.next();
      expect(added).toMatchObject({
        type: 'ADDED',
        object: { metadata: { labels: { color: 'red' } } },
      });
      const left = await client.merge(`${base}/${name}`, {
        metadata: { labels: { color: 'green' } },
      });
      const deleted = await stream.next();
      expect(deleted.type).toBe('DELETED');
      expect(deleted.object.metadata.labels.color).toBe('red');
      expect(deleted.object.metadata.resourceVersion).toBe(left.body.metadata.resourceVersion);
      await client.delete(`${base}/${name}`);
      const other = await make({ labels: { color: 'red' } });
      expect((await stream.next()).object.metadata.name).toBe(other);
    });

    it('goes over all namespaces, and over one only', async () => {
      const other = await scratchNamespace(client);
      const mine = await watch(`resourceVersion=${await now()}`);
      const all = await client.watch(
        `/apis/nap.dev/v1alpha1/services?watch=true&resourceVersion=${await now()}`,
      );
      open.push(all);
      await client.post(servicesPath(other.name), service('elsewhere'));
      const name = await make();
      expect((await mine.next()).object.metadata.name).toBe(name);
      // Namespaces of earlier suites may still be emptying.
      const next = async (): Promise<string> => {
        for (;;) {
          const { metadata } = (await all.next()).object as {
            readonly metadata: { readonly namespace: string; readonly name: string };
          };
          if ([ns.name, other.name].includes(metadata.namespace)) return metadata.name;
        }
      };
      expect([await next(), await next()]).toEqual(['elsewhere', name]);
      await other.drop();
    });

    it('ends normally at timeoutSeconds', async () => {
      const stream = await watch(`resourceVersion=${await now()}&timeoutSeconds=1`);
      await stream.end(10_000);
      expect(stream.events).toEqual([]);
    });

    it('tells a revision that is too old: 410 Expired', async () => {
      for (let i = 0; i < 3; i++) await make();
      const stream = await watch('resourceVersion=1');
      const event = await stream.next();
      expect(event).toMatchObject({
        type: 'ERROR',
        object: { kind: 'Status', status: 'Failure', reason: 'Expired', code: 410 },
      });
      expect(event.object.message).toContain('too old resource version: 1');
      await stream.end();
    });

    it('refuses what it cannot parse before it streams', async () => {
      const nonsense = await client.get(`${base}?watch=true&resourceVersion=abc`);
      expect([400, 500]).toContain(nonsense.code);
      expect(nonsense.body.message).toContain('resourceVersion: Invalid value: "abc"');
      expect(
        (await client.get(`${base}?watch=true&labelSelector=${encodeURIComponent('a in (')}`)).code,
      ).toBe(400);
      expect((await client.get(`${base}?watch=true&sendInitialEvents=true`)).code).toBe(422);
    });

    it('makes tables, with column definitions in the first event only', async () => {
      const stream = await watch(`resourceVersion=${await now()}`, { accept: tableAccept });
      const name = await make();
      await client.merge(`${base}/${name}`, { spec: { replicas: 2 } });
      const [first, second] = [await stream.next(), await stream.next()];
      expect(first.object.kind).toBe('Table');
      expect(first.object.columnDefinitions.length).toBeGreaterThan(2);
      expect(first.object.rows[0].cells[0]).toBe(name);
      expect(second.type).toBe('MODIFIED');
      expect(second.object.columnDefinitions ?? null).toBe(null);
      expect(second.object.rows[0].object.metadata.name).toBe(name);
    });

    it('sends bookmarks before its end to those who ask', async () => {
      const start = await now();
      const name = await make();
      const stream = await watch(
        `resourceVersion=${start}&allowWatchBookmarks=true&timeoutSeconds=4&fieldSelector=metadata.name%3Dno-such`,
      );
      await client.delete(`${base}/${name}`);
      await stream.end(15_000);
      // The real server may have had no news from its store; ours always has.
      if (server().embedded) expect(stream.events.length).toBeGreaterThan(0);
      for (const event of stream.events) {
        expect(event).toMatchObject({
          type: 'BOOKMARK',
          object: { apiVersion: 'nap.dev/v1alpha1', kind: 'Service' },
        });
        expect(Number(event.object.metadata.resourceVersion)).toBeGreaterThan(Number(start));
      }
    });

    it('streams the initial list when asked, or refuses with 422', async () => {
      const name = await make();
      const stream = await watch(
        `sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&fieldSelector=metadata.name%3D${name}`,
      );
      if (stream.response.statusCode === 422) return;
      const first = await stream.next();
      if (first.type === 'ERROR') return;
      expect(first).toMatchObject({ type: 'ADDED', object: { metadata: { name } } });
      const bookmark = await stream.next();
      expect(bookmark).toMatchObject({
        type: 'BOOKMARK',
        object: { metadata: { annotations: { 'k8s.io/initial-events-end': 'true' } } },
      });
    });

    it('watches collections: one object is answered, not watched', async () => {
      const name = await make();
      const got = await client.get(`${base}/${name}?watch=true`);
      expect(got.body).toMatchObject({ kind: 'Service', metadata: { name } });
    });

    it('serves 200 watchers at once', async () => {
      const start = await now();
      const streams = await Promise.all(
        Array.from({ length: 200 }, () => watch(`resourceVersion=${start}`)),
      );
      const name = await make();
      const seen = await Promise.all(
        streams.map(async (stream) => (await stream.next(20_000)).object.metadata.name as string),
      );
      expect(new Set(seen)).toEqual(new Set([name]));
    });
  });
}
