import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../../test/support/virtual-clock.ts';
import { MemoryStore } from './memory/store.ts';
import { putIfChanged } from './record-write.ts';
import { graceRecords } from './records/index.ts';
import { LeaseLostError } from './store.ts';

const key = { host: 'h1' };
const value = { until: 'x', reason: 'upgrade' };

describe('putIfChanged', () => {
  it('writes once, however often it is called', async () => {
    const store = new MemoryStore();
    const first = await putIfChanged(store, graceRecords, key, value);
    expect(await putIfChanged(store, graceRecords, key, value)).toBe(first);
    expect(store.database.revision).toBe(first);
    const second = await putIfChanged(store, graceRecords, key, { ...value, reason: 'reboot' });
    expect(second).toBe((first ?? 0n) + 1n);
  });

  it('writes again to move a record to another lease', async () => {
    const store = new MemoryStore({ clock: new VirtualClock() });
    await putIfChanged(store, graceRecords, key, value);
    const lease = await store.grantLease(5_000);
    await putIfChanged(store, graceRecords, key, value, { lease });
    expect((await store.get(graceRecords.path(key)))?.lease).toBe(lease.id);
  });

  it('writes nothing under a lost lease', async () => {
    const store = new MemoryStore({ clock: new VirtualClock() });
    const lease = await store.grantLease(5_000);
    lease.abandon();
    const late = putIfChanged(store, graceRecords, key, value, { lease });
    await expect(late).rejects.toBeInstanceOf(LeaseLostError);
    expect(await store.get(graceRecords.path(key))).toBeUndefined();
  });

  it('prevails over a concurrent writer, but not over a failed condition', async () => {
    const store = new MemoryStore();
    const path = graceRecords.path(key);
    let races = 0;
    store.beforeCommit = () => {
      if (races++ < 3)
        store.database.commit([], [{ type: 'put', key: path, value: String(races) }]);
    };
    await putIfChanged(store, graceRecords, key, value);
    expect((await store.get(path))?.value).toBe(graceRecords.encode(value));
    expect(races).toBe(4);
    const conditions = [{ type: 'present' as const, key: '/gate' }];
    const other = { ...value, reason: 'other' };
    const refused = await putIfChanged(store, graceRecords, key, other, { conditions });
    expect(refused).toBeUndefined();
    expect((await store.get(path))?.value).toBe(graceRecords.encode(value));
  });
});
