import { describeStoreContract } from '../../../test/support/store-contract.ts';
import { VirtualClock } from '../../../test/support/virtual-clock.ts';
import { MemoryDatabase } from './database.ts';
import { MemoryStore } from './store.ts';

const database = new MemoryDatabase();
const clock = new VirtualClock();

describeStoreContract('the in-process store', {
  open: () => Promise.resolve(new MemoryStore({ database, clock })),
  compact: (revision) => {
    database.compact(revision);
    return Promise.resolve();
  },
  wait: (ms) => clock.advance(ms),
});
