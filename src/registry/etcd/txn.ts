/**
 * Transactions whose outcome is known even when the connection breaks before the answer.
 *
 * The trap: a transaction that was sent but not answered may have been applied, may be applied in a moment, or never. Sent
 * again, it can find its own effect and be told that a condition does not hold: its own success looks like a lost race. And
 * a write without conditions, sent again, can be applied twice, the second time on top of somebody else's.
 *
 * The answer: every transaction carries one more condition, that a *fence* key with a random name, its own, is absent. As long as
 * all goes well that costs nothing but the comparison. When an answer does not come, the fence is
 * written first: from then on the unanswered transaction can only have been applied before, never again after.
 * Then the state as of that revision is read: if it has the effect, the transaction was applied; if not, it never
 * will be, and may be sent anew with a new fence. The fence rides on a lease and vanishes by itself.
 */
import { randomUUID } from 'node:crypto';
import type { ICompare, IRequestOp, ITxnResponse } from 'etcd3';
import {
  CompactedError,
  StoreRefusedError,
  UnavailableError,
  type CommitResult,
  type Condition,
  type Entry,
  type Operation,
  type Revision,
} from '../store.ts';
import type { EtcdClient } from './client.ts';
import { certainlyNotApplied } from './errors.ts';
import { getKey, toEntry } from './kv.ts';
import { deadline } from '../../runtime/deadline.ts';

const maxOperations = 128;
const maxConditions = 127;
const fencePrefix = '/nap/fences/';
/** Longer than any unanswered request can hang between here and etcd. */
const fenceTtlSeconds = 600;
/** New attempts begin only within this time after the first. */
const attemptsMs = 10_000;
/** By then the caller gets an answer, be it that there is none. */
const commitMs = 15_000;

type Put = Extract<Operation, { type: 'put' }>;

/** See Store.commit. */
export async function commit(
  client: EtcdClient,
  conditions: readonly Condition[],
  operations: readonly Operation[],
  signal?: AbortSignal,
): Promise<CommitResult> {
  if (operations.length > maxOperations || conditions.length > maxConditions) {
    throw new StoreRefusedError('too many operations in one transaction');
  }
  const late = (): Error =>
    new UnavailableError('etcd did not tell the outcome of a transaction in time');
  const limit = deadline(client.clock, commitMs, late, signal);
  try {
    return await attempts(client, conditions, operations, limit.signal);
  } finally {
    limit.dispose();
  }
}

async function attempts(
  client: EtcdClient,
  conditions: readonly Condition[],
  operations: readonly Operation[],
  signal: AbortSignal,
): Promise<CommitResult> {
  const start = client.clock.monotonic();
  for (let attempt = 0; ; attempt++) {
    const before = client.seenRevision;
    const fence = fencePrefix + randomUUID();
    try {
      const answer = await client.once(
        () => client.kv.txn(request(conditions, operations, fence)),
        signal,
      );
      return result(client, conditions, answer);
    } catch (error) {
      if (!(error instanceof UnavailableError) || signal.aborted) throw error;
      if (!certainlyNotApplied(error)) {
        client.log.debug(
          { err: error },
          'a transaction was not answered; asking what became of it',
        );
        const applied = await findOut(client, operations, before, fence, signal);
        if (applied !== undefined) return { committed: true, revision: applied };
      }
      const delay = client.backoff(attempt);
      if (client.clock.monotonic() - start + delay >= attemptsMs) throw error;
      await client.pause(delay, signal);
    }
  }
}

function request(
  conditions: readonly Condition[],
  operations: readonly Operation[],
  fence: string,
): { compare: ICompare[]; success: IRequestOp[]; failure: IRequestOp[] } {
  return {
    compare: [...conditions.map(toCompare), toCompare({ type: 'absent', key: fence })],
    success: operations.map(toRequest),
    failure: conditions.map(({ key }) => ({ request_range: { key: Buffer.from(key) } })),
  };
}

function toCompare(condition: Condition): ICompare {
  const key = Buffer.from(condition.key);
  switch (condition.type) {
    case 'absent':
      return { key, target: 'Create', result: 'Equal', create_revision: '0' };
    case 'present':
      return { key, target: 'Create', result: 'Greater', create_revision: '0' };
    case 'unchanged':
      return {
        key,
        target: 'Mod',
        result: 'Equal',
        mod_revision: String(condition.modRevision),
      };
  }
}

function toRequest(operation: Operation): IRequestOp {
  const key = Buffer.from(operation.key);
  return operation.type === 'delete'
    ? { request_delete_range: { key } }
    : {
        request_put: {
          key,
          value: Buffer.from(operation.value),
          ...(operation.lease === undefined ? {} : { lease: operation.lease }),
        },
      };
}

function result(
  client: EtcdClient,
  conditions: readonly Condition[],
  answer: ITxnResponse,
): CommitResult {
  const revision = client.note(answer.header);
  if (answer.succeeded) return { committed: true, revision };
  const current = new Map<string, Entry | undefined>();
  conditions.forEach(({ key }, i) => {
    const kv = answer.responses[i]?.response_range.kvs[0];
    current.set(key, kv === undefined ? undefined : toEntry(kv));
  });
  return { committed: false, revision, current };
}

/**
 * Makes sure that an unanswered transaction is not applied any more, then says at which revision it was, or undefined
 * if it was not. UnavailableError when that cannot be learned.
 *
 * @param before a revision that the store had reached before the transaction was sent.
 */
async function findOut(
  client: EtcdClient,
  operations: readonly Operation[],
  before: Revision,
  fence: string,
  signal: AbortSignal | undefined,
): Promise<Revision | undefined> {
  if (operations.length === 0) return undefined;
  const fenced = await putFence(client, fence, signal);
  const found = await Promise.all(
    operations.map(async (op) => ({ op, entry: await getKey(client, op.key, signal, fenced) })),
  ).catch((error: unknown) => {
    throw error instanceof CompactedError ? unknowable(error) : error;
  });
  const puts = found.filter((f): f is { op: Put; entry: Entry | undefined } => f.op.type === 'put');
  if (puts.length === 0) {
    // A deletion leaves no trace of who did it. What was asked for is the case: good enough.
    return found.every(({ entry }) => entry === undefined) ? fenced : undefined;
  }
  const [first] = puts;
  const revisions = new Set<Revision>();
  let overwritten = false;
  for (const { op, entry } of puts) {
    if (entry !== undefined && isWork(op, entry) && entry.modRevision > before) {
      revisions.add(entry.modRevision);
    } else if (await changedSince(client, op.key, entry, before, signal)) {
      overwritten = true;
    } else {
      // Untouched since before the transaction was sent. (Or created by it and deleted by somebody else since: then
      // writing it again is as if the transaction had come later.)
      return undefined;
    }
  }
  if (overwritten) return await inHistory(client, puts, before, fenced, signal);
  return revisions.size === 1 ? first?.entry?.modRevision : undefined;
}

/** The store's revision right after the fence was written. Repeating this is harmless. */
async function putFence(
  client: EtcdClient,
  fence: string,
  signal: AbortSignal | undefined,
): Promise<Revision> {
  const lease = await client.repeat(
    () => client.leases.leaseGrant({ TTL: String(fenceTtlSeconds) }),
    signal,
  );
  const answer = await client.repeat(
    () => client.kv.put({ key: Buffer.from(fence), value: Buffer.alloc(0), lease: lease.ID }),
    signal,
  );
  return client.note(answer.header);
}

/** Whether somebody (perhaps we) wrote or deleted the key after `before`. */
async function changedSince(
  client: EtcdClient,
  key: string,
  entry: Entry | undefined,
  before: Revision,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  if (entry !== undefined) return entry.modRevision > before;
  if (before === 0n) return false;
  try {
    return (await getKey(client, key, signal, before)) !== undefined;
  } catch (error) {
    throw error instanceof CompactedError ? unknowable(error) : error;
  }
}

/**
 * Looks for the transaction's effect under later writes of others: walks the first put key's versions back from
 * `fenced` to `before`, until one is the work of the transaction.
 */
async function inHistory(
  client: EtcdClient,
  puts: readonly { readonly op: Put }[],
  before: Revision,
  fenced: Revision,
  signal: AbortSignal | undefined,
): Promise<Revision | undefined> {
  let missing = false;
  for (const { op } of puts) {
    try {
      let at = fenced;
      while (at > before) {
        const version = await getKey(client, op.key, signal, at);
        if (version === undefined) {
          // Deleted by somebody; when, and what it was before, cannot be asked by key.
          missing = true;
          break;
        }
        if (version.modRevision <= before) break;
        if (isWork(op, version)) return version.modRevision;
        at = version.modRevision - 1n;
      }
    } catch (error) {
      throw error instanceof CompactedError ? unknowable(error) : error;
    }
  }
  if (missing) throw unknowable();
  return undefined;
}

function isWork(op: Put, entry: Entry): boolean {
  return entry.value === op.value && entry.lease === op.lease;
}

function unknowable(cause?: Error): UnavailableError {
  return new UnavailableError('the outcome of a transaction cannot be learned', { cause });
}
