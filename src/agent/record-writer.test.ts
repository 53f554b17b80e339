import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MemoryStore } from '../registry/memory/store.ts';
import {
  endpointRecords,
  instanceRecords,
  type InstanceRecord,
} from '../registry/records/index.ts';
import type { Lease } from '../registry/store.ts';
import { systemClock } from '../runtime/clock.ts';
import { silentLogger } from '../telemetry/log.ts';
import type { DesiredInstance } from './desired.ts';
import { RecordWriter } from './record-writer.ts';
import type { InstanceReport } from './report.ts';

const key = (ordinal: number) => ({
  namespace: 'default',
  project: 'shop',
  service: 'web',
  ordinal: String(ordinal),
});
const instancePath = (ordinal: number): string =>
  instanceRecords.path({ host: 'h1', ...key(ordinal) });
const endpointPath = (ordinal: number): string => endpointRecords.path(key(ordinal));
const placementPath = (ordinal: number): string =>
  `/nap/v1/placements/h1/default/shop/web/${ordinal}`;

let store: MemoryStore;
let writer: RecordWriter;
let lease: Lease;
let stop: AbortController;
let run: Promise<void>;
let commits: number;

beforeEach(async () => {
  store = new MemoryStore();
  commits = 0;
  store.beforeCommit = () => {
    commits++;
  };
  writer = new RecordWriter(store, 'h1', systemClock, silentLogger);
  lease = await store.grantLease(5000);
  writer.useLease(lease, []);
  stop = new AbortController();
  run = writer.run(stop.signal);
});

afterEach(async () => {
  stop.abort();
  await run;
  await store.close();
});

function report(ordinal: number, ready = true): InstanceReport {
  const record: InstanceRecord = {
    id: `id-${ordinal}`,
    specHash: '1',
    phase: 'Running',
    ready,
    restarts: 0,
  };
  return ready
    ? { record, endpoint: { host: 'h1', ipv4_addr: `10.77.1.${ordinal}`, ports: [] } }
    : { record };
}

/** Places the instance; the placement as the agent reads it. */
async function placed(ordinal: number): Promise<DesiredInstance> {
  const path = placementPath(ordinal);
  const result = await store.commit([], [{ type: 'put', key: path, value: '{}' }]);
  return {
    key: key(ordinal),
    path,
    modRevision: result.revision,
    placement: {},
  } as DesiredInstance;
}

function value(path: string): string | undefined {
  return store.database.get(path)?.value;
}

describe('the records of a host', () => {
  it('are written on its lease, many in one transaction, and not again when nothing has changed', async () => {
    const all = await Promise.all(Array.from({ length: 25 }, (_, i) => placed(i)));
    commits = 0;
    all.forEach((desired, i) => {
      writer.set(key(i), report(i), desired);
    });
    await writer.settled(1000);
    expect(commits).toBe(1);
    expect(store.database.get(endpointPath(7))?.lease).toBe(lease.id);
    all.forEach((desired, i) => {
      writer.set(key(i), report(i), desired);
    });
    await writer.settled(100);
    expect(commits).toBe(1);
  });

  it('speak for an endpoint only while the placement stands as it was read', async () => {
    const desired = await placed(1);
    await store.commit([], [{ type: 'delete', key: placementPath(1) }]);
    const fine = await placed(2);
    writer.set(key(1), report(1), desired);
    writer.set(key(2), report(2), fine);
    await writer.settled(1000);
    expect(value(endpointPath(1))).toBeUndefined();
    expect(value(endpointPath(2))).toContain('10.77.1.2');
    expect(value(instancePath(1))).toBeDefined();
  });

  it('hand the endpoint of an ordinal over from an instance to its successor on the same host', async () => {
    const old = await placed(1);
    writer.set(key(1), report(1), old);
    const next = { ...key(1), ordinal: '1.b' };
    const path = `${placementPath(1)}.b`;
    const put = async (): Promise<bigint> =>
      (await store.commit([], [{ type: 'put', key: path, value: '{}' }])).revision;
    const beside = { key: next, path, modRevision: await put(), placement: { beside: true } };
    const second = `${endpointPath(1)}.b`;
    writer.set(next, report(2), beside as DesiredInstance);
    await writer.settled(1000);
    expect(value(endpointPath(1))).toContain('10.77.1.1');
    expect(value(second)).toContain('10.77.1.2');
    const alone = { key: next, path, modRevision: await put(), placement: {} };
    writer.set(next, report(2), alone as DesiredInstance);
    writer.set(key(1), {}, undefined);
    await writer.settled(1000);
    expect(value(endpointPath(1))).toContain('10.77.1.2');
    expect(value(second)).toBeUndefined();
    writer.set(next, {}, undefined);
    await writer.settled(1000);
    expect(value(endpointPath(1))).toBeUndefined();
  });

  it("do not take another host's endpoint away", async () => {
    const desired = await placed(1);
    writer.set(key(1), report(1), desired);
    await writer.settled(1000);
    await store.commit([], [{ type: 'put', key: endpointPath(1), value: 'of h2' }]);
    writer.set(key(1), {}, undefined);
    await writer.settled(1000);
    expect(value(endpointPath(1))).toBe('of h2');
    expect(value(instancePath(1))).toBeUndefined();
  });

  it('go to the new lease, and what an earlier agent left and nobody wants goes', async () => {
    const desired = await placed(1);
    writer.set(key(1), report(1), desired);
    await writer.settled(1000);
    await store.commit([], [{ type: 'put', key: instancePath(9), value: 'left' }]);
    const second = await store.grantLease(5000);
    writer.useLease(second, [store.database.get(instancePath(9))!]);
    await writer.settled(1000);
    // What an agent before this one has said stands until this one knows better.
    expect(value(instancePath(9))).toBe('left');
    writer.informed();
    await writer.settled(1000);
    expect(store.database.get(endpointPath(1))?.lease).toBe(second.id);
    expect(store.database.get(instancePath(1))?.lease).toBe(second.id);
    expect(value(instancePath(9))).toBeUndefined();
  });

  it('are written after all when the registry fails for a while or loses an answer', async () => {
    store.failWith(new Error('no'));
    writer.set(key(1), report(1, false), await placedOffline());
    await writer.settled(50);
    expect(value(instancePath(1))).toBeUndefined();
    store.failWith(undefined);
    store.loseAnswers(1);
    await writer.settled(3000);
    expect(value(instancePath(1))).toContain('id-1');
  });

  /** Has `act` happen while the next write is under way. */
  function duringNextWrite(act: () => void): void {
    store.beforeCommit = () => {
      store.beforeCommit = undefined;
      act();
    };
  }

  it('go when they are unwanted while they are being written', async () => {
    const desired = await placed(1);
    duringNextWrite(() => {
      writer.set(key(1), {}, undefined);
    });
    writer.set(key(1), report(1), desired);
    await writer.settled(1000);
    expect(value(instancePath(1))).toBeUndefined();
    expect(value(endpointPath(1))).toBeUndefined();
    expect(writer.standing()).toEqual([]);
  });

  it('say the last word when it is what they said before the write under way', async () => {
    const desired = await placed(1);
    writer.set(key(1), report(1), desired);
    await writer.settled(1000);
    duringNextWrite(() => {
      writer.set(key(1), report(1), desired);
    });
    writer.set(key(1), report(1, false), desired);
    await writer.settled(1000);
    expect(value(instancePath(1))).toContain('"ready":true');
    expect(value(endpointPath(1))).toBeDefined();
  });

  it('go although the answer to the last write of them was lost', async () => {
    const desired = await placed(1);
    writer.set(key(1), report(1), desired);
    await writer.settled(1000);
    duringNextWrite(() => {
      store.loseAnswers(1);
      writer.set(key(1), {}, undefined);
    });
    writer.set(key(1), { record: { ...report(1).record!, restarts: 1 } }, desired);
    await writer.settled(3000);
    expect(value(instancePath(1))).toBeUndefined();
    expect(value(endpointPath(1))).toBeUndefined();
  });

  it('speak for an endpoint whose placement was written anew while the old version was refused', async () => {
    const old = await placed(1);
    const current = await placed(1);
    let attempts = 0;
    store.beforeCommit = () => {
      // First all at once, then each alone: the news come in during the last.
      if (++attempts === 3) writer.set(key(1), report(1), current);
    };
    writer.set(key(1), report(1), old);
    await writer.settled(1000);
    expect(value(endpointPath(1))).toContain('10.77.1.1');
  });

  it('are set right by an audit, which writes nothing when all is well', async () => {
    for (const ordinal of [1, 2, 3])
      writer.set(key(ordinal), report(ordinal), await placed(ordinal));
    await writer.settled(1000);
    const { revision } = store.database;
    expect(await writer.audit()).toBe(0);
    expect(store.database.revision).toBe(revision);
    await store.commit([], [{ type: 'delete', key: endpointPath(1) }]);
    await store.commit([], [{ type: 'put', key: instancePath(2), value: 'forged' }]);
    expect(await writer.audit()).toBe(2);
    await writer.settled(1000);
    expect(value(endpointPath(1))).toContain('10.77.1.1');
    expect(value(instancePath(2))).toContain('id-2');
  });
});

/** A placement that needs no store. */
function placedOffline(): Promise<DesiredInstance> {
  return Promise.resolve({
    key: key(1),
    path: placementPath(1),
    modRevision: 1n,
    placement: {},
  } as DesiredInstance);
}
