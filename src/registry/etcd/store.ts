import type {
  CommitResult,
  Condition,
  Entry,
  Lease,
  Listing,
  ListOptions,
  Operation,
  Store,
  WatchBatch,
  WatchOptions,
} from '../store.ts';
import { EtcdClient, type EtcdOptions } from './client.ts';
import { getKey, listPrefix } from './kv.ts';
import { grantLease, type EtcdLease } from './lease-keeper.ts';
import { ProgressTrust } from './progress-trust.ts';
import { commit } from './txn.ts';
import { EtcdWatch } from './watcher.ts';

export type { EtcdOptions, EtcdTlsMaterial } from './client.ts';

/**
 * The Store contract on etcd (3.4 and later). Does not wait for etcd to be there: calls fail with UnavailableError while it
 * is not. StoreRefusedError when the options cannot work.
 */
export function openEtcdStore(options: EtcdOptions): Promise<Store> {
  return Promise.resolve().then(() => new EtcdStore(new EtcdClient(options)));
}

class EtcdStore implements Store {
  readonly #client: EtcdClient;
  readonly #trust: ProgressTrust;
  readonly #leases = new Set<EtcdLease>();

  constructor(client: EtcdClient) {
    this.#client = client;
    this.#trust = new ProgressTrust(client);
  }

  get(key: string, signal?: AbortSignal): Promise<Entry | undefined> {
    return getKey(this.#client, key, signal);
  }

  list(prefix: string, options?: ListOptions, signal?: AbortSignal): Promise<Listing> {
    return listPrefix(this.#client, prefix, options, signal);
  }

  commit(
    conditions: readonly Condition[],
    operations: readonly Operation[],
    signal?: AbortSignal,
  ): Promise<CommitResult> {
    return commit(this.#client, conditions, operations, signal);
  }

  watch(prefix: string, options: WatchOptions, signal: AbortSignal): AsyncIterable<WatchBatch> {
    return new EtcdWatch(this.#client, this.#trust, prefix, options, signal).run();
  }

  async grantLease(ttlMs: number, signal?: AbortSignal): Promise<Lease> {
    const lease = await grantLease(this.#client, ttlMs, signal);
    this.#leases.add(lease);
    lease.lost.addEventListener('abort', () => this.#leases.delete(lease), { once: true });
    return lease;
  }

  close(): Promise<void> {
    for (const lease of [...this.#leases]) lease.abandon();
    this.#client.close();
    return Promise.resolve();
  }
}
