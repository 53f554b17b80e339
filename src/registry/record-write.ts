import type { RecordKind } from './records/index.ts';
import type { Condition, Entry, Lease, Revision, Store } from './store.ts';

export interface PutOptions {
  /** Lease that the record rides on; asserted alive right before each write. Default: none, it stays. */
  readonly lease?: Lease;
  /** The record's present entry, if the caller knows it; saves a read. */
  readonly known?: Entry;
  /** What else must hold, on other keys. */
  readonly conditions?: readonly Condition[];
}

/**
 * Makes a record be `value` on `lease`, writing only if it is not: for the one owner of a record, who may call this
 * in every pass. Concurrent writes of others are overwritten, never interleaved.
 *
 * Returns the revision of the record, or undefined when one of `conditions` does not hold.
 */
export async function putIfChanged<Key, Value>(
  store: Store,
  kind: RecordKind<Key, Value>,
  key: Key,
  value: Value,
  options: PutOptions = {},
  signal?: AbortSignal,
): Promise<Revision | undefined> {
  const path = kind.path(key);
  const text = kind.encode(value);
  const { lease, conditions = [] } = options;
  let current = options.known ?? (await store.get(path, signal));
  for (;;) {
    if (current?.value === text && current.lease === lease?.id) return current.modRevision;
    lease?.assertAlive();
    const modRevision = current?.modRevision ?? 0n;
    const result = await store.commit(
      [...conditions, { type: 'unchanged', key: path, modRevision }],
      [
        {
          type: 'put',
          key: path,
          value: text,
          ...(lease === undefined ? {} : { lease: lease.id }),
        },
      ],
      signal,
    );
    if (result.committed) return result.revision;
    const now = result.current.get(path);
    if ((now?.modRevision ?? 0n) === modRevision) return undefined;
    current = now;
  }
}
