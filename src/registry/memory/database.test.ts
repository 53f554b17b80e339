import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { eventually } from '../../../test/support/eventually.ts';
import { resolveCondition, storeCommands } from '../../../test/support/store-commands.ts';
import { VirtualClock } from '../../../test/support/virtual-clock.ts';
import { WatchLog } from '../../../test/support/watch-log.ts';
import { CompactedError, UnavailableError, type Entry, type Revision } from '../store.ts';
import { MemoryDatabase } from './database.ts';
import { MemoryStore } from './store.ts';

/** The dullest possible store: a copy of the whole state for every revision. */
class Model {
  readonly states: ReadonlyMap<string, Entry>[] = [new Map(), new Map()];
  compacted = 0;

  get revision(): number {
    return this.states.length - 1;
  }

  get now(): ReadonlyMap<string, Entry> {
    return this.states.at(-1) ?? new Map();
  }

  list(prefix: string, revision: number): Entry[] {
    return [...(this.states[revision] ?? new Map<string, Entry>()).values()]
      .filter((e) => e.key.startsWith(prefix))
      .sort((a, b) => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)));
  }
}

describe('MemoryDatabase', () => {
  it('does what a copy of the state for each revision would do', () => {
    fc.assert(
      fc.property(storeCommands, (commands) => {
        const database = new MemoryDatabase();
        const model = new Model();
        for (const command of commands) {
          if (command.type === 'compact') {
            const to = Math.max(model.compacted, model.revision - command.back);
            database.compact(BigInt(to));
            model.compacted = to;
          } else if (command.type === 'list') {
            const revision = Math.max(0, model.revision - command.back);
            const options = {
              limit: command.limit,
              revision: BigInt(revision),
              ...(command.after === undefined ? {} : { after: command.after }),
            };
            if (revision < model.compacted) {
              expect(() => database.list(command.prefix, options)).toThrow(CompactedError);
              continue;
            }
            const all = model
              .list(command.prefix, revision)
              .filter(
                (e) =>
                  command.after === undefined ||
                  Buffer.compare(Buffer.from(e.key), Buffer.from(command.after)) > 0,
              );
            expect(database.list(command.prefix, options)).toEqual({
              entries: all.slice(0, command.limit),
              revision: BigInt(revision),
              more: all.length > command.limit,
            });
          } else {
            const conditions = command.conditions.map((c) =>
              resolveCondition('', c, model.now.get(c.key)),
            );
            const holds = conditions.every((c) => {
              const entry = model.now.get(c.key);
              if (c.type === 'absent') return entry === undefined;
              if (c.type === 'present') return entry !== undefined;
              return (entry?.modRevision ?? 0n) === c.modRevision;
            });
            const result = database.commit(conditions, command.operations);
            expect(result.committed).toBe(holds);
            if (holds) {
              const next = new Map(model.now);
              const modRevision = BigInt(model.states.length);
              let changes = 0;
              for (const op of command.operations) {
                if (op.type === 'delete') changes += next.delete(op.key) ? 1 : 0;
                else {
                  const createRevision: Revision = next.get(op.key)?.createRevision ?? modRevision;
                  next.set(op.key, { key: op.key, value: op.value, createRevision, modRevision });
                  changes++;
                }
              }
              if (changes > 0) model.states.push(next);
            }
            expect(result.revision).toBe(BigInt(model.revision));
          }
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('a watch on MemoryStore', () => {
  it('ends up with the truth, through interruptions and compactions, telling every event once', async () => {
    const step = fc.oneof(
      {
        weight: 5,
        arbitrary: storeCommands.map((commands) => ({ type: 'use' as const, commands })),
      },
      { weight: 2, arbitrary: fc.constant({ type: 'disconnect' as const }) },
      { weight: 2, arbitrary: fc.constant({ type: 'reconnect' as const }) },
      { weight: 2, arbitrary: fc.constant({ type: 'yield' as const }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        const store = new MemoryStore();
        const log = new WatchLog(store, 'a');
        for (const action of steps) {
          if (action.type === 'disconnect') store.disconnect();
          else if (action.type === 'reconnect') store.reconnect();
          else if (action.type === 'yield') await new Promise((resolve) => setImmediate(resolve));
          else {
            for (const command of action.commands) {
              if (command.type === 'commit') store.database.commit([], command.operations);
              if (command.type === 'compact') store.compact();
            }
          }
        }
        store.reconnect();
        const truth = (): Entry[] => [...store.database.list('a').entries];
        await eventually('the truth', () => {
          const seen = log.batches.at(-1)?.revision ?? 0n;
          return log.batches.length > 0 && seen >= store.database.revision;
        });
        expect([...log.state.values()].sort((x, y) => (x.key < y.key ? -1 : 1))).toEqual(truth());
        const revisions = log.batches.map((b) => b.revision);
        expect(revisions.every((r, i) => i === 0 || r > (revisions[i - 1] ?? 0n))).toBe(true);
        await log.stop();
      }),
      { numRuns: 100 },
    );
  });
});

describe('a lease of MemoryStore in virtual time', () => {
  it('lives while it is renewed and is lost to its holder before its keys go', async () => {
    const clock = new VirtualClock();
    const store = new MemoryStore({ clock });
    const lease = await store.grantLease(5_000);
    await store.commit([], [{ type: 'put', key: '/mine', value: '', lease: lease.id }]);
    await clock.advance(60_000);
    expect(lease.lost.aborted).toBe(false);
    store.disconnect();
    let lostAt = Number.NaN;
    lease.lost.addEventListener('abort', () => (lostAt = clock.monotonic()));
    let goneAt = Number.NaN;
    store.database.onChange(() => (goneAt = clock.monotonic()));
    await clock.advance(10_000);
    expect(lostAt).toBeLessThan(goneAt);
    expect(goneAt).toBeLessThanOrEqual(65_000);
    expect(clock.pending).toBe(0);
  });

  it('survives an interruption that is shorter than it', async () => {
    const clock = new VirtualClock();
    const store = new MemoryStore({ clock });
    const lease = await store.grantLease(5_000);
    store.disconnect();
    await clock.advance(2_500);
    store.reconnect();
    await clock.advance(60_000);
    expect(lease.lost.aborted).toBe(false);
    await lease.release();
    expect(clock.pending).toBe(0);
  });
});

describe("MemoryStore's faults", () => {
  it('play an answer that is lost after the write', async () => {
    const store = new MemoryStore();
    store.loseAnswers(1);
    const write = store.commit([], [{ type: 'put', key: '/a', value: '1' }]);
    await expect(write).rejects.toBeInstanceOf(UnavailableError);
    expect(await store.get('/a')).toBeDefined();
  });

  it('play a store that fails, until told otherwise', async () => {
    const store = new MemoryStore();
    store.failWith(new UnavailableError('no'));
    await expect(store.get('/a')).rejects.toThrow('no');
    await expect(store.list('/')).rejects.toThrow('no');
    await expect(store.grantLease(5_000)).rejects.toThrow('no');
    store.failWith(undefined);
    expect(await store.get('/a')).toBeUndefined();
  });
});
