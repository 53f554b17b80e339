import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startEmbedded, type EmbeddedServer } from '../support/apiserver.ts';
import { service, servicesPath } from './suite/fixtures.ts';

/** Rights that only the embedded server can be started with. */
describe('who may patch but not create', () => {
  let server: EmbeddedServer;
  beforeAll(async () => {
    const rules = [{ verbs: ['get', 'patch'], apiGroups: ['nap.dev'], resources: ['services'] }];
    server = await startEmbedded({ grants: [{ groups: ['patchers'], rules }] });
  });
  afterAll(() => server.close());

  it('applies to what is there, and makes nothing', async () => {
    const headers = { 'impersonate-user': 'pat', 'impersonate-group': 'patchers' };
    const apply = (name: string, replicas: number) =>
      server.client.request(
        'PATCH',
        `${servicesPath('default')}/${name}?fieldManager=pat&force=true`,
        {
          type: 'application/apply-patch+yaml',
          body: service(name, { replicas }),
          headers,
        },
      );
    const refused = await apply('fresh', 2);
    expect(refused.code).toBe(403);
    expect(refused.body).toMatchObject({
      reason: 'Forbidden',
      message:
        'services.nap.dev "fresh" is forbidden: User "pat" cannot create resource "services" in API group "nap.dev" in the namespace "default"',
    });
    expect((await server.client.get(`${servicesPath('default')}/fresh`)).code).toBe(404);
    await server.client.post(servicesPath('default'), service('old'));
    expect((await apply('old', 2)).code).toBe(200);
  });
});
