import { randomUUID } from 'node:crypto';
import { Etcd3 } from 'etcd3';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MemoryStore } from '../../../src/registry/memory/store.ts';
import type { CommitResult, Store, StoreEvent } from '../../../src/registry/store.ts';
import { TestEtcd } from '../../support/etcd.ts';
import { openTestStore } from '../../support/etcd-store.ts';
import {
  resolveCondition,
  storeCommands,
  type StoreCommand,
} from '../../support/store-commands.ts';
import { WatchLog } from '../../support/watch-log.ts';

/** Revisions as a distance from `base`, keys without `root`: what two stores can be compared by. */
function normalize(value: unknown, root: string, base: bigint): unknown {
  if (typeof value === 'bigint') return `r${value - base}`;
  if (typeof value === 'string') return value.startsWith(root) ? value.slice(root.length) : value;
  if (value instanceof Map) return normalize([...value.entries()], root, base);
  if (Array.isArray(value)) return value.map((v) => normalize(v, root, base));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([k, v]) => [k, normalize(v, root, base)]),
  );
}

describe('etcd and the in-process store', () => {
  let etcd: TestEtcd;
  let real: Store;
  let raw: Etcd3;

  beforeAll(async () => {
    etcd = await TestEtcd.start();
    real = await openTestStore(etcd.url);
    raw = new Etcd3({ hosts: etcd.url });
  });
  afterAll(async () => {
    raw.close();
    await real.close();
    await etcd.stop();
  });

  /** Runs the commands, returns all that a user of the store can see. */
  const observe = async (
    store: Store,
    compact: (revision: bigint) => Promise<void>,
    root: string,
    commands: readonly StoreCommand[],
  ): Promise<unknown> => {
    const { revision: base } = await store.list(root);
    let compacted = base;
    const seen: unknown[] = [];
    const log = new WatchLog(store, root, { withPrevious: true });
    await log.until('connected', ({ connections }) => connections.at(-1) === true);
    for (const command of commands) {
      const { revision: now } = await store.list(root, { limit: 1 });
      if (command.type === 'commit') {
        const conditions = await Promise.all(
          command.conditions.map(async (c) =>
            resolveCondition(root, c, await store.get(root + c.key)),
          ),
        );
        const operations = command.operations.map((op) => ({ ...op, key: root + op.key }));
        const result: CommitResult = await store.commit(conditions, operations);
        seen.push(result);
      } else if (command.type === 'list') {
        const back = now - BigInt(command.back);
        seen.push(
          await store
            .list(root + command.prefix, {
              revision: back > base ? back : base,
              limit: command.limit,
              ...(command.after === undefined ? {} : { after: root + command.after }),
            })
            .catch((error: unknown) => (error as Error).name),
        );
      } else {
        const to = now - BigInt(command.back);
        if (to <= compacted) continue;
        compacted = to;
        await compact(to);
      }
    }
    const { revision: end } = await store.list(root);
    await store.commit([], [{ type: 'put', key: `${root}end`, value: '' }]);
    await log.until('the end', ({ state }) => state.has(`${root}end`));
    await log.stop();
    // Within one transaction the order of events is nobody's promise.
    const order = (e: StoreEvent): string => (e.type === 'put' ? e.entry.key : e.key);
    const events = log.events
      .map((e) => ({ e, revision: e.type === 'put' ? e.entry.modRevision : e.revision }))
      .sort((a, b) => Number(a.revision - b.revision) || (order(a.e) < order(b.e) ? -1 : 1))
      .map(({ e }) => e);
    const state = [...log.state.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
    // A compaction may or may not catch a watch before its events: both are right.
    const compacts = commands.some(({ type }) => type === 'compact');
    return normalize({ seen, state, end, events: compacts ? 'either' : events }, root, base);
  };

  it('cannot be told apart by any sequence of calls', async () => {
    await fc.assert(
      fc.asyncProperty(storeCommands, async (commands) => {
        const root = `/${randomUUID()}/`;
        const memory = new MemoryStore();
        const expected = await observe(
          memory,
          (revision) => {
            memory.compact(revision);
            return Promise.resolve();
          },
          root,
          commands,
        );
        const actual = await observe(
          real,
          async (revision) => {
            await raw.kv.compact({ revision: String(revision), physical: true });
          },
          root,
          commands,
        );
        expect(actual).toEqual(expected);
      }),
      { numRuns: 60 },
    );
  });
});
