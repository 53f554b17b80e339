/* eslint-disable @typescript-eslint/no-unsafe-member-access, @typescript-eslint/no-unsafe-assignment, @typescript-eslint/no-unsafe-call -- answers are looked into as they come off the wire */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  scratchNamespace,
  unique,
  type RawClient,
  type ServerUnderTest,
} from '../../support/apiserver.ts';
import { tableAccept } from './fixtures.ts';

/** The kinds beside nap's own that its parts and kubectl need. */
export function builtinsSuite(server: () => ServerUnderTest): void {
  describe('built-in kinds', () => {
    let client: RawClient;
    let ns: Awaited<ReturnType<typeof scratchNamespace>>;
    let core: string;

    beforeAll(async () => {
      client = server().client;
      ns = await scratchNamespace(client);
      core = `/api/v1/namespaces/${ns.name}`;
    });
    afterAll(() => ns.drop());

    const event = (name: string, more: Record<string, unknown> = {}): Record<string, unknown> => ({
      metadata: { name, namespace: ns.name },
      involvedObject: {
        apiVersion: 'nap.dev/v1alpha1',
        kind: 'Service',
        name: 'web',
        namespace: ns.name,
        uid: 'u-1',
      },
      reason: 'Placed',
      message: 'on host h1',
      type: 'Normal',
      source: { component: 'nap' },
      firstTimestamp: '2026-01-01T01:06:08.014Z',
      lastTimestamp: '2026-01-01T01:06:08Z',
      count: 1,
      ...more,
    });

    it('events need no apiVersion and kind, and keep whole seconds', async () => {
      const name = `web.${unique()}`;
      const made = await client.post(`${core}/events`, event(name));
      expect(made.code, made.text).toBe(201);
      expect(made.body).toMatchObject({
        apiVersion: 'v1',
        kind: 'Event',
        firstTimestamp: '2026-01-01T01:06:08Z',
      });
    });

    it('events are selected by what they are about', async () => {
      await client.post(
        `${core}/events`,
        event(`db.${unique()}`, {
          involvedObject: { kind: 'Service', name: 'db', namespace: ns.name, uid: 'u-2' },
        }),
      );
      const select = async (text: string): Promise<number> => {
        const list = await client.get(`${core}/events?fieldSelector=${encodeURIComponent(text)}`);
        expect(list.code, list.text).toBe(200);
        return list.body.items.length as number;
      };
      expect(
        await select(
          `involvedObject.name=db,involvedObject.namespace=${ns.name},involvedObject.kind=Service,involvedObject.uid=u-2`,
        ),
      ).toBe(1);
      expect(await select('involvedObject.name=nothing')).toBe(0);
      expect(await select('type=Normal,reason=Placed,involvedObject.name=db')).toBe(1);
    });

    it('an event outside the namespace of its object is refused', async () => {
      const made = await client.post(
        `${core}/events`,
        event('x.1', { involvedObject: { kind: 'Service', name: 'web', namespace: 'other' } }),
      );
      expect(made.code).toBe(422);
    });

    it('events are one set in two group versions', async () => {
      const name = `both.${unique()}`;
      const made = await client.post(`/apis/events.k8s.io/v1/namespaces/${ns.name}/events`, {
        apiVersion: 'events.k8s.io/v1',
        kind: 'Event',
        metadata: { name },
        eventTime: '2026-01-01T01:06:08.014000Z',
        reportingController: 'nap.dev/operator',
        reportingInstance: 'operator-1',
        action: 'Place',
        reason: 'Placed',
        type: 'Normal',
        note: 'hello',
        regarding: { kind: 'Service', name: 'web', namespace: ns.name },
      });
      expect(made.code, made.text).toBe(201);
      expect(made.body).toMatchObject({ apiVersion: 'events.k8s.io/v1', note: 'hello' });
      const old = await client.get(`${core}/events/${name}`);
      expect(old.body).toMatchObject({
        apiVersion: 'v1',
        message: 'hello',
        involvedObject: { name: 'web' },
        reportingComponent: 'nap.dev/operator',
        eventTime: '2026-01-01T01:06:08.014000Z',
      });
      const bad = await client.post(`/apis/events.k8s.io/v1/namespaces/${ns.name}/events`, {
        metadata: { name: 'bad.1' },
        regarding: { namespace: ns.name },
      });
      expect(bad.code).toBe(422);
      await client.post(`${core}/events`, event(`old.${unique()}`));
      const list = await client.get(`/apis/events.k8s.io/v1/namespaces/${ns.name}/events`);
      expect(list.body.kind).toBe('EventList');
      for (const item of list.body.items) expect(item.regarding).toBeDefined();
    });

    it('events have the columns of kubectl get events', async () => {
      const table = await client.get(`${core}/events`, { accept: tableAccept });
      const names = table.body.columnDefinitions.map((column: { name: string }) => column.name);
      expect(names.slice(0, 4)).toEqual(['Last Seen', 'Type', 'Reason', 'Object']);
    });

    it('leases make leader election possible: a lost race is a Conflict', async () => {
      const path = `/apis/coordination.k8s.io/v1/namespaces/${ns.name}/leases`;
      expect((await client.get(`${path}/op`)).code).toBe(404);
      const made = await client.post(path, {
        metadata: { name: 'op' },
        spec: {
          holderIdentity: 'a',
          leaseDurationSeconds: 15,
          renewTime: '2026-01-01T01:06:08.014000Z',
          leaseTransitions: 0,
        },
      });
      expect(made.code, made.text).toBe(201);
      expect(made.body.spec.renewTime).toBe('2026-01-01T01:06:08.014000Z');
      const take = (holderIdentity: string) =>
        client.put(`${path}/op`, { ...made.body, spec: { ...made.body.spec, holderIdentity } });
      const codes = (await Promise.all([take('b'), take('c')])).map(({ code }) => code);
      expect(codes.sort()).toEqual([200, 409]);
      expect(
        (await client.post(path, { metadata: { name: 'bad' }, spec: { leaseDurationSeconds: 0 } }))
          .code,
      ).toBe(422);
    });

    it('secrets take stringData, default to Opaque, and keep their type', async () => {
      const made = await client.post(`${core}/secrets`, {
        metadata: { name: 'pw' },
        stringData: { password: 'hunter2' },
      });
      expect(made.code, made.text).toBe(201);
      expect(made.body).toMatchObject({
        type: 'Opaque',
        data: { password: Buffer.from('hunter2').toString('base64') },
      });
      expect(made.body.stringData).toBeUndefined();
      expect((await client.merge(`${core}/secrets/pw`, { type: 'other' })).code).toBe(422);
      const bad = await client.post(`${core}/secrets`, {
        metadata: { name: 'bad' },
        data: { 'a b': 'eA==' },
      });
      expect(bad.code).toBe(422);
      const notBase64 = await client.post(`${core}/secrets`, {
        metadata: { name: 'bad' },
        data: { a: '%%%' },
      });
      expect([400, 422]).toContain(notBase64.code);
    });

    it('immutable config maps stay as they are', async () => {
      await client.post(`${core}/configmaps`, {
        metadata: { name: 'fixed' },
        data: { a: '1' },
        immutable: true,
      });
      expect((await client.merge(`${core}/configmaps/fixed`, { data: { a: '2' } })).code).toBe(422);
      expect((await client.merge(`${core}/configmaps/fixed`, { immutable: false })).code).toBe(422);
      expect(
        (await client.merge(`${core}/configmaps/fixed`, { metadata: { labels: { a: 'b' } } })).code,
      ).toBe(200);
    });

    it('CRDs can be read and are established', async () => {
      const got = await client.get(
        '/apis/apiextensions.k8s.io/v1/customresourcedefinitions/projects.nap.dev',
      );
      expect(got.code).toBe(200);
      expect(got.body.status.conditions).toEqual(
        expect.arrayContaining([expect.objectContaining({ type: 'Established', status: 'True' })]),
      );
    });

    it('who may do what: reviews, impersonation, 401 and 403', async () => {
      const review = async (headers: Record<string, string>, attributes: Record<string, string>) =>
        client.post(
          '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews',
          {
            apiVersion: 'authorization.k8s.io/v1',
            kind: 'SelfSubjectAccessReview',
            spec: { resourceAttributes: attributes },
          },
          { headers },
        );
      const wanted = { verb: 'delete', group: 'nap.dev', resource: 'projects', namespace: ns.name };
      const mine = await review({}, wanted);
      expect(mine.code).toBe(201);
      expect(mine.body.status.allowed).toBe(true);
      const asNobody = { 'impersonate-user': 'nobody' };
      expect((await review(asNobody, wanted)).body.status.allowed).toBe(false);

      const path = `/apis/nap.dev/v1alpha1/namespaces/${ns.name}/services/web`;
      const denied = await client.get(path, asNobody);
      expect(denied.code).toBe(403);
      expect(denied.body).toMatchObject({
        reason: 'Forbidden',
        message: `services.nap.dev "web" is forbidden: User "nobody" cannot get resource "services" in API group "nap.dev" in the namespace "${ns.name}"`,
        details: { name: 'web', group: 'nap.dev', kind: 'services' },
      });
      const bad = await client.request('GET', path, {
        anonymous: true,
        headers: { authorization: 'Bearer wrong' },
      });
      expect(bad.code).toBe(401);
      expect(bad.body.reason).toBe('Unauthorized');
      const nobody = await client.request('GET', path, { anonymous: true });
      // 401 where anonymous requests are off.
      expect([401, 403]).toContain(nobody.code);

      const self = await client.post(
        '/apis/authentication.k8s.io/v1/selfsubjectreviews',
        {
          apiVersion: 'authentication.k8s.io/v1',
          kind: 'SelfSubjectReview',
        },
        { headers: asNobody },
      );
      expect(self.body.status.userInfo).toMatchObject({
        username: 'nobody',
        groups: ['system:authenticated'],
      });
    });
  });
}
