import type { IKeyValue } from 'etcd3';
import {
  CompactedError,
  UnavailableError,
  type Entry,
  type Listing,
  type ListOptions,
  type Revision,
} from '../store.ts';
import { compareKeys } from '../key-order.ts';
import type { EtcdClient } from './client.ts';

/** Entries read in one request. */
const pageSize = 500;
/** Fresh starts of a listing whose revision was compacted while it was being read. */
const maxRestarts = 5;

export function toEntry(kv: IKeyValue): Entry {
  return {
    key: kv.key.toString(),
    value: kv.value.toString(),
    createRevision: BigInt(kv.create_revision),
    modRevision: BigInt(kv.mod_revision),
    ...(kv.lease === '0' ? {} : { lease: kv.lease }),
  };
}

/** etcd's range for "all keys that start with `prefix`". */
export function prefixRange(prefix: string): { key: Buffer; range_end: Buffer } {
  const key = Buffer.from(prefix === '' ? '\0' : prefix);
  const end = Buffer.from(prefix);
  for (let i = end.length - 1; i >= 0; i--) {
    const byte = end[i] ?? 0xff;
    if (byte === 0xff) continue;
    end[i] = byte + 1;
    return { key, range_end: end.subarray(0, i + 1) };
  }
  return { key, range_end: Buffer.from([0]) };
}

/** The entry of one key, now or as of `revision`. */
export async function getKey(
  client: EtcdClient,
  key: string,
  signal?: AbortSignal,
  revision?: Revision,
): Promise<Entry | undefined> {
  const answer = await client.repeat(
    () =>
      client.kv.range({
        key: Buffer.from(key),
        ...(revision === undefined ? {} : { revision: String(revision) }),
      }),
    signal,
  );
  client.note(answer.header);
  const kv = answer.kvs[0];
  return kv === undefined ? undefined : toEntry(kv);
}

/** See Store.list. All pages are of one revision. */
export async function listPrefix(
  client: EtcdClient,
  prefix: string,
  options: ListOptions = {},
  signal?: AbortSignal,
): Promise<Listing> {
  for (let restart = 0; ; restart++) {
    try {
      return await listOnce(client, prefix, options, signal);
    } catch (error) {
      if (!(error instanceof CompactedError)) throw error;
      if (options.revision !== undefined) throw new CompactedError(options.revision + 1n);
      if (restart >= maxRestarts) {
        throw new UnavailableError('history is compacted faster than it can be read', {
          cause: error,
        });
      }
    }
  }
}

async function listOnce(
  client: EtcdClient,
  prefix: string,
  options: ListOptions,
  signal: AbortSignal | undefined,
): Promise<Listing> {
  const range = prefixRange(prefix);
  const limit = options.limit ?? Number.POSITIVE_INFINITY;
  const entries: Entry[] = [];
  let { revision, after } = options;
  for (;;) {
    const page = Math.min(pageSize, limit - entries.length);
    const answer = await client.repeat(
      () =>
        client.kv.range({
          ...range,
          key: firstKey(prefix, range.key, after),
          // etcd takes 0 for "no limit".
          limit: String(Math.max(1, page)),
          ...(revision === undefined ? {} : { revision: String(revision) }),
        }),
      signal,
    );
    const seen = client.note(answer.header);
    revision ??= seen;
    if (page <= 0) return { entries, revision, more: answer.kvs.length > 0 };
    for (const kv of answer.kvs) entries.push(toEntry(kv));
    after = entries.at(-1)?.key;
    if (!answer.more || entries.length >= limit) {
      return { entries, revision, more: answer.more };
    }
  }
}

/** The first key that may be listed: the one right behind `after`, but never one before the prefix. */
function firstKey(prefix: string, start: Buffer, after: string | undefined): Buffer {
  if (after === undefined || compareKeys(after, prefix) < 0) return start;
  return Buffer.from(`${after}\0`);
}
