/* eslint-disable @typescript-eslint/no-unsafe-member-access, @typescript-eslint/no-unsafe-assignment, @typescript-eslint/no-unsafe-argument, @typescript-eslint/no-unsafe-return, @typescript-eslint/no-unsafe-call -- answers are looked into as they come off the wire */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { scratchNamespace, type RawClient, type ServerUnderTest } from '../../support/apiserver.ts';
import { service, servicesPath, tableAccept } from './fixtures.ts';

/** Lists: selectors, pages, revisions, tables. */
export function listsSuite(server: () => ServerUnderTest): void {
  describe('lists', () => {
    let client: RawClient;
    let ns: Awaited<ReturnType<typeof scratchNamespace>>;
    let base: string;

    beforeAll(async () => {
      client = server().client;
      ns = await scratchNamespace(client);
      base = servicesPath(ns.name);
      for (const [name, labels] of Object.entries({
        a: { app: 'web', tier: 'front' },
        b: { app: 'web', tier: 'back' },
        c: { app: 'db' },
        d: {},
        e: { app: 'db', 'example.com/x': 'y' },
      })) {
        await client.post(base, service(name, {}, { labels }));
      }
    });
    afterAll(() => ns.drop());

    const names = (body: { items: { metadata: { name: string } }[] }): string =>
      body.items.map((item) => item.metadata.name).join('');

    it('has the shape of a list', async () => {
      const list = await client.get(base);
      expect(list.body).toMatchObject({ apiVersion: 'nap.dev/v1alpha1', kind: 'ServiceList' });
      expect(list.body.metadata.resourceVersion).toMatch(/^\d+$/);
      expect(names(list.body)).toBe('abcde');
      for (const item of list.body.items)
        expect(item).toMatchObject({ apiVersion: 'nap.dev/v1alpha1', kind: 'Service' });
    });

    it('is an empty array, not null, when there is nothing', async () => {
      const list = await client.get(servicesPath('no-such-namespace'));
      expect(list.code).toBe(200);
      expect(list.body.items).toEqual([]);
    });

    it('goes over all namespaces', async () => {
      const list = await client.get('/apis/nap.dev/v1alpha1/services');
      const own = list.body.items.filter(
        (item: { metadata: { namespace: string } }) => item.metadata.namespace === ns.name,
      );
      expect(own).toHaveLength(5);
    });

    it.each([
      ['app=web', 'ab'],
      ['app==web', 'ab'],
      ['app!=web', 'cde'],
      ['app in (web,db)', 'abce'],
      ['app notin (web)', 'cde'],
      ['app', 'abce'],
      ['!app', 'd'],
      ['app=web,tier=back', 'b'],
      ['example.com/x=y', 'e'],
      ['tier in ()', ''],
      ['', 'abcde'],
    ])('label selector %j', async (selector, expected) => {
      const list = await client.get(`${base}?labelSelector=${encodeURIComponent(selector)}`);
      expect(list.code, list.text).toBe(200);
      expect(names(list.body)).toBe(expected);
    });

    it.each([
      'a b',
      'app=',
      '=web',
      'app in web',
      'app in (web',
      ',',
      'a=b,,c=d',
      'app=web,',
      '!!a',
      'a=(b)',
    ])('a bad label selector %j is 400 or harmless, never a failure', async (selector) => {
      const list = await client.get(`${base}?labelSelector=${encodeURIComponent(selector)}`);
      expect([200, 400], list.text).toContain(list.code);
      if (list.code === 400) expect(list.body.reason).toBe('BadRequest');
    });

    it('refuses a selector that cannot be parsed', async () => {
      const list = await client.get(`${base}?labelSelector=${encodeURIComponent('app in (web')}`);
      expect(list.code).toBe(400);
    });

    it('field selectors know name and namespace', async () => {
      const select = async (text: string) =>
        client.get(`${base}?fieldSelector=${encodeURIComponent(text)}`);
      expect(names((await select('metadata.name=b')).body)).toBe('b');
      expect(names((await select('metadata.name!=b')).body)).toBe('acde');
      expect(names((await select(`metadata.namespace=${ns.name},metadata.name=c`)).body)).toBe('c');
      const unknown = await select('spec.image=redis');
      expect(unknown.code).toBe(400);
      expect(unknown.body.message).toContain('field label not supported: spec.image');
    });

    it('pages with limit and continue, all at one revision', async () => {
      const first = await client.get(`${base}?limit=2`);
      expect(names(first.body)).toBe('ab');
      expect(first.body.metadata.continue).toBeTruthy();
      expect(first.body.metadata.remainingItemCount).toBe(3);
      await client.post(base, service('bb'));
      const second = await client.get(
        `${base}?limit=2&continue=${encodeURIComponent(first.body.metadata.continue)}`,
      );
      expect(second.code, second.text).toBe(200);
      expect(names(second.body)).toBe('cd');
      expect(second.body.metadata.resourceVersion).toBe(first.body.metadata.resourceVersion);
      const third = await client.get(
        `${base}?limit=2&continue=${encodeURIComponent(second.body.metadata.continue)}`,
      );
      expect(names(third.body)).toBe('e');
      expect(third.body.metadata.continue ?? '').toBe('');
      await client.delete(`${base}/bb`);
    });

    it('fills pages with what a selector lets through', async () => {
      const first = await client.get(`${base}?limit=2&labelSelector=app%3Ddb`);
      expect(names(first.body)).toBe('ce');
    });

    it('refuses a continue token that is none', async () => {
      const list = await client.get(`${base}?continue=nonsense`);
      expect(list.code).toBe(400);
    });

    it('knows revisions: any, at least, exactly, too old, from the future', async () => {
      const before = await client.get(base);
      const revision: string = before.body.metadata.resourceVersion;
      await client.post(base, service('f'));
      expect(names((await client.get(base)).body)).toBe('abcdef');
      const exact = await client.get(
        `${base}?resourceVersion=${revision}&resourceVersionMatch=Exact`,
      );
      expect(names(exact.body)).toBe('abcde');
      expect((await client.get(`${base}?resourceVersion=0`)).code).toBe(200);
      expect(
        (await client.get(`${base}?resourceVersion=${revision}&resourceVersionMatch=NotOlderThan`))
          .code,
      ).toBe(200);
      const future = await client.get(`${base}?resourceVersion=${Number(revision) + 1_000_000}`);
      expect(future.code).toBe(504);
      expect(future.body.reason).toBe('Timeout');
      expect(future.body.message).toContain('Too large resource version');
      expect(future.headers['retry-after']).toBeDefined();
      expect((await client.get(`${base}?resourceVersionMatch=Exact`)).code).toBe(422);
      const nonsense = await client.get(`${base}?resourceVersion=abc`);
      expect([400, 500]).toContain(nonsense.code);
      expect(nonsense.body.message).toContain('resourceVersion: Invalid value: "abc"');
      await client.delete(`${base}/f`);
    });

    it('makes tables with the columns of the CRD', async () => {
      const table = await client.get(base, { accept: tableAccept });
      expect(table.headers['content-type']).toBe('application/json');
      expect(table.body).toMatchObject({ kind: 'Table', apiVersion: 'meta.k8s.io/v1' });
      const columns = table.body.columnDefinitions;
      expect(columns[0]).toMatchObject({
        name: 'Name',
        type: 'string',
        format: 'name',
        priority: 0,
      });
      expect(columns.map((column: { name: string }) => column.name)).toEqual(
        expect.arrayContaining(['Ready', 'Instances', 'Image', 'Age', 'Strategy']),
      );
      const row = table.body.rows[0];
      const cell = (name: string): unknown =>
        row.cells[columns.findIndex((column: { name: string }) => column.name === name)];
      expect(cell('Name')).toBe('a');
      expect(cell('Image')).toBe('redis:7');
      expect(cell('Ready')).toBe(null);
      expect(cell('Age')).toMatch(/^\d+s$|^\d+m/);
      expect(row.object).toMatchObject({
        kind: 'PartialObjectMetadata',
        metadata: { name: 'a', namespace: ns.name },
      });
      expect(row.object.spec).toBeUndefined();
    });

    it('puts into table rows what includeObject asks for', async () => {
      const get = async (what: string) =>
        (await client.get(`${base}?includeObject=${what}`, { accept: tableAccept })).body.rows[0];
      expect((await get('Object')).object.spec.image).toBe('redis:7');
      expect((await get('None')).object ?? null).toBe(null);
      expect((await client.get(`${base}/a`, { accept: tableAccept })).body.rows).toHaveLength(1);
      expect(
        (await client.get(`${base}?includeObject=Nonsense`, { accept: tableAccept })).code,
      ).toBe(400);
    });

    it('gives metadata alone when asked', async () => {
      const list = await client.get(base, {
        accept: 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1',
      });
      expect(list.body).toMatchObject({
        kind: 'PartialObjectMetadataList',
        apiVersion: 'meta.k8s.io/v1',
      });
      expect(list.body.items[0].metadata.name).toBe('a');
      expect(list.body.items[0].spec).toBeUndefined();
      const one = await client.get(`${base}/a`, {
        accept: 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1',
      });
      expect(one.body.kind).toBe('PartialObjectMetadata');
    });

    it('compresses long answers only for clients that can read that', async () => {
      for (let i = 0; i < 3; i++) {
        await client.post(
          base,
          service(`long${i}`, {}, { annotations: { text: 'x'.repeat(100_000) } }),
        );
      }
      const zipped = await client.get(base, { 'accept-encoding': 'gzip' });
      expect(zipped.headers['content-encoding']).toBe('gzip');
      const plain = await client.get(base);
      expect(plain.headers['content-encoding']).toBeUndefined();
      expect(plain.body.items).toHaveLength(8);
    });
  });
}
