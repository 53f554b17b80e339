import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EtcdTlsMaterial } from '../../../src/registry/etcd/store.ts';
import { StoreRefusedError, UnavailableError, type Store } from '../../../src/registry/store.ts';
import { TestEtcd } from '../../support/etcd.ts';
import { openTestStore } from '../../support/etcd-store.ts';
import { TcpProxy } from '../../support/tcp-proxy.ts';
import { TestAuthority, type KeyPair } from '../../support/tls-files.ts';
import { WatchLog } from '../../support/watch-log.ts';

const material = async (authority: KeyPair, pair: KeyPair): Promise<EtcdTlsMaterial> => ({
  ca: await readFile(authority.certFile),
  cert: await readFile(pair.certFile),
  key: await readFile(pair.keyFile),
});

describe('the etcd store over mutual TLS', () => {
  let authority: TestAuthority;
  let stranger: TestAuthority;
  let etcd: TestEtcd;
  let client: KeyPair;

  beforeAll(async () => {
    [authority, stranger] = await Promise.all([TestAuthority.create(), TestAuthority.create()]);
    const server = await authority.issue('server');
    client = await authority.issue('client');
    etcd = await TestEtcd.start({ tls: { caFile: authority.certFile, ...server } });
  });
  afterAll(async () => {
    await etcd.stop();
    await Promise.all([authority.remove(), stranger.remove()]);
  });

  const using = async (store: Store, use: (store: Store) => Promise<void>): Promise<void> => {
    try {
      await use(store);
    } finally {
      await store.close();
    }
  };

  it('reads, writes, watches and leases, also after a cut', async () => {
    const proxy = await TcpProxy.start('127.0.0.1', etcd.port);
    const tls = await material(authority, client);
    await using(await openTestStore(`https://127.0.0.1:${proxy.port}`, { tls }), async (store) => {
      const log = new WatchLog(store, '/tls/');
      await log.until('connected', ({ connections }) => connections.at(-1) === true);
      const lease = await store.grantLease(5_000);
      const put = (value: string) => ({
        type: 'put' as const,
        key: '/tls/a',
        value,
        lease: lease.id,
      });
      expect((await store.commit([], [put('1')])).committed).toBe(true);
      proxy.cut();
      expect((await store.commit([], [put('2')])).committed).toBe(true);
      await log.until('both', ({ events }) => events.length === 2);
      await lease.release();
      await log.until('the deletion', ({ events }) => events.length === 3);
      await log.stop();
    });
    await proxy.close();
  });

  it("refuses a server that is not its authority's", async () => {
    const tls = await material(stranger, client);
    await using(await openTestStore(etcd.url, { tls }), async (store) => {
      await expect(store.get('/x')).rejects.toThrow(/certificate|self.signed|verify/i);
    });
  });

  it('is refused by the server with a certificate of somebody else', async () => {
    const tls = await material(authority, await stranger.issue('client'));
    await using(await openTestStore(etcd.url, { tls }), async (store) => {
      const error = await store.get('/x').catch((e: unknown) => e);
      expect(error instanceof UnavailableError || error instanceof StoreRefusedError).toBe(true);
    });
  });

  it('says what is wrong with hosts and key material before anything is sent', async () => {
    const tls = await material(authority, client);
    await expect(openTestStore([])).rejects.toThrow(/no etcd host/);
    await expect(openTestStore('http://127.0.0.1:1', { tls })).rejects.toThrow(/https:/);
    await expect(openTestStore('https://127.0.0.1:1')).rejects.toThrow(/http:/);
    await expect(openTestStore('127.0.0.1:1')).rejects.toBeInstanceOf(StoreRefusedError);
    const broken = openTestStore(etcd.url, { tls: { ...tls, key: 'not a key' } });
    await expect(broken).rejects.toThrow(/TLS material is unusable/);
  });
});
