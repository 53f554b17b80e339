/* eslint-disable @typescript-eslint/no-unsafe-member-access, @typescript-eslint/no-unsafe-assignment, @typescript-eslint/no-unsafe-argument, @typescript-eslint/no-unsafe-call -- answers are looked into as they come off the wire */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  scratchNamespace,
  unique,
  type RawClient,
  type ServerUnderTest,
} from '../../support/apiserver.ts';
import { project, service, servicesPath } from './fixtures.ts';

/** Create, read, replace, patch: what every client of Kubernetes builds on. */
export function objectsSuite(server: () => ServerUnderTest): void {
  describe('objects', () => {
    let client: RawClient;
    let ns: Awaited<ReturnType<typeof scratchNamespace>>;
    let base: string;

    beforeAll(async () => {
      client = server().client;
      ns = await scratchNamespace(client);
      base = servicesPath(ns.name);
    });
    afterAll(() => ns.drop());

    async function make(
      spec: Record<string, unknown> = {},
      metadata: Record<string, unknown> = {},
    ) {
      const name = `s-${unique()}`;
      const made = await client.post(base, service(name, spec, metadata));
      expect(made.code, made.text).toBe(201);
      return { name, path: `${base}/${name}`, object: made.body };
    }

    describe('create', () => {
      it('sets what the server owns', async () => {
        const { object, name } = await make();
        expect(object.metadata).toMatchObject({ name, namespace: ns.name, generation: 1 });
        expect(object.metadata.uid).toMatch(/^[0-9a-f-]{36}$/);
        expect(object.metadata.creationTimestamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
        expect(object.metadata.resourceVersion).toMatch(/^\d+$/);
        expect(object).toMatchObject({ apiVersion: 'nap.dev/v1alpha1', kind: 'Service' });
      });

      it('drops a status: that is for the status endpoint', async () => {
        const name = `s-${unique()}`;
        const made = await client.post(base, { ...service(name), status: { replicas: 3 } });
        expect(made.code).toBe(201);
        expect(made.body.status).toBeUndefined();
      });

      it('fills in defaults from the schema', async () => {
        const { object } = await make();
        expect(object.spec).toMatchObject({ replicas: 1, pullPolicy: 'missing' });
      });

      it('makes a name from generateName', async () => {
        const body = service('x');
        delete body.metadata['name'];
        body.metadata['generateName'] = 'gen-';
        const made = await client.post(base, body);
        expect(made.code, made.text).toBe(201);
        expect(made.body.metadata.name).toMatch(/^gen-[a-z0-9]{5}$/);
      });

      it('refuses an existing name with AlreadyExists', async () => {
        const { name } = await make();
        const again = await client.post(base, service(name));
        expect(again.code).toBe(409);
        expect(again.body).toMatchObject({
          kind: 'Status',
          apiVersion: 'v1',
          status: 'Failure',
          reason: 'AlreadyExists',
          message: `services.nap.dev "${name}" already exists`,
          details: { name, group: 'nap.dev', kind: 'services' },
          code: 409,
        });
      });

      it('refuses a resourceVersion', async () => {
        const made = await client.post(base, service('with-rv', {}, { resourceVersion: '5' }));
        // Kubernetes blames itself (500) for what this client did wrong.
        expect([400, 500]).toContain(made.code);
        expect(made.body.message).toBe(
          'resourceVersion should not be set on objects to be created',
        );
      });

      it('refuses a namespace that is not there', async () => {
        const made = await client.post(servicesPath('no-such-namespace'), service('a'));
        expect(made.code).toBe(404);
        expect(made.body).toMatchObject({
          reason: 'NotFound',
          message: 'namespaces "no-such-namespace" not found',
          details: { kind: 'namespaces', name: 'no-such-namespace' },
        });
      });

      it.each([
        ['another namespace', { ...service('x', {}, { namespace: 'other' }) }, 400],
        ['another apiVersion', { ...service('x'), apiVersion: 'nap.dev/v2' }, 400],
        ['another kind', { ...service('x'), kind: 'Host' }, [400, 422]],
        [
          'no kind',
          { apiVersion: 'nap.dev/v1alpha1', metadata: { name: 'x' }, spec: { image: 'a' } },
          400,
        ],
        ['an upper-case name', service('Upper'), 422],
        ['a path as its name', service('../../etc/passwd'), 422],
        ['no name', { ...service('x'), metadata: {} }, 422],
        ['a bad label', service('x', {}, { labels: { 'a b': 'c' } }), 422],
        ['a label that is a number', service('x', {}, { labels: { a: 1 } }), 400],
        [
          'an incomplete owner',
          service(
            'x',
            {},
            { ownerReferences: [{ name: 'a', kind: 'b', apiVersion: 'v1', uid: '' }] },
          ),
          422,
        ],
        ['a bare finalizer', service('x', {}, { finalizers: ['mine'] }), [201, 422]],
      ])('refuses %s', async (_what, body, code) => {
        const made = await client.post(base, body);
        expect([code].flat(), made.text).toContain(made.code);
        if (made.code !== 201)
          expect(made.body).toMatchObject({ kind: 'Status', status: 'Failure', code: made.code });
        else await client.delete(`${base}/x`);
      });

      it('reads YAML bodies', async () => {
        const name = `s-${unique()}`;
        const made = await client.request('POST', base, {
          bytes: `apiVersion: nap.dev/v1alpha1\nkind: Service\nmetadata: {name: ${name}}\nspec:\n  image: redis:7\n  replicas: 2\n`,
          type: 'application/yaml',
        });
        expect(made.code, made.text).toBe(201);
        expect(made.body.spec.replicas).toBe(2);
      });

      it('refuses other media types with 415', async () => {
        const made = await client.request('POST', base, { bytes: 'x', type: 'text/csv' });
        expect(made.code).toBe(415);
        expect(made.body.reason).toBe('UnsupportedMediaType');
      });
    });

    describe('validation', () => {
      it('names every wrong field in causes', async () => {
        const made = await client.post(
          base,
          service('bad', { replicas: -1, restart: 'sometimes' }),
        );
        expect(made.code).toBe(422);
        expect(made.body).toMatchObject({
          reason: 'Invalid',
          details: { name: 'bad', group: 'nap.dev', kind: 'Service' },
        });
        const fields = made.body.details.causes.map((cause: { field: string }) => cause.field);
        expect(fields).toEqual(expect.arrayContaining(['spec.replicas', 'spec.restart']));
        const unsupported = made.body.details.causes.find(
          (cause: { field: string }) => cause.field === 'spec.restart',
        );
        expect(unsupported.reason).toBe('FieldValueNotSupported');
      });

      it('refuses a word where a number belongs, without failing itself', async () => {
        const made = await client.post(base, service('bad', { replicas: 'two' }));
        expect([400, 422]).toContain(made.code);
        expect(made.text).toContain('replicas');
      });

      it('demands what is required', async () => {
        const made = await client.post(base, { ...service('bad'), spec: {} });
        expect(made.code).toBe(422);
        expect(made.body.details.causes).toEqual(
          expect.arrayContaining([
            expect.objectContaining({ reason: 'FieldValueRequired', field: 'spec.image' }),
          ]),
        );
      });

      it('evaluates CEL rules', async () => {
        const made = await client.post(base, service('bad', { image: 'has a space' }));
        expect(made.code).toBe(422);
        expect(made.body.message).toContain('an image reference has no spaces');
      });

      it('Strict refuses unknown fields, Warn says them, Ignore is silent; all drop them', async () => {
        const body = (): unknown => service(`s-${unique()}`, { bogus: 1 });
        const strict = await client.post(`${base}?fieldValidation=Strict`, body());
        expect(strict.code).toBe(400);
        expect(strict.body.message).toContain('strict decoding error: unknown field "spec.bogus"');
        const warned = await client.post(`${base}?fieldValidation=Warn`, body());
        expect(warned.code).toBe(201);
        expect(warned.headers['warning']).toContain('unknown field');
        expect(warned.body.spec.bogus).toBeUndefined();
        const silent = await client.post(`${base}?fieldValidation=Ignore`, body());
        expect(silent.code).toBe(201);
        expect(silent.headers['warning']).toBeUndefined();
        expect(silent.body.spec.bogus).toBeUndefined();
      });

      it('Strict refuses a field given twice', async () => {
        const made = await client.request('POST', `${base}?fieldValidation=Strict`, {
          bytes:
            '{"apiVersion":"nap.dev/v1alpha1","kind":"Service","metadata":{"name":"twice"},"spec":{"image":"a","image":"b"}}',
        });
        expect(made.code).toBe(400);
        expect(made.body.message).toContain('duplicate field "spec.image"');
      });

      it('refuses unknown options', async () => {
        expect((await client.post(`${base}?dryRun=Some`, service('x'))).code).toBe(422);
        expect((await client.post(`${base}?fieldValidation=Maybe`, service('x'))).code).toBe(422);
      });
    });

    describe('read', () => {
      it('gives the object back', async () => {
        const { path, object } = await make();
        const got = await client.get(path);
        expect(got.code).toBe(200);
        expect(got.body).toEqual(object);
      });

      it('says NotFound for a name that is not there', async () => {
        const got = await client.get(`${base}/nope`);
        expect(got.code).toBe(404);
        expect(got.body).toMatchObject({
          reason: 'NotFound',
          message: 'services.nap.dev "nope" not found',
          details: { name: 'nope', group: 'nap.dev', kind: 'services' },
        });
      });

      it('says 406 when no form is wanted that exists', async () => {
        const { path } = await make();
        const got = await client.get(path, { accept: 'text/csv' });
        expect(got.code).toBe(406);
        expect(got.body.reason).toBe('NotAcceptable');
      });

      it('takes the first form of Accept that it knows', async () => {
        const { path } = await make();
        const got = await client.get(path, { accept: 'text/csv, application/json' });
        expect(got.code).toBe(200);
        expect((await client.get(path, { accept: '*/*' })).body.kind).toBe('Service');
        const yaml = await client.get(path, { accept: 'application/yaml' });
        expect(yaml.headers['content-type']).toContain('application/yaml');
        expect(yaml.text).toContain('kind: Service');
      });
    });

    describe('replace', () => {
      it('demands the resourceVersion', async () => {
        const { path, object } = await make();
        const metadata = { ...object.metadata, resourceVersion: undefined };
        const put = await client.put(path, { ...object, metadata });
        expect(put.code).toBe(422);
        // Kubernetes wrote 0x0 before 1.34.
        expect(put.body.message).toMatch(
          /metadata\.resourceVersion: Invalid value: (0x)?0: must be specified for an update/,
        );
      });

      it('refuses an old resourceVersion with Conflict', async () => {
        const { path, name, object } = await make();
        expect((await client.merge(path, { spec: { replicas: 2 } })).code).toBe(200);
        const put = await client.put(path, object);
        expect(put.code).toBe(409);
        expect(put.body).toMatchObject({
          reason: 'Conflict',
          message: `Operation cannot be fulfilled on services.nap.dev "${name}": the object has been modified; please apply your changes to the latest version and try again`,
          details: { name, group: 'nap.dev', kind: 'services' },
        });
      });

      it('lets only one of two replacements of one state win', async () => {
        const { path, object } = await make();
        const puts = await Promise.all(
          [2, 3, 4, 5].map((replicas) =>
            client.put(path, { ...object, spec: { ...object.spec, replicas } }),
          ),
        );
        expect(puts.map(({ code }) => code).sort()).toEqual([200, 409, 409, 409]);
      });

      it('refuses another uid, another name, an absent object', async () => {
        const { path, object } = await make();
        const other = {
          ...object,
          metadata: { ...object.metadata, uid: '00000000-0000-0000-0000-000000000000' },
        };
        expect((await client.put(path, other)).code).toBe(409);
        const renamed = { ...object, metadata: { ...object.metadata, name: 'other' } };
        expect((await client.put(path, renamed)).code).toBe(400);
        const absent = { ...object, metadata: { ...object.metadata, name: 'absent' } };
        // The uid that was sent is not the uid of an object that is not there; newer Kubernetes says only that it is not there.
        expect([404, 409]).toContain((await client.put(`${base}/absent`, absent)).code);
        delete absent.metadata.uid;
        expect((await client.put(`${base}/absent`, absent)).code).toBe(404);
      });

      it('keeps what clients may not set', async () => {
        const { path, object } = await make();
        const put = await client.put(path, {
          ...object,
          metadata: {
            ...object.metadata,
            creationTimestamp: '2001-01-01T00:00:00Z',
            generation: 77,
          },
        });
        expect(put.code).toBe(200);
        expect(put.body.metadata.creationTimestamp).toBe(object.metadata.creationTimestamp);
        expect(put.body.metadata.generation).toBe(1);
      });

      it('needs no Content-Type', async () => {
        const { path, object } = await make();
        const put = await client.put(
          path,
          { ...object, spec: { ...object.spec, replicas: 4 } },
          { type: '' },
        );
        expect(put.code, put.text).toBe(200);
        expect(put.body.spec.replicas).toBe(4);
      });
    });

    describe('generation and status', () => {
      it('counts changes of the spec only', async () => {
        const { path } = await make();
        const spec = await client.merge(path, { spec: { replicas: 2 } });
        expect(spec.body.metadata.generation).toBe(2);
        const labels = await client.merge(path, {
          metadata: { labels: { a: 'b' }, annotations: { c: 'd' } },
        });
        expect(labels.body.metadata.generation).toBe(2);
        const status = await client.merge(`${path}/status`, { status: { replicas: 2 } });
        expect(status.code, status.text).toBe(200);
        expect(status.body.metadata.generation).toBe(2);
        expect(status.body.status.replicas).toBe(2);
      });

      it('keeps status and the rest apart', async () => {
        const { path } = await make();
        await client.merge(`${path}/status`, { status: { replicas: 2 } });
        const main = await client.merge(path, { status: { replicas: 9 }, spec: { replicas: 3 } });
        expect(main.body.status.replicas).toBe(2);
        const status = await client.merge(`${path}/status`, {
          metadata: { labels: { sneaked: 'in' } },
          spec: { replicas: 8 },
          status: { replicas: 3 },
        });
        expect(status.body.spec.replicas).toBe(3);
        expect(status.body.metadata.labels).toBeUndefined();
        expect(status.body.status.replicas).toBe(3);
        const read = await client.get(`${path}/status`);
        expect(read.body).toEqual(status.body);
      });

      it('writes nothing when nothing changes', async () => {
        const { path, object } = await make();
        const put = await client.put(path, object);
        expect(put.code).toBe(200);
        expect(put.body.metadata.resourceVersion).toBe(object.metadata.resourceVersion);
        const patched = await client.merge(path, { spec: { replicas: 1 } });
        expect(patched.body.metadata.resourceVersion).toBe(object.metadata.resourceVersion);
      });
    });

    describe('patch', () => {
      it('merges, and removes by null', async () => {
        const { path } = await make({ environment: { A: '1', B: '2' } });
        const patched = await client.merge(path, { spec: { environment: { A: null, C: '3' } } });
        expect(patched.body.spec.environment).toEqual({ B: '2', C: '3' });
      });

      it('follows RFC 6902', async () => {
        const { path } = await make({ command: ['a', 'b'] }, { labels: { old: 'x' } });
        const patched = await client.jsonPatch(path, [
          { op: 'test', path: '/spec/command/0', value: 'a' },
          { op: 'replace', path: '/spec/command/0', value: 'z' },
          { op: 'add', path: '/spec/command/-', value: 'c' },
          { op: 'remove', path: '/metadata/labels/old' },
          { op: 'add', path: '/metadata/labels/nap.dev~1x', value: 'y' },
        ]);
        expect(patched.code, patched.text).toBe(200);
        expect(patched.body.spec.command).toEqual(['z', 'b', 'c']);
        expect(patched.body.metadata.labels).toEqual({ 'nap.dev/x': 'y' });
      });

      it.each([
        ['a failed test', [{ op: 'test', path: '/spec/image', value: 'other' }], 422],
        ['removing what is not there', [{ op: 'remove', path: '/spec/nothing' }], 422],
        ['an unknown operation', [{ op: 'frob', path: '/spec' }], [400, 422]],
        ['something else than a list', { op: 'add' }, 400],
      ])('refuses %s', async (_what, patch, code) => {
        const { path, object } = await make();
        const patched = await client.jsonPatch(path, patch);
        expect([code].flat(), patched.text).toContain(patched.code);
        expect((await client.get(path)).body).toEqual(object);
      });

      it('takes resourceVersion as a precondition', async () => {
        const { path, object } = await make();
        const stale = await client.merge(path, {
          metadata: { resourceVersion: '1' },
          spec: { replicas: 2 },
        });
        expect(stale.code).toBe(409);
        const { resourceVersion } = object.metadata;
        const right = await client.merge(path, {
          metadata: { resourceVersion },
          spec: { replicas: 2 },
        });
        expect(right.code).toBe(200);
      });

      it('retries without a precondition: no update is lost', async () => {
        const { path } = await make();
        const keys = Array.from({ length: 8 }, (_, index) => `k${index}`);
        const codes = await Promise.all(
          keys.map(
            async (key) =>
              (await client.merge(path, { metadata: { annotations: { [key]: 'x' } } })).code,
          ),
        );
        expect(codes.every((code) => code === 200)).toBe(true);
        const got = await client.get(path);
        expect(Object.keys(got.body.metadata.annotations).sort()).toEqual(keys);
      });

      it('refuses strategic merge for custom kinds, naming what it takes', async () => {
        const { path } = await make();
        const patched = await client.request('PATCH', path, {
          body: { spec: { replicas: 2 } },
          type: 'application/strategic-merge-patch+json',
        });
        expect(patched.code).toBe(415);
        expect(patched.body.message).toContain(
          'application/json-patch+json, application/merge-patch+json',
        );
      });

      it('validates the result', async () => {
        const { path, object } = await make();
        const patched = await client.merge(path, { spec: { replicas: -5 } });
        expect(patched.code).toBe(422);
        expect((await client.get(path)).body.metadata.resourceVersion).toBe(
          object.metadata.resourceVersion,
        );
        const strict = await client.merge(`${path}?fieldValidation=Strict`, { spec: { bogus: 1 } });
        expect(strict.code).toBe(422);
        expect(strict.body.message).toContain('unknown field "spec.bogus"');
      });

      it('refuses another uid, and force without apply', async () => {
        const { path } = await make();
        expect((await client.merge(path, { metadata: { uid: 'other' } })).code).toBe(422);
        expect((await client.merge(`${path}?force=true`, { spec: { replicas: 2 } })).code).toBe(
          422,
        );
        expect((await client.merge(`${base}/nope`, { spec: { replicas: 2 } })).code).toBe(404);
      });

      it('follows the merge rules of built-in kinds under strategic merge', async () => {
        const path = `/api/v1/namespaces/${ns.name}/configmaps`;
        await client.post(path, { metadata: { name: 'cm' }, data: { a: '1', b: '2' } });
        const patched = await client.request('PATCH', `${path}/cm`, {
          body: { data: { a: null, c: '3' } },
          type: 'application/strategic-merge-patch+json',
        });
        expect(patched.code, patched.text).toBe(200);
        expect(patched.body.data).toEqual({ b: '2', c: '3' });
      });
    });

    describe('scale', () => {
      it('reads and writes replicas through autoscaling/v1', async () => {
        const { path, name, object } = await make({ replicas: 2 });
        const scale = await client.get(`${path}/scale`);
        expect(scale.body).toMatchObject({
          kind: 'Scale',
          apiVersion: 'autoscaling/v1',
          metadata: { name, namespace: ns.name, uid: object.metadata.uid },
          spec: { replicas: 2 },
          status: { replicas: 0 },
        });
        const patched = await client.merge(`${path}/scale`, { spec: { replicas: 5 } });
        expect(patched.code, patched.text).toBe(200);
        expect(patched.body.spec.replicas).toBe(5);
        const put = await client.put(
          `${path}/scale`,
          { ...patched.body, spec: { replicas: 6 } },
          { type: '' },
        );
        expect(put.code, put.text).toBe(200);
        const got = await client.get(path);
        expect(got.body.spec.replicas).toBe(6);
        expect(got.body.metadata.generation).toBe(3);
      });

      it('obeys validation and preconditions', async () => {
        const { path } = await make();
        expect((await client.merge(`${path}/scale`, { spec: { replicas: -1 } })).code).toBe(422);
        const scale = (await client.get(`${path}/scale`)).body;
        await client.merge(path, { spec: { replicas: 3 } });
        expect((await client.put(`${path}/scale`, scale)).code).toBe(409);
        expect((await client.get(`${base}/nope/scale`)).code).toBe(404);
      });
    });

    it('dry run does everything but write', async () => {
      const { path, object } = await make();
      const created = await client.post(`${base}?dryRun=All`, service('dry'));
      expect(created.code).toBe(201);
      expect((await client.get(`${base}/dry`)).code).toBe(404);
      const patched = await client.merge(`${path}?dryRun=All`, { spec: { replicas: 9 } });
      expect(patched.body.spec.replicas).toBe(9);
      expect((await client.merge(`${path}?dryRun=All`, { spec: { replicas: -9 } })).code).toBe(422);
      const removed = await client.request('DELETE', `${path}?dryRun=All`);
      expect(removed.code).toBe(200);
      expect((await client.get(path)).body).toEqual(object);
    });

    it('keeps a Project with a map of services as it was written', async () => {
      const path = `/apis/nap.dev/v1alpha1/namespaces/${ns.name}/projects`;
      const made = await client.post(
        path,
        project('shop', { web: { image: 'web:1', links: ['db:store'] }, db: { image: 'db:1' } }),
      );
      expect(made.code, made.text).toBe(201);
      expect(made.body.spec.services).toMatchObject({
        web: { image: 'web:1', links: ['db:store'] },
        db: { image: 'db:1' },
      });
      const bad = await client.post(
        path,
        project('bad', { web: { image: 'web:1', links: ['nothing'] } }),
      );
      expect(bad.code).toBe(422);
      expect(bad.body.message).toContain('a link must name a service of this project');
    });
  });
}
