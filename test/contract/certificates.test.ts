import { request } from 'node:https';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { issue, makeAuthority, type KeyPair } from '../../src/controlplane/authority.ts';
import { MemoryStore } from '../../src/registry/memory/store.ts';
import { startApiServer, type ApiServer } from '../../src/apiserver/server.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/telemetry/log.ts';
import { repositoryCrds } from '../support/apiserver.ts';

/** Client certificates: the common name is the user, the organizations are the groups. */
describe('client certificates', () => {
  const store = new MemoryStore();
  let server: ApiServer;
  let authority: KeyPair;

  beforeAll(async () => {
    authority = await makeAuthority('test', Date.now());
    const pair = await issue(
      authority,
      { commonName: 'server', hosts: ['127.0.0.1', 'localhost'] },
      Date.now(),
    );
    server = await startApiServer({
      store,
      crds: repositoryCrds(),
      tokens: [],
      tls: { ca: authority.cert, ...pair },
      listen: { host: '127.0.0.1', port: 0 },
      log: silentLogger,
      clock: systemClock,
    });
  });
  afterAll(async () => {
    await server.close();
    await store.close();
  });

  function get(path: string, pair?: KeyPair): Promise<number> {
    return new Promise((resolve, reject) => {
      request(
        new URL(path, server.url),
        {
          ca: authority.cert,
          agent: false,
          ...(pair === undefined ? {} : { cert: pair.cert, key: pair.key }),
        },
        (response) => {
          response.resume();
          resolve(response.statusCode ?? 0);
        },
      )
        .on('error', reject)
        .end();
    });
  }
  const client = (commonName: string, organizations: string[], by = authority): Promise<KeyPair> =>
    issue(by, { commonName, organizations }, Date.now());

  it('give the rights of their groups', async () => {
    const admin = await client('admin', ['system:masters']);
    expect(await get('/api/v1/secrets', admin)).toBe(200);
    const operator = await client('nap-operator', ['nap:operators']);
    expect(await get('/apis/nap.dev/v1alpha1/projects', operator)).toBe(200);
    expect(await get('/api/v1/serviceaccounts', operator)).toBe(403);
    const nobody = await client('nobody', []);
    expect(await get('/apis', nobody)).toBe(200);
    expect(await get('/apis/nap.dev/v1alpha1/projects', nobody)).toBe(403);
  });

  it('of another authority are 401, none at all is anonymous', async () => {
    const stranger = await makeAuthority('stranger', Date.now());
    expect(await get('/api/v1/secrets', await client('admin', ['system:masters'], stranger))).toBe(
      401,
    );
    expect(await get('/api/v1/secrets')).toBe(403);
    expect(await get('/readyz')).toBe(200);
  });
});
