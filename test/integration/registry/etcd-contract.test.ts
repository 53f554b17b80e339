import { Etcd3 } from 'etcd3';
import { TestEtcd } from '../../support/etcd.ts';
import { openTestStore } from '../../support/etcd-store.ts';
import { describeStoreContract } from '../../support/store-contract.ts';

let etcd: TestEtcd;

describeStoreContract('etcd', {
  start: async () => {
    etcd = await TestEtcd.start();
  },
  stop: () => etcd.stop(),
  open: () => openTestStore(etcd.url),
  compact: async (revision) => {
    const client = new Etcd3({ hosts: etcd.url });
    await client.kv.compact({ revision: String(revision), physical: true });
    client.close();
  },
  wait: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
});
