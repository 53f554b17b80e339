import { openEtcdStore, type EtcdOptions } from '../../src/registry/etcd/store.ts';
import type { Store } from '../../src/registry/store.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/telemetry/log.ts';

/** A store on the etcd at `url` (or several), by the machine's clock. */
export function openTestStore(
  url: string | readonly string[],
  options: Partial<EtcdOptions> = {},
): Promise<Store> {
  return openEtcdStore({
    hosts: typeof url === 'string' ? [url] : url,
    clock: systemClock,
    log: silentLogger,
    random: Math.random,
    ...options,
  });
}
