import { describeStoreContract } from '../../../test/support/store-contract.ts';
import { MemoryDatabase } from './database.ts';
import { MemoryStore } from './store.ts';

const database = new MemoryDatabase();

describeStoreContract('the in-process store', {
  open: () => Promise.resolve(new MemoryStore({ database })),
  compact: (revision) => {
    database.compact(revision);
    return Promise.resolve();
  },
});
