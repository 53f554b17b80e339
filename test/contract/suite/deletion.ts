/* eslint-disable @typescript-eslint/no-unsafe-member-access, @typescript-eslint/no-unsafe-assignment -- answers are looked into as they come off the wire */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually } from '../../support/eventually.ts';
import {
  scratchNamespace,
  unique,
  type RawClient,
  type RawResponse,
  type ServerUnderTest,
} from '../../support/apiserver.ts';
import { project, projectsPath, service, servicesPath } from './fixtures.ts';

/** Deletion, finalizers, owners and namespaces. */
export function deletionSuite(server: () => ServerUnderTest): void {
  describe('deletion', () => {
    let client: RawClient;
    let ns: Awaited<ReturnType<typeof scratchNamespace>>;
    let base: string;
    let projects: string;
    const finalizer = 'example.com/hold';

    beforeAll(async () => {
      client = server().client;
      ns = await scratchNamespace(client);
      base = servicesPath(ns.name);
      projects = projectsPath(ns.name);
    });
    afterAll(() => ns.drop());

    async function make(
      metadata: Record<string, unknown> = {},
    ): Promise<{ name: string; path: string; uid: string }> {
      const name = `d-${unique()}`;
      const made = await client.post(base, service(name, {}, metadata));
      expect(made.code, made.text).toBe(201);
      return { name, path: `${base}/${name}`, uid: made.body.metadata.uid };
    }
    const gone = (path: string): Promise<unknown> =>
      eventually(`${path} is gone`, async () => (await client.get(path)).code === 404, 30_000);

    it('answers Success with the uid, and the object is gone', async () => {
      const { name, path, uid } = await make();
      const removed = await client.delete(path, { propagationPolicy: 'Background' });
      expect(removed.code).toBe(200);
      expect(removed.body).toMatchObject({
        kind: 'Status',
        status: 'Success',
        details: { name, group: 'nap.dev', kind: 'services', uid },
      });
      expect((await client.get(path)).code).toBe(404);
      expect((await client.delete(path)).code).toBe(404);
    });

    it('takes options from the query when there is no body', async () => {
      const { path } = await make();
      const removed = await client.request(
        'DELETE',
        `${path}?propagationPolicy=Foreground&gracePeriodSeconds=0`,
      );
      expect(removed.code).toBe(200);
      await gone(path);
      const other = await make();
      expect(
        (await client.request('DELETE', `${other.path}?propagationPolicy=Sideways`)).code,
      ).toBe(422);
    });

    it('waits for finalizers', async () => {
      const { name, path, uid } = await make({ finalizers: [finalizer] });
      const removed = await client.delete(path);
      expect(removed.code).toBe(200);
      expect(removed.body).toMatchObject({
        kind: 'Service',
        metadata: { name, uid, deletionGracePeriodSeconds: 0, generation: 2 },
      });
      const { deletionTimestamp } = removed.body.metadata;
      expect(deletionTimestamp).toMatch(/Z$/);
      const again = await client.delete(path);
      expect(again.code).toBe(200);
      expect(again.body.metadata.deletionTimestamp).toBe(deletionTimestamp);
      expect(again.body.metadata.generation).toBe(2);

      const recreated = await client.post(base, service(name));
      expect(recreated.code).toBe(409);
      expect(recreated.body.message).toBe(
        `object is being deleted: services.nap.dev "${name}" already exists`,
      );

      const added = await client.merge(path, {
        metadata: { finalizers: [finalizer, 'example.com/more'] },
      });
      expect(added.code).toBe(422);
      // Once or, where an object is validated twice, more often.
      expect(added.body.details.causes.length).toBeGreaterThan(0);
      for (const cause of added.body.details.causes) {
        expect(cause).toMatchObject({
          reason: 'FieldValueForbidden',
          field: 'metadata.finalizers',
        });
      }
      const undeleted = await client.merge(path, { metadata: { deletionTimestamp: null } });
      expect(undeleted.body.metadata.deletionTimestamp).toBe(deletionTimestamp);

      const released = await client.merge(path, { metadata: { finalizers: null } });
      expect(released.code, released.text).toBe(200);
      expect((await client.get(path)).code).toBe(404);
    });

    it('obeys preconditions', async () => {
      const { path, uid } = await make();
      const other = { preconditions: { uid: '00000000-0000-0000-0000-000000000000' } };
      const refused = await client.delete(path, other);
      expect(refused.code).toBe(409);
      expect(refused.body.reason).toBe('Conflict');
      expect((await client.delete(path, { preconditions: { resourceVersion: '1' } })).code).toBe(
        409,
      );
      expect((await client.delete(path, { preconditions: { uid } })).code).toBe(200);
    });

    it('deletes collections by selector', async () => {
      const label = unique();
      const made = [
        await make({ labels: { group: label } }),
        await make({ labels: { group: label } }),
      ];
      const other = await make();
      const removed = await client.request('DELETE', `${base}?labelSelector=group%3D${label}`);
      expect(removed.code).toBe(200);
      for (const { path } of made) await gone(path);
      expect((await client.get(other.path)).code).toBe(200);
    });

    describe('owners', () => {
      async function owner(metadata: Record<string, unknown> = {}) {
        const name = `o-${unique()}`;
        const made = await client.post(projects, project(name, { web: { image: 'a' } }, metadata));
        expect(made.code, made.text).toBe(201);
        const { uid } = made.body.metadata;
        const reference = {
          apiVersion: 'nap.dev/v1alpha1',
          kind: 'Project',
          name,
          uid,
          controller: true,
          blockOwnerDeletion: true,
        };
        return { name, path: `${projects}/${name}`, uid, reference };
      }

      it('background: dependents follow, also those of dependents', async () => {
        const { path, reference } = await owner();
        const child = await make({ ownerReferences: [reference] });
        const grandchild = await make({
          ownerReferences: [
            { apiVersion: 'nap.dev/v1alpha1', kind: 'Service', name: child.name, uid: child.uid },
          ],
        });
        await client.delete(path, { propagationPolicy: 'Background' });
        expect((await client.get(path)).code).toBe(404);
        await gone(child.path);
        await gone(grandchild.path);
      });

      it('foreground: the owner stays until its blocking dependents are gone', async () => {
        const { path, reference } = await owner();
        const child = await make({ ownerReferences: [reference], finalizers: [finalizer] });
        const removed = await client.delete(path, { propagationPolicy: 'Foreground' });
        expect(removed.body.metadata.finalizers).toContain('foregroundDeletion');
        const dying = await eventually(
          'the dependent is being deleted',
          async () => {
            const got: RawResponse = await client.get(child.path);
            return got.body.metadata.deletionTimestamp === undefined ? undefined : got;
          },
          30_000,
        );
        expect(dying.code).toBe(200);
        expect((await client.get(path)).code).toBe(200);
        await client.merge(child.path, { metadata: { finalizers: null } });
        await gone(child.path);
        await gone(path);
      });

      it('orphan: dependents stay and lose the reference', async () => {
        const { path, reference } = await owner();
        const child = await make({ ownerReferences: [reference] });
        await client.delete(path, { propagationPolicy: 'Orphan' });
        await gone(path);
        const left = await client.get(child.path);
        expect(left.code).toBe(200);
        expect(left.body.metadata.ownerReferences ?? []).toEqual([]);
      });

      it('of several owners the last one counts', async () => {
        const [one, two] = [await owner(), await owner()];
        const child = await make({
          ownerReferences: [one.reference, { ...two.reference, controller: false }],
        });
        await client.delete(one.path, { propagationPolicy: 'Background' });
        await eventually(
          'the reference to the deleted owner is gone',
          async () => {
            const got = await client.get(child.path);
            return got.body.metadata.ownerReferences?.length === 1;
          },
          30_000,
        );
        await client.delete(two.path, { propagationPolicy: 'Background' });
        await gone(child.path);
      });

      it('an object of an owner that never was is collected; a recreated owner of the same name is another', async () => {
        const { name, path, reference } = await owner();
        await client.delete(path, { propagationPolicy: 'Background' });
        await client.post(projects, project(name));
        const child = await make({ ownerReferences: [reference] });
        await gone(child.path);
        expect((await client.get(path)).code).toBe(200);
      });
    });

    describe('namespaces', () => {
      it('empties itself, refuses new objects meanwhile, then goes', async () => {
        const own = await scratchNamespace(client);
        const path = `/api/v1/namespaces/${own.name}`;
        const held = await client.post(
          servicesPath(own.name),
          service('held', {}, { finalizers: [finalizer] }),
        );
        expect(held.code).toBe(201);
        await client.post(servicesPath(own.name), service('free'));
        await client.post(`${path}/secrets`, {
          apiVersion: 'v1',
          kind: 'Secret',
          metadata: { name: 's' },
        });
        const removed = await client.delete(path);
        expect(removed.code).toBe(200);
        expect(removed.body).toMatchObject({ kind: 'Namespace', status: { phase: 'Terminating' } });
        await gone(`${servicesPath(own.name)}/free`);
        await gone(`${path}/secrets/s`);
        const refused = await client.post(servicesPath(own.name), service('late'));
        expect(refused.code).toBe(403);
        expect(refused.body).toMatchObject({
          reason: 'Forbidden',
          details: {
            causes: [
              expect.objectContaining({
                reason: 'NamespaceTerminating',
                field: 'metadata.namespace',
              }),
            ],
          },
        });
        expect((await client.get(path)).code).toBe(200);
        await client.merge(`${servicesPath(own.name)}/held`, { metadata: { finalizers: null } });
        await gone(path);
      });

      it('has a phase, a finalizer and its name as a label', async () => {
        const got = await client.get(`/api/v1/namespaces/${ns.name}`);
        expect(got.body).toMatchObject({
          apiVersion: 'v1',
          kind: 'Namespace',
          metadata: { labels: { 'kubernetes.io/metadata.name': ns.name } },
          spec: { finalizers: ['kubernetes'] },
          status: { phase: 'Active' },
        });
        for (const name of ['default', 'kube-system']) {
          expect((await client.get(`/api/v1/namespaces/${name}`)).code).toBe(200);
        }
      });

      it('allows names that are labels only', async () => {
        const made = await client.post('/api/v1/namespaces', { metadata: { name: 'a.b' } });
        expect(made.code).toBe(422);
      });
    });
  });
}
