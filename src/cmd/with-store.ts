import { openEtcdStore } from '../registry/etcd/store.ts';
import type { Store } from '../registry/store.ts';
import { systemClock } from '../runtime/clock.ts';
import type { Logger } from '../telemetry/log.ts';
import { etcdConnection, type EtcdFlags } from './flags.ts';

/** Calls `main` with the etcd that the flags name, and lets go of it afterwards. */
export async function withStore(
  flags: EtcdFlags,
  log: Logger,
  main: (store: Store) => Promise<void>,
): Promise<void> {
  const connection = await etcdConnection(flags);
  const store = await openEtcdStore({
    ...connection,
    clock: systemClock,
    log,
    random: Math.random,
  });
  try {
    await main(store);
  } finally {
    await store.close();
  }
}
