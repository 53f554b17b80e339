/* eslint-disable @typescript-eslint/no-unsafe-member-access, @typescript-eslint/no-unsafe-assignment, @typescript-eslint/no-unsafe-argument, @typescript-eslint/no-unsafe-call -- answers are looked into as they come off the wire */
import { beforeAll, describe, expect, it } from 'vitest';
import type { RawClient, ServerUnderTest } from '../../support/apiserver.ts';

/** How clients learn what there is. */
export function discoverySuite(server: () => ServerUnderTest): void {
  describe('discovery', () => {
    let client: RawClient;
    beforeAll(() => {
      client = server().client;
    });

    const aggregated =
      'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json';

    it('tells its version', async () => {
      const { body } = await client.get('/version');
      expect(body).toMatchObject({ major: '1' });
      expect(body.gitVersion).toMatch(/^v\d+\.\d+\.\d+/);
    });

    it.each(['/readyz', '/livez', '/healthz'])('%s says ok', async (path) => {
      const answer = await client.get(path);
      expect(answer.code).toBe(200);
      expect(answer.text).toBe('ok');
      expect(answer.headers['content-type']).toContain('text/plain');
    });

    it('lists groups and resources in the old documents', async () => {
      expect((await client.get('/api')).body.versions).toEqual(['v1']);
      const groups = (await client.get('/apis')).body;
      expect(groups.kind).toBe('APIGroupList');
      expect(groups.groups).toContainEqual({
        name: 'nap.dev',
        versions: [{ groupVersion: 'nap.dev/v1alpha1', version: 'v1alpha1' }],
        preferredVersion: { groupVersion: 'nap.dev/v1alpha1', version: 'v1alpha1' },
      });
      const list = (await client.get('/apis/nap.dev/v1alpha1')).body;
      expect(list).toMatchObject({ kind: 'APIResourceList', groupVersion: 'nap.dev/v1alpha1' });
      const find = (name: string): unknown =>
        list.resources.find((one: { name: string }) => one.name === name);
      expect(find('services')).toMatchObject({
        singularName: 'service',
        namespaced: true,
        kind: 'Service',
        shortNames: ['napsvc'],
        categories: expect.arrayContaining(['nap']),
        verbs: expect.arrayContaining([
          'get',
          'list',
          'watch',
          'create',
          'update',
          'patch',
          'delete',
          'deletecollection',
        ]),
      });
      expect(find('services/status')).toMatchObject({ kind: 'Service' });
      expect(find('services/scale')).toMatchObject({
        group: 'autoscaling',
        version: 'v1',
        kind: 'Scale',
      });
      expect(find('hosts')).toMatchObject({ namespaced: false });
      expect((await client.get('/apis/nap.dev')).body).toMatchObject({
        kind: 'APIGroup',
        name: 'nap.dev',
      });
    });

    it('lists all at once in the new document, with an ETag', async () => {
      const all = await client.get('/apis', { accept: aggregated });
      expect(all.headers['content-type']).toBe(
        'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList',
      );
      expect(all.body).toMatchObject({
        kind: 'APIGroupDiscoveryList',
        apiVersion: 'apidiscovery.k8s.io/v2',
      });
      const group = all.body.items.find(
        (item: { metadata: { name: string } }) => item.metadata.name === 'nap.dev',
      );
      const resource = group.versions[0].resources.find(
        (one: { resource: string }) => one.resource === 'services',
      );
      expect(resource).toMatchObject({
        responseKind: { group: 'nap.dev', version: 'v1alpha1', kind: 'Service' },
        scope: 'Namespaced',
        singularResource: 'service',
        shortNames: ['napsvc'],
      });
      expect(
        resource.subresources.map((one: { subresource: string }) => one.subresource).sort(),
      ).toEqual(['scale', 'status']);
      const etag = all.headers['etag'] ?? '';
      const again = await client.get('/apis', { accept: aggregated, 'if-none-match': etag });
      expect(again.code).toBe(304);
      expect(again.text).toBe('');
      expect(all.headers['vary']).toContain('Accept');
    });

    it('every listed resource answers a list', async () => {
      for (const path of [
        '/api/v1',
        '/apis/nap.dev/v1alpha1',
        '/apis/coordination.k8s.io/v1',
        '/apis/events.k8s.io/v1',
        '/apis/apiextensions.k8s.io/v1',
      ]) {
        const { resources } = (await client.get(path)).body as {
          resources: { name: string; verbs: string[] }[];
        };
        for (const { name, verbs } of resources.filter(
          (one) => one.verbs.includes('list') && !one.name.includes('/'),
        )) {
          expect(
            (await client.get(`${path}/${name}?limit=1`)).code,
            `${path}/${name} ${verbs.join()}`,
          ).toBe(200);
        }
      }
    });

    it('publishes schemas that kubectl validates and explains with', async () => {
      const index = await client.get('/openapi/v3');
      const entry = index.body.paths['apis/nap.dev/v1alpha1'];
      expect(entry.serverRelativeURL).toMatch(/^\/openapi\/v3\/apis\/nap\.dev\/v1alpha1\?hash=/);
      expect(index.body.paths['api/v1']).toBeDefined();
      const document = (await client.get(entry.serverRelativeURL)).body;
      const kinds = Object.values(
        document.components.schemas as Record<string, Record<string, { kind: string }[]>>,
      )
        .flatMap((schema) => schema['x-kubernetes-group-version-kind'] ?? [])
        .map(({ kind }) => kind);
      expect(kinds).toEqual(expect.arrayContaining(['Project', 'Service', 'Host']));
      const patch =
        document.paths['/apis/nap.dev/v1alpha1/namespaces/{namespace}/projects/{name}'].patch;
      expect(patch['x-kubernetes-group-version-kind']).toEqual({
        group: 'nap.dev',
        version: 'v1alpha1',
        kind: 'Project',
      });
      expect(patch.parameters.map((one: { name: string }) => one.name)).toContain(
        'fieldValidation',
      );
    });

    it('never answers the protobuf form of OpenAPI v2 with JSON', async () => {
      const answer = await client.get('/openapi/v2', {
        accept: 'application/com.github.proto-openapi.spec.v2@v1.0+protobuf',
      });
      if (answer.code === 200) expect(answer.headers['content-type']).toContain('proto');
      else expect([404, 406]).toContain(answer.code);
    });

    it('knows no other paths, groups, kinds and methods', async () => {
      expect((await client.get('/nonsense')).code).toBe(404);
      expect((await client.get('/apis/nothing.example.com/v1/things')).code).toBe(404);
      expect((await client.get('/apis/nap.dev/v1alpha1/things')).code).toBe(404);
      expect(
        (await client.get('/apis/nap.dev/v1alpha1/namespaces/default/services/a/b/c')).code,
      ).toBe(404);
      expect(
        (await client.get('/apis/nap.dev/v1alpha1/namespaces/default/services/a/nonsense')).code,
      ).toBe(404);
      const removed = await client.delete('/apis/nap.dev/v1alpha1/hosts/a/status');
      expect(removed.code).toBe(405);
      expect(removed.body.reason).toBe('MethodNotAllowed');
      expect((await client.put('/api/v1/namespaces', {})).code).toBe(405);
      const put = await client.put('/apis/nap.dev/v1alpha1/namespaces/default/services', {});
      expect(put.code).toBe(400);
      expect(put.body.message).toBe('name must be provided');
    });
  });
}
