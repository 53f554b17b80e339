import { afterAll, beforeAll } from 'vitest';
import { startEmbedded, type EmbeddedServer } from '../support/apiserver.ts';
import { openTestStore } from '../support/etcd-store.ts';
import { TestEtcd } from '../support/etcd.ts';
import type { Store } from '../../src/registry/store.ts';
import { contractSuite } from './suite/index.ts';

/** The contract on the embedded server over a real etcd. */
let etcd: TestEtcd;
let store: Store;
let server: EmbeddedServer;

beforeAll(async () => {
  etcd = await TestEtcd.start();
  store = await openTestStore(etcd.url);
  server = await startEmbedded({ store });
});
afterAll(async () => {
  await server.close();
  await store.close();
  await etcd.stop();
});

contractSuite(() => server);
