import type { Condition, Operation } from '../../registry/store.ts';

/** etcd takes 128 operations and as many conditions in a transaction (`--max-txn-ops`); some are the caller's. */
const mostOperations = 100;
/** etcd takes requests of 1.5 MiB (`--max-request-bytes`). */
const mostBytes = 512 * 1024;

interface Writes {
  readonly conditions: readonly Condition[];
  readonly operations: readonly Operation[];
}

/** Cuts a list of changes into transactions that the store takes; what one change writes stays together. */
export function batches<T extends Writes>(changes: readonly T[]): T[][] {
  const result: T[][] = [];
  let batch: T[] = [];
  let count = 0;
  let bytes = 0;
  for (const change of changes) {
    const size = change.operations.reduce((sum, op) => sum + sizeOf(op), 0);
    const most = Math.max(change.operations.length, change.conditions.length);
    if (batch.length > 0 && (count + most > mostOperations || bytes + size > mostBytes)) {
      result.push(batch);
      batch = [];
      count = 0;
      bytes = 0;
    }
    batch.push(change);
    count += most;
    bytes += size;
  }
  if (batch.length > 0) result.push(batch);
  return result;
}

function sizeOf(operation: Operation): number {
  // Three bytes are the most that a UTF-16 code unit takes in UTF-8; keys and most values are ASCII.
  return operation.key.length + (operation.type === 'put' ? operation.value.length * 1.5 : 0) + 32;
}
