import fc from 'fast-check';
import type { Condition, Entry, Operation, Revision } from '../../src/registry/store.ts';

/** Random use of a store, for comparing implementations. Keys are relative to a root. */
export type StoreCommand =
  | {
      readonly type: 'commit';
      readonly conditions: readonly CommandCondition[];
      readonly operations: readonly Operation[];
    }
  | {
      readonly type: 'list';
      readonly prefix: string;
      readonly limit: number;
      readonly after: string | undefined;
      readonly back: number;
    }
  | { readonly type: 'compact'; readonly back: number };

/** `unchanged` holds the age of the revision: 0 = the key's present one, 1 = the one before … */
export type CommandCondition =
  | { readonly type: 'absent' | 'present'; readonly key: string }
  | { readonly type: 'unchanged'; readonly key: string; readonly stale: boolean };

const key = fc.constantFrom('a', 'b', 'a/x', 'a/y', 'a0', 'é', '😀');
const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ type: fc.constant('put'), key, value: fc.constantFrom('1', '2', '') }),
  },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('delete'), key }) },
);
const condition: fc.Arbitrary<CommandCondition> = fc.oneof(
  fc.record({ type: fc.constantFrom('absent', 'present'), key }),
  fc.record({ type: fc.constant('unchanged'), key, stale: fc.boolean() }),
);

export const storeCommands: fc.Arbitrary<StoreCommand[]> = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        type: fc.constant('commit'),
        conditions: fc.array(condition, { maxLength: 2 }),
        operations: fc.uniqueArray(operation, { maxLength: 4, selector: (op) => op.key }),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        type: fc.constant('list'),
        prefix: fc.constantFrom('', 'a', 'a/', 'zz'),
        limit: fc.integer({ min: 1, max: 8 }),
        after: fc.option(key, { nil: undefined }),
        back: fc.integer({ min: 0, max: 4 }),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ type: fc.constant('compact'), back: fc.integer({ min: 0, max: 3 }) }),
    },
  ),
  { maxLength: 40 },
);

/** Makes a condition of a command real, given the key's present entry. */
export function resolveCondition(
  root: string,
  command: CommandCondition,
  entry: Entry | undefined,
): Condition {
  const path = root + command.key;
  if (command.type !== 'unchanged') return { type: command.type, key: path };
  const modRevision: Revision = (entry?.modRevision ?? 0n) - (command.stale ? 1n : 0n);
  return { type: 'unchanged', key: path, modRevision: modRevision < 0n ? 1n : modRevision };
}
