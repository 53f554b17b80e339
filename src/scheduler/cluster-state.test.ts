import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ClusterState } from './cluster-state.ts';
import { aHost, aRequest } from './fixtures.ts';

type Change =
  | { readonly do: 'set'; readonly host: string }
  | { readonly do: 'remove'; readonly host: string }
  | { readonly do: 'place'; readonly id: string; readonly host: string; readonly cpu: number }
  | { readonly do: 'unplace'; readonly id: string };

const host = fc.constantFrom('a', 'b', 'c');
const id = fc.constantFrom('1', '2', '3', '4');
const change = fc.oneof<fc.Arbitrary<Change>[]>(
  fc.record({ do: fc.constant('set' as const), host }),
  fc.record({ do: fc.constant('remove' as const), host }),
  fc.record({ do: fc.constant('place' as const), id, host, cpu: fc.integer({ min: 0, max: 9 }) }),
  fc.record({ do: fc.constant('unplace' as const), id }),
);

function instance(id: string, cpuMillis: number) {
  return aRequest(id, {
    service: `s${String(Number(id) % 2)}`,
    reservation: { cpuMillis, memoryBytes: cpuMillis },
    ports: [{ port: 80 + cpuMillis, protocol: 'tcp' }],
  });
}

/** All that can be seen of a state. */
function seen(state: ClusterState) {
  return {
    known: state.hosts.map((h) => h.name),
    placed: state.placedCount,
    where: ['1', '2', '3', '4'].map((i) => state.hostOf(i)),
    hosts: ['a', 'b', 'c'].map((name) => {
      const h = state.host(name);
      return (
        h && {
          info: h.info,
          instances: h.instances,
          cpu: h.reservedCpuMillis,
          memory: h.reservedMemoryBytes,
          ports: Array.from({ length: 10 }, (_, i) =>
            h.portTaken({ port: 80 + i, protocol: 'tcp' }),
          ),
        }
      );
    }),
    services: ['s0', 's1'].map((s) =>
      [...state.countsOf(s)].map(([h, n]) => `${h.name}=${String(n)}`).sort(),
    ),
  };
}

describe('ClusterState', () => {
  it('is the same after any history as one made from what is left of it', () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 30 }), (changes) => {
        const state = new ClusterState();
        const known = new Set<string>();
        const placed = new Map<string, { host: string; cpu: number }>();
        for (const c of changes) {
          if (c.do === 'set') {
            state.setHost(aHost(c.host));
            known.add(c.host);
          } else if (c.do === 'remove') {
            state.removeHost(c.host);
            known.delete(c.host);
          } else if (c.do === 'place') {
            state.place(instance(c.id, c.cpu), c.host);
            placed.set(c.id, c);
          } else {
            expect(state.unplace(c.id)).toBe(placed.delete(c.id));
          }
        }
        const fresh = new ClusterState();
        // Instances first: they may be known before their host is.
        for (const [i, p] of placed) fresh.place(instance(i, p.cpu), p.host);
        for (const name of known) fresh.setHost(aHost(name));
        expect(seen(state)).toEqual(seen(fresh));
      }),
    );
  });

  it('forgets a host that is gone and empty', () => {
    const state = new ClusterState();
    state.setHost(aHost('a'));
    state.place(aRequest('1'), 'a');
    state.removeHost('a');
    expect(state.host('a')?.instances).toBe(1);
    state.unplace('1');
    expect(state.host('a')).toBeUndefined();
  });
});
