import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { VirtualClock } from '../../../test/support/virtual-clock.ts';
import { eventually } from '../../../test/support/eventually.ts';
import { MemoryStore } from '../../registry/memory/store.ts';
import { RecordWatch } from '../../registry/record-watch.ts';
import { serviceRecords } from '../../registry/records/index.ts';
import type { Entry, WatchBatch } from '../../registry/store.ts';
import { silentLogger } from '../../telemetry/log.ts';
import { LastKnown, remembering } from './last-known.ts';

const prefix = '/nap/v1/placements/h1/';
const entry = (key: string, modRevision: bigint): Entry => ({
  key: `${prefix}${key}`,
  value: `value of ${key}`,
  modRevision,
  createRevision: modRevision,
});

let directory: string;
let clock: VirtualClock;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nap-known-'));
  clock = new VirtualClock();
});
afterEach(async () => {
  await rm(directory, { recursive: true });
});

const make = (): LastKnown => new LastKnown({ directory, clock, log: silentLogger });
const path = async (): Promise<string> => join(directory, (await readdir(directory))[0]!);

describe('what was last known', () => {
  it('is there for the next agent: the last state, only for its owner to read', async () => {
    const first = make();
    first.note(prefix, {
      type: 'snapshot',
      revision: 5n,
      entries: [entry('a', 3n), entry('b', 4n)],
    });
    first.note(prefix, {
      type: 'events',
      revision: 7n,
      events: [
        { type: 'put', entry: entry('c', 6n) },
        { type: 'delete', key: `${prefix}a`, revision: 7n },
      ],
    });
    await first.flush();
    expect(await make().read(prefix)).toEqual([entry('b', 4n), entry('c', 6n)]);
    expect((await stat(await path())).mode & 0o777).toBe(0o600);
    expect(await make().read('/other/')).toBeUndefined();
  });

  it('is written once for many changes', async () => {
    const known = make();
    for (let i = 1n; i < 100n; i++) {
      known.note(prefix, { type: 'snapshot', revision: i, entries: [entry('a', i)] });
    }
    expect(await readdir(directory)).toEqual([]);
    await clock.advance(2_000);
    await eventually(
      'it is written',
      async () => (await make().read(prefix))?.[0]?.modRevision === 99n,
    );
    expect(clock.pending).toBe(0);
  });

  it('counts as nothing when the file is torn, changed or of another kind', async () => {
    const known = make();
    known.note(prefix, { type: 'snapshot', revision: 1n, entries: [entry('a', 1n)] });
    await known.flush();
    const text = await readFile(await path(), 'utf8');
    for (const broken of [
      text.slice(0, -3),
      text.replace('value of a', 'value of b'),
      '',
      'x\n{}',
    ]) {
      await writeFile(await path(), broken);
      expect(await make().read(prefix)).toBeUndefined();
    }
  });

  it('begins a watch, and the word of the registry follows it', async () => {
    const known = make();
    known.note(prefix, { type: 'snapshot', revision: 1n, entries: [entry('old', 1n)] });
    await known.flush();
    const store = new MemoryStore();
    const stop = new AbortController();
    const seen: WatchBatch[] = [];
    const watching = (async () => {
      for await (const batch of remembering(store, make()).watch(prefix, {}, stop.signal))
        seen.push(batch);
    })();
    await eventually('both', () => seen.length >= 2);
    expect(seen.map((batch) => batch.type === 'snapshot' && batch.entries.length)).toEqual([1, 0]);
    stop.abort();
    await watching;
    await store.close();
  });

  it('is never taken for the word of the registry: not of one that has the same paths at the same revisions', async () => {
    const known = make();
    const service = { namespace: 'default', project: 'shop', service: 'web' };
    const key = serviceRecords.path(service);
    const old = serviceRecords.encode({ uid: 'old', ports: [], links: [] });
    known.note(serviceRecords.prefix, {
      type: 'snapshot',
      revision: 9n,
      entries: [{ key, value: old, modRevision: 2n, createRevision: 2n }],
    });
    await known.flush();
    const store = new MemoryStore();
    const stop = new AbortController();
    const watch = new RecordWatch(remembering(store, make()), serviceRecords, {
      clock,
      log: silentLogger,
    });
    const value = serviceRecords.encode({ uid: 'new', ports: [], links: [] });
    await store.commit([], [{ type: 'put', key, value }]);
    expect((await store.get(key))?.modRevision).toBe(2n);
    const running = watch.run(stop.signal);
    await eventually('the new one is known', () => watch.get(service)?.value.uid === 'new');
    stop.abort();
    await running;
    await store.close();
  });
});
