import { describe, expect, it } from 'vitest';
import { wishOf } from '../service/desired.ts';
import type { ServiceSpecInput } from '../../api/v1alpha1/service-spec.ts';
import { placementRecords } from '../../registry/records/placement.ts';
import { ClusterState } from '../../scheduler/index.ts';
import { allocate, type Allocation, type Intent } from './allocate.ts';
import { batches } from './batch.ts';
import { InstanceBook, PlacementBook } from './book.ts';
import type { Step } from './step.ts';

function world(...hosts: string[]) {
  const state = new ClusterState();
  for (const name of hosts) {
    state.setHost({
      name,
      machineID: name,
      labels: {},
      capacity: { cpuMillis: 1_000, memoryBytes: 2 ** 30 },
      ready: true,
      unschedulable: false,
    });
  }
  const book = new PlacementBook(state);
  let ids = 0;
  let revision = 1n;
  return {
    state,
    book,
    run: (intents: readonly Intent[], createsPerPass?: number): Allocation =>
      allocate(intents, {
        state,
        book,
        instances: new InstanceBook(),
        newId: () => `id-${String(++ids)}`,
        now: '2026-01-01T00:00:00Z',
        seed: 1,
        ...(createsPerPass === undefined ? {} : { createsPerPass }),
      }),
    commit(allocation: Allocation): void {
      revision++;
      for (const change of allocation.changes) {
        if (change.deleted !== undefined) book.delete(change.deleted, revision, true);
        if (change.put !== undefined) {
          book.put(change.put.key, change.put.path, revision, change.put.record);
        }
      }
    },
  };
}

function intent(name: string, spec: Partial<ServiceSpecInput>, steps: readonly Step[]): Intent {
  const wish = wishOf({
    apiVersion: 'nap.dev/v1alpha1',
    kind: 'Service',
    metadata: { name, namespace: 'default', uid: name, generation: 1 },
    spec: { image: 'x:1', ...spec },
  });
  if (wish.want.type !== 'run') throw new Error(`not a service: ${JSON.stringify(wish.want)}`);
  return { key: wish.key, identity: wish.identity, run: wish.want, steps };
}

const creates = (n: number): Step[] =>
  Array.from({ length: n }, (_, i) => ({ type: 'create', ordinal: i + 1, reason: 'ScaledUp' }));
const half = { resources: { reservations: { cpus: '0.5' } } };

describe('allocate', () => {
  it('places what fits and says why the rest does not', () => {
    const w = world('a', 'b');
    const result = w.run([intent('web', half, creates(6))]);
    expect(result.changes.map((c) => c.host).sort()).toEqual(['a', 'a', 'b', 'b']);
    expect(result.unplaced.get('default/_/web')).toMatchObject({ pending: 2, staying: 0 });
  });

  it('leaves instances beyond what one pass may try for another, and counts them when there is no room', () => {
    const w = world('a', 'b');
    const many = creates(100_000);
    const first = w.run([intent('web', {}, many), intent('few', {}, creates(10))], 40);
    expect(first.changes).toHaveLength(30);
    expect([...first.unfinished]).toEqual(['default/_/web']);
    expect(first.unplaced.size).toBe(0);
    const full = w.run([intent('big', half, many)], 40);
    expect(full.changes).toHaveLength(4);
    expect(full.unplaced.get('default/_/big')).toMatchObject({ pending: 99_996 });
    expect(full.unfinished.size).toBe(0);
  });

  it('gives room that one service leaves to another in the same pass', () => {
    const w = world('a');
    w.commit(w.run([intent('old', half, creates(2))]));
    const leaving = w.book
      .ofService('default/_/old')
      .map((placed): Step => ({ type: 'remove', placed, reason: 'ScaledDown' }));
    const result = w.run([intent('new', half, creates(2)), intent('old', half, leaving)]);
    expect(result.unplaced.size).toBe(0);
    expect(result.changes.filter((c) => c.key === 'default/_/new')).toHaveLength(2);
  });

  it('updates in place, also on a cordoned host, and elsewhere only if there is no room', () => {
    const w = world('a', 'b');
    w.commit(w.run([intent('web', half, creates(1))]));
    const [placed] = w.book.ofService('default/_/web');
    const info = w.state.host(placed!.host)!.info!;
    w.state.setHost({ ...info, unschedulable: true });
    const replace: Step = { type: 'replace', placed: placed!, stay: true, reason: 'SpecChanged' };
    const inPlace = w.run([intent('web', { ...half, image: 'x:2' }, [replace])]);
    expect(inPlace.changes[0]).toMatchObject({ host: placed!.host, touched: [placed!.path] });
    expect(inPlace.changes[0]?.deleted).toBeUndefined();
    // Something else takes the rest of the host; the next version needs more than is left.
    w.state.place(
      { id: 'other', service: 's', reservation: { cpuMillis: 500, memoryBytes: 0 }, ports: [] },
      placed!.host,
    );
    const grown = { resources: { reservations: { cpus: '0.8' } } };
    const moved = w.run([intent('web', grown, [replace])]);
    expect(moved.changes[0]?.host).not.toBe(placed!.host);
    expect(moved.changes[0]).toMatchObject({ deleted: placed!.path });
    expect(moved.changes[0]?.operations.map((op) => op.type)).toEqual(['put', 'delete']);
  });

  it('leaves an instance alone that would fit nowhere else', () => {
    const w = world('a');
    w.commit(w.run([intent('web', half, creates(1))]));
    const [placed] = w.book.ofService('default/_/web');
    const replace: Step = { type: 'replace', placed: placed!, stay: true, reason: 'SpecChanged' };
    const huge = { resources: { reservations: { cpus: '4' } } };
    const result = w.run([intent('web', huge, [replace])]);
    expect(result.changes).toEqual([]);
    expect(result.unplaced.get('default/_/web')).toMatchObject({ pending: 0, staying: 1 });
    expect(w.state.host('a')).toMatchObject({ instances: 1, reservedCpuMillis: 500 });
  });

  it('makes every write conditional on what it was decided from', () => {
    const w = world('a');
    const created = w.run([intent('web', {}, creates(1))]);
    const path = placementRecords.path({
      host: 'a',
      namespace: 'default',
      project: '_',
      service: 'web',
      ordinal: '1',
    });
    expect(created.changes[0]?.conditions).toEqual([{ type: 'absent', key: path }]);
    w.commit(created);
    const [placed] = w.book.ofService('default/_/web');
    const removed = w.run([
      intent('web', {}, [{ type: 'remove', placed: placed!, reason: 'ScaledDown' }]),
    ]);
    expect(removed.changes[0]?.conditions).toEqual([
      { type: 'unchanged', key: path, modRevision: placed!.modRevision },
    ]);
    // The write failed: what was assumed is taken back.
    expect(w.state.host('a')?.instances).toBe(0);
    w.book.restore(removed.changes.flatMap((change) => change.touched));
    expect(w.state.host('a')?.instances).toBe(1);
  });
});

describe('PlacementBook', () => {
  it('recognises news that come late by their revision', () => {
    const w = world('a');
    const { changes } = w.run([intent('web', {}, creates(1))]);
    const { key, path, record } = changes[0]!.put!;
    w.book.put(key, path, 5n, record);
    expect(w.book.put(key, path, 4n, undefined)).toBe(false);
    expect(w.book.delete(path, 4n)).toBe(false);
    expect(w.book.at(path)?.record).toEqual(record);
    expect(w.book.delete(path, 9n, true)).toBe(true);
    // The watch tells of the put only now; it was deleted since.
    expect(w.book.put(key, path, 5n, record)).toBe(false);
    expect(w.book.put(key, path, 10n, record)).toBe(true);
    expect(w.state.host('a')?.instances).toBe(1);
  });
});

describe('batches', () => {
  it('keeps a transaction below the limits of etcd, and the writes of a change together', () => {
    const big = 'x'.repeat(100_000);
    const change = (i: number, value: string) => ({
      conditions: [],
      operations: [
        { type: 'put' as const, key: `/a/${String(i)}`, value },
        { type: 'delete' as const, key: `/b/${String(i)}` },
      ],
    });
    const small = batches(Array.from({ length: 130 }, (_, i) => change(i, '')));
    expect(small.map((b) => b.length)).toEqual([50, 50, 30]);
    const large = batches(Array.from({ length: 10 }, (_, i) => change(i, big)));
    for (const batch of large) expect(batch.length * 100_000).toBeLessThan(1_000_000);
    expect(large.flat()).toHaveLength(10);
  });
});
