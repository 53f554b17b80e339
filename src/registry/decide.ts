import { NotLeaderError } from './leadership.ts';
import { leaderPath } from './records/index.ts';
import type { Condition, Entry, Operation, Revision, Store } from './store.ts';

/** Limits of one transaction. The store takes 128 operations and 127 conditions; etcd takes 1.5 MiB by default. */
const maxOperations = 127;
const maxConditions = 127;
const maxBytes = 1_000_000;

export type DecisionResult =
  | { readonly committed: true; readonly revision: Revision }
  /**
   * A condition did not hold. Operations before `applied` are done, those from there on are not;
   * `current` has the present state of the keys in the refused transaction's conditions.
   */
  | {
      readonly committed: false;
      readonly applied: number;
      readonly revision: Revision;
      readonly current: ReadonlyMap<string, Entry | undefined>;
    };

/**
 * Writes decisions as the leader of `epoch`. One transaction if they fit, else several, in order, each all or nothing. A
 * condition on a key that is being written goes with that write; any other one goes into every transaction.
 *
 * Throws NotLeaderError when the epoch is over; UnavailableError as Store.commit does.
 */
export async function decide(
  store: Store,
  epoch: Revision,
  conditions: readonly Condition[],
  operations: readonly Operation[],
  signal?: AbortSignal,
): Promise<DecisionResult> {
  let applied = 0;
  let revision: Revision = epoch;
  for (const part of split(epoch, conditions, operations)) {
    const result = await store.commit(part.conditions, part.operations, signal);
    revision = result.revision;
    if (!result.committed) {
      if (result.current.get(leaderPath)?.modRevision !== epoch) {
        throw new NotLeaderError(`epoch ${epoch} is over`);
      }
      return { committed: false, applied, revision, current: result.current };
    }
    applied += part.operations.length;
  }
  return { committed: true, revision };
}

interface Part {
  readonly conditions: Condition[];
  readonly operations: Operation[];
}

function* split(
  epoch: Revision,
  conditions: readonly Condition[],
  operations: readonly Operation[],
): Generator<Part> {
  const written = new Set(operations.map(({ key }) => key));
  const own = new Map<string, Condition[]>();
  const common: Condition[] = [{ type: 'unchanged', key: leaderPath, modRevision: epoch }];
  for (const condition of conditions) {
    if (!written.has(condition.key)) common.push(condition);
    else own.set(condition.key, [...(own.get(condition.key) ?? []), condition]);
  }
  if (common.length >= maxConditions) throw new RangeError('too many conditions for a decision');
  let part: Part = { conditions: [...common], operations: [] };
  let bytes = 0;
  for (const operation of operations) {
    const guards = own.get(operation.key) ?? [];
    const size = sizeOf(operation);
    const full =
      part.operations.length >= maxOperations ||
      part.conditions.length + guards.length > maxConditions ||
      bytes + size > maxBytes;
    if (full && part.operations.length > 0) {
      yield part;
      part = { conditions: [...common], operations: [] };
      bytes = 0;
    }
    part.conditions.push(...guards);
    part.operations.push(operation);
    bytes += size;
  }
  if (part.operations.length > 0 || operations.length === 0) yield part;
}

/** Upper bound of what an operation takes in a request. */
function sizeOf(operation: Operation): number {
  const value = operation.type === 'put' ? Buffer.byteLength(operation.value) : 0;
  return Buffer.byteLength(operation.key) + value + 64;
}
