/* eslint-disable @typescript-eslint/no-unsafe-member-access, @typescript-eslint/no-unsafe-assignment, @typescript-eslint/no-unsafe-argument, @typescript-eslint/no-unsafe-call -- answers are looked into as they come off the wire */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  scratchNamespace,
  unique,
  type RawClient,
  type ServerUnderTest,
} from '../../support/apiserver.ts';
import { service, servicesPath } from './fixtures.ts';

/** Server-side apply: who owns which field. */
export function applySuite(server: () => ServerUnderTest): void {
  describe('server-side apply', () => {
    let client: RawClient;
    let ns: Awaited<ReturnType<typeof scratchNamespace>>;
    let base: string;

    beforeAll(async () => {
      client = server().client;
      ns = await scratchNamespace(client);
      base = servicesPath(ns.name);
    });
    afterAll(() => ns.drop());

    const by = (name: string, manager: string, more = ''): string =>
      `${base}/${name}?fieldManager=${manager}${more}`;
    async function start(spec: Record<string, unknown> = {}): Promise<string> {
      const name = `a-${unique()}`;
      const made = await client.apply(by(name, 'alice'), service(name, { replicas: 2, ...spec }));
      expect(made.code, made.text).toBe(201);
      return name;
    }
    const managers = (object: { metadata: { managedFields?: { manager: string }[] } }): string[] =>
      (object.metadata.managedFields ?? []).map(({ manager }) => manager).sort();

    it('creates with 201, then changes with 200, then writes nothing', async () => {
      const name = await start();
      const changed = await client.apply(by(name, 'alice'), service(name, { replicas: 3 }));
      expect(changed.code).toBe(200);
      expect(changed.body.spec.replicas).toBe(3);
      expect(changed.body.metadata.generation).toBe(2);
      const same = await client.apply(by(name, 'alice'), service(name, { replicas: 3 }));
      expect(same.body.metadata.resourceVersion).toBe(changed.body.metadata.resourceVersion);
    });

    it('records who owns what', async () => {
      const name = await start();
      const got = await client.get(`${base}/${name}`);
      const [entry] = got.body.metadata.managedFields;
      expect(entry).toMatchObject({
        manager: 'alice',
        operation: 'Apply',
        apiVersion: 'nap.dev/v1alpha1',
        fieldsType: 'FieldsV1',
        fieldsV1: { 'f:spec': { 'f:image': {}, 'f:replicas': {} } },
      });
      expect(entry.fieldsV1['f:spec']['f:restart']).toBeUndefined();
    });

    it('reports a conflict in the form that kubectl explains', async () => {
      const name = await start();
      const other = await client.apply(by(name, 'bob'), service(name, { image: 'redis:8' }));
      expect(other.code).toBe(409);
      expect(other.body).toMatchObject({
        reason: 'Conflict',
        details: {
          causes: [
            {
              reason: 'FieldManagerConflict',
              message: 'conflict with "alice"',
              field: '.spec.image',
            },
          ],
        },
      });
      expect(other.body.message).toContain('Apply failed with 1 conflict: conflict with "alice"');
      expect(other.body.message).toContain('.spec.image');
    });

    it('takes fields over by force', async () => {
      const name = await start();
      const forced = await client.apply(
        by(name, 'bob', '&force=true'),
        service(name, { image: 'redis:8' }),
      );
      expect(forced.code, forced.text).toBe(200);
      expect(forced.body.spec).toMatchObject({ image: 'redis:8', replicas: 2 });
      expect(managers(forced.body)).toEqual(['alice', 'bob']);
      const back = await client.apply(by(name, 'alice'), service(name, { replicas: 2 }));
      expect(back.code).toBe(409);
    });

    it('shares a field that both want alike, and lets go of it when both have', async () => {
      const name = await start({ environment: { A: '1' } });
      const shared = await client.apply(
        by(name, 'bob'),
        service(name, { environment: { A: '1' } }),
      );
      expect(shared.code, shared.text).toBe(200);
      const kept = await client.apply(by(name, 'alice'), service(name, { replicas: 2 }));
      expect(kept.body.spec.environment).toEqual({ A: '1' });
      const gone = await client.apply(by(name, 'bob'), service(name));
      expect(gone.body.spec.environment?.A).toBeUndefined();
    });

    it('removes what its only owner leaves out', async () => {
      const name = await start({ environment: { A: '1', B: '2' } });
      const changed = await client.apply(
        by(name, 'alice'),
        service(name, { environment: { B: '2' } }),
      );
      expect(changed.code, changed.text).toBe(200);
      expect(changed.body.spec.environment).toEqual({ B: '2' });
      // replicas was left out as well: its default comes back.
      expect(changed.body.spec.replicas).toBe(1);
    });

    it('sees fields that a plain update owns', async () => {
      const name = await start();
      const patched = await client.merge(by(name, 'carol'), { spec: { image: 'redis:9' } });
      expect(managers(patched.body)).toEqual(['alice', 'carol']);
      const applied = await client.apply(by(name, 'alice'), service(name, { replicas: 2 }));
      expect(applied.code).toBe(409);
      expect(applied.body.message).toContain('conflict with "carol"');
    });

    it('keeps status apart', async () => {
      const name = await start();
      const applied = await client.apply(`${base}/${name}/status?fieldManager=controller`, {
        apiVersion: 'nap.dev/v1alpha1',
        kind: 'Service',
        metadata: { name },
        status: { replicas: 2 },
      });
      expect(applied.code, applied.text).toBe(200);
      expect(applied.body.status.replicas).toBe(2);
      const entry = applied.body.metadata.managedFields.find(
        (one: { manager: string }) => one.manager === 'controller',
      );
      expect(entry).toMatchObject({ operation: 'Apply', subresource: 'status' });
      expect(Object.keys(entry.fieldsV1)).toEqual(['f:status']);
    });

    it('takes resourceVersion as a precondition', async () => {
      const name = await start();
      const stale = await client.apply(
        by(name, 'alice'),
        service(name, { replicas: 5 }, { resourceVersion: '1' }),
      );
      expect(stale.code).toBe(409);
    });

    it('refuses malformed requests', async () => {
      const name = await start();
      expect((await client.apply(`${base}/${name}`, service(name))).code).toBe(422);
      const managed = await client.apply(
        by(name, 'alice'),
        service(name, {}, { managedFields: [{ manager: 'x', operation: 'Apply' }] }),
      );
      expect(managed.code).toBe(400);
      const unknown = await client.apply(by(name, 'alice'), service(name, { bogus: 1 }));
      expect([400, 422, 500]).toContain(unknown.code);
      expect(unknown.body.message).toContain('.spec.bogus: field not declared in schema');
      expect((await client.apply(by(name, 'alice'), { metadata: { name } })).code).toBe(400);
      expect((await client.apply(by(name, 'alice'), service('another-name'))).code).toBe(400);
      expect((await client.apply(by('bad', 'alice'), service('bad', { replicas: -1 }))).code).toBe(
        422,
      );
    });

    it('does not write in a dry run', async () => {
      const applied = await client.apply(by('dry', 'alice', '&dryRun=All'), service('dry'));
      expect(applied.code).toBe(201);
      expect((await client.get(`${base}/dry`)).code).toBe(404);
    });

    it('works on built-in kinds', async () => {
      const path = `/api/v1/namespaces/${ns.name}/configmaps/applied?fieldManager=alice`;
      const map = (data: Record<string, string>): unknown => ({
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: 'applied' },
        data,
      });
      expect((await client.apply(path, map({ a: '1', b: '2' }))).code).toBe(201);
      const changed = await client.apply(path, map({ b: '3' }));
      expect(changed.code, changed.text).toBe(200);
      expect(changed.body.data).toEqual({ b: '3' });
    });

    it('names the manager of a plain write by fieldManager, else by the User-Agent', async () => {
      const name = `a-${unique()}`;
      const made = await client.post(base, service(name), {
        headers: { 'user-agent': 'my-tool/1.2 (linux)' },
      });
      expect(made.body.metadata.managedFields).toMatchObject([
        { manager: 'my-tool', operation: 'Update' },
      ]);
    });
  });
}
