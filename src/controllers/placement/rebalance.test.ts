import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ClusterState } from '../../scheduler/index.ts';
import { aHost } from '../../scheduler/fixtures.ts';
import { planRebalance, type MovableService } from './rebalance.ts';
import type { Placed } from './types.ts';

const names = ['a', 'b', 'c', 'd'];

function service(key: string, at: readonly string[], state: ClusterState): MovableService {
  const request: MovableService['request'] = {
    service: key,
    reservation: { cpuMillis: 0, memoryBytes: 0 },
    ports: [],
    rules: { strategy: 'spread' },
  };
  const placed = at.map((host, i): Placed => {
    const path = `${key}/${host}/${String(i + 1)}`;
    state.place({ ...request, id: path }, host);
    return { ordinal: i + 1, host, path, modRevision: 1n, record: undefined };
  });
  return { key, request, placed };
}

const on = (state: ClusterState, key: string) =>
  names.map((name) => state.countsOf(key).get(state.host(name)!) ?? 0);

describe('planRebalance', () => {
  it('comes to an end with no difference greater than one, and leaves the state as it was', () => {
    const layout = fc.array(
      fc.array(fc.constantFrom(...names.slice(0, 3)), { minLength: 1, maxLength: 9 }),
      {
        minLength: 1,
        maxLength: 4,
      },
    );
    fc.assert(
      fc.property(layout, fc.integer({ min: 1, max: 3 }), (layouts, budget) => {
        const state = new ClusterState();
        for (const name of names) state.setHost(aHost(name));
        const keys = layouts.map((_, i) => `ns/app/s${String(i)}`);
        let services = layouts.map((at, i) => service(keys[i]!, at, state));
        for (let round = 0; round < 200; round++) {
          const before = keys.map((key) => on(state, key));
          const moves = planRebalance(services, state, budget);
          expect(keys.map((key) => on(state, key))).toEqual(before);
          expect(moves.length).toBeLessThanOrEqual(budget);
          if (moves.length === 0) break;
          expect(round).toBeLessThan(199);
          services = services.map((s) => ({
            ...s,
            placed: s.placed.map((p) => {
              const move = moves.find((m) => m.placed === p);
              if (move === undefined) return p;
              state.place({ ...s.request, id: p.path }, move.to);
              return { ...p, host: move.to };
            }),
          }));
        }
        for (const key of keys) {
          const counts = on(state, key);
          expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
        }
      }),
    );
  });

  it('moves nothing to a host that is cordoned, drained or not ready', () => {
    for (const over of [{ unschedulable: true }, { draining: true }, { ready: false }]) {
      const state = new ClusterState();
      state.setHost(aHost('a'));
      state.setHost(aHost('b', over));
      const web = service('ns/app/web', ['a', 'a', 'a'], state);
      expect(planRebalance([web], state, 10)).toEqual([]);
    }
  });

  it('breaks no rule and worsens no preference', () => {
    const state = new ClusterState();
    state.setHost(aHost('a', { labels: { disk: 'ssd' } }));
    state.setHost(aHost('b'));
    const web = service('ns/app/web', ['a', 'a', 'a', 'a'], state);
    const ruled = (rules: Partial<MovableService['request']['rules']>) => ({
      ...web,
      request: { ...web.request, rules: { strategy: 'spread' as const, ...rules } },
    });
    expect(planRebalance([ruled({ machineMetadata: { disk: 'ssd' } })], state, 10)).toEqual([]);
    const preferred = ruled({ preferences: [{ machineMetadata: { disk: 'ssd' }, weight: 1 }] });
    expect(planRebalance([preferred], state, 10)).toEqual([]);
    expect(planRebalance([ruled({ maxPerHost: 1 })], state, 10)).toHaveLength(1);
  });
});
