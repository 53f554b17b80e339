import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ClusterState } from './cluster-state.ts';
import { aHost, aRequest } from './fixtures.ts';
import { schedule } from './schedule.ts';
import type { Decision, HostInfo, HostPort, InstanceRequest } from './types.ts';

function cluster(hosts: readonly HostInfo[]): ClusterState {
  const state = new ClusterState();
  for (const host of hosts) state.setHost(host);
  return state;
}

function many(count: number, over: Partial<InstanceRequest> = {}): InstanceRequest[] {
  return Array.from({ length: count }, (_, i) =>
    aRequest(`${over.service ?? 'web'}-${String(i)}`, over),
  );
}

function perHost(decisions: readonly Decision[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { host } of decisions) if (host !== undefined) counts[host] = (counts[host] ?? 0) + 1;
  return counts;
}

const small = fc.integer({ min: 0, max: 3 });
const port: fc.Arbitrary<HostPort> = fc.record(
  {
    port: fc.constantFrom(80, 81),
    protocol: fc.constantFrom('tcp', 'udp'),
    ip: fc.constantFrom('10.0.0.1', '10.0.0.2', '0.0.0.0'),
  },
  { requiredKeys: ['port', 'protocol'] },
);
const labels = fc.record(
  { region: fc.constantFrom('eu', 'us'), disk: fc.constantFrom('ssd', 'hdd') },
  { requiredKeys: [] },
);
const hosts = fc.uniqueArray(
  fc.record({
    name: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g'),
    machineID: fc.constantFrom('m1', 'm2', 'm11', 'x'),
    labels,
    capacity: fc.record({
      cpuMillis: fc.integer({ min: 0, max: 8 }),
      memoryBytes: fc.integer({ min: 0, max: 8 }),
    }),
    ready: fc.oneof({ weight: 4, arbitrary: fc.constant(true) }, fc.boolean()),
    unschedulable: fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, fc.boolean()),
  }),
  { selector: (host) => host.name, maxLength: 7 },
);
const request = fc.record({
  service: fc.constantFrom('s1', 's2', 's3'),
  reservation: fc.record({ cpuMillis: small, memoryBytes: small }),
  ports: fc.oneof(fc.constant([]), fc.array(port, { maxLength: 2 })),
  rules: fc.record(
    {
      strategy: fc.constantFrom('spread' as const, 'binpack' as const, 'random' as const),
      machineMetadata: fc.record({ region: fc.constantFrom('eu', 'eu,us') }, { requiredKeys: [] }),
      machineID: fc.constantFrom('m1', 'm', 'x', 'a', 'nothing'),
    },
    { requiredKeys: ['strategy'] },
  ),
});
/** Requests as services make them: some of one kind, in any order. */
const requests = fc
  .array(fc.tuple(request, fc.integer({ min: 1, max: 15 })), { maxLength: 5 })
  .chain((kinds) => {
    const all = kinds.flatMap(([kind, count], k) =>
      Array.from({ length: count }, (_, i): InstanceRequest => ({
        ...kind,
        id: `${String(k)}-${String(i)}`,
      })),
    );
    return fc.shuffledSubarray(all, { minLength: all.length });
  });

/** What is there already, maybe more than fits, maybe on hosts that are not known. */
const present = fc.array(fc.tuple(request, fc.constantFrom('a', 'b', 'c', 'nowhere')), {
  maxLength: 20,
});

/** The plainest scheduler there could be, to compare with: everything is looked up anew for every question. */
class BruteForce {
  readonly hosts: readonly HostInfo[];
  readonly placed: { host: string; request: InstanceRequest }[] = [];

  constructor(known: readonly HostInfo[]) {
    this.hosts = known;
  }

  on(host: string): InstanceRequest[] {
    return this.placed.filter((entry) => entry.host === host).map((entry) => entry.request);
  }

  reserved(host: string, field: 'cpuMillis' | 'memoryBytes'): number {
    return this.on(host).reduce((sum, instance) => sum + instance.reservation[field], 0);
  }

  fits(host: HostInfo, wanted: InstanceRequest): boolean {
    const { machineID, machineMetadata } = wanted.rules;
    if (!host.ready || host.unschedulable) return false;
    for (const field of ['cpuMillis', 'memoryBytes'] as const) {
      const amount = wanted.reservation[field];
      if (amount > 0 && this.reserved(host.name, field) + amount > host.capacity[field])
        return false;
    }
    const taken = this.on(host.name).flatMap((instance) => instance.ports);
    if (wanted.ports.some((p) => taken.some((q) => clash(p, q)))) return false;
    for (const [key, values] of Object.entries(machineMetadata ?? {})) {
      if (!values.split(',').includes(host.labels[key] ?? '')) return false;
    }
    if (machineID === undefined) return true;
    if (this.hosts.some((other) => other.name === machineID)) return host.name === machineID;
    const exact = this.hosts.filter((other) => other.machineID === machineID);
    if (exact.length > 0) return host.machineID === machineID;
    const begins = this.hosts.filter((other) => other.machineID.startsWith(machineID));
    return begins.length === 1 && begins[0] === host;
  }

  fitting(wanted: InstanceRequest): HostInfo[] {
    return this.hosts.filter((host) => this.fits(host, wanted));
  }

  /** Smaller is better; compared element by element. */
  rank(host: HostInfo, wanted: InstanceRequest): number[] {
    const all = this.on(host.name);
    if (wanted.rules.strategy === 'spread') {
      return [all.filter((instance) => instance.service === wanted.service).length, all.length];
    }
    if (wanted.rules.strategy === 'random') return [];
    const share = (field: 'cpuMillis' | 'memoryBytes') =>
      host.capacity[field] > 0 ? this.reserved(host.name, field) / host.capacity[field] : 0;
    return [-Math.max(share('cpuMillis'), share('memoryBytes')), -all.length];
  }
}

function clash(a: HostPort, b: HostPort): boolean {
  const any = (ip: string | undefined) => ip === undefined || ip === '0.0.0.0';
  return (
    a.port === b.port && a.protocol === b.protocol && (any(a.ip) || any(b.ip) || a.ip === b.ip)
  );
}

function kindOf({ id: _, ...kind }: InstanceRequest): string {
  return JSON.stringify(kind);
}

/** The order that is promised: kinds by their first request. */
function inOrder(decisions: readonly Decision[]): Decision[] {
  const first = new Map<string, number>();
  for (const [i, { request: r }] of decisions.entries()) {
    if (!first.has(kindOf(r))) first.set(kindOf(r), i);
  }
  return decisions.toSorted(
    (a, b) => (first.get(kindOf(a.request)) ?? 0) - (first.get(kindOf(b.request)) ?? 0),
  );
}

describe('schedule', () => {
  it('takes the best host that fits, and none only when none fits', () => {
    // Machine IDs are unique in a cluster.
    const unique = hosts.map((list) =>
      list.filter((h, i) => list.findIndex((o) => o.machineID === h.machineID) === i),
    );
    fc.assert(
      fc.property(
        fc.oneof(
          unique,
          hosts.map((list) => list.map((h) => ({ ...h, machineID: h.name }))),
        ),
        requests,
        present,
        fc.integer(),
        (known, batch, before, seed) => {
          const state = cluster(known);
          const model = new BruteForce(known);
          for (const [i, [instance, host]] of before.entries()) {
            const placed = { ...instance, id: `before-${String(i)}` };
            state.place(placed, host);
            model.placed.push({ host, request: placed });
          }
          const decisions = schedule(state, batch, { seed });
          expect(decisions.map((decision) => decision.request)).toEqual(batch);
          for (const decision of inOrder(decisions)) {
            const candidates = model.fitting(decision.request);
            if (decision.host === undefined) {
              expect(candidates, decision.explanation).toEqual([]);
              expect(decision.explanation).toMatch(/^0\/\d+ hosts fit: /);
              continue;
            }
            const chosen = candidates.find((host) => host.name === decision.host);
            expect(chosen).toBeDefined();
            const rank = model.rank(chosen!, decision.request);
            for (const other of candidates) {
              const otherRank = model.rank(other, decision.request);
              const at = rank.findIndex((value, i) => value !== otherRank[i]);
              if (at >= 0) expect(rank[at]).toBeLessThan(otherRank[at]!);
            }
            model.placed.push({ host: decision.host, request: decision.request });
          }
        },
      ),
      { numRuns: 1500 },
    );
  });

  it('decides the same in whatever order the hosts joined, and for the same seed', () => {
    fc.assert(
      fc.property(hosts, requests, fc.integer(), (known, batch, seed) => {
        const once = schedule(cluster(known), batch, { seed });
        expect(schedule(cluster(known.toReversed()), batch, { seed })).toEqual(once);
      }),
    );
  });

  it('decides the same in two batches as in one, when kinds are not torn apart', () => {
    fc.assert(
      fc.property(hosts, requests, (known, batch) => {
        // Random choices go on from where they were within a batch only.
        const steady = batch.filter((r) => r.rules.strategy !== 'random');
        const ordered = inOrder(steady.map((r) => ({ request: r, host: '' }))).map(
          (d) => d.request,
        );
        const whole = schedule(cluster(known), ordered).map((d) => d.host);
        const state = cluster(known);
        const single = ordered.flatMap((r) => schedule(state, [r])).map((d) => d.host);
        expect(single).toEqual(whole);
      }),
    );
  });

  it('spreads one service over equal hosts with a difference of at most one', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 100 }),
        fc.integer(),
        (hostCount, count, seed) => {
          const names = Array.from({ length: hostCount }, (_, i) => `h${String(i)}`);
          const counts = perHost(
            schedule(cluster(names.map((n) => aHost(n))), many(count), { seed }),
          );
          const values = names.map((name) => counts[name] ?? 0);
          expect(Math.max(...values) - Math.min(...values)).toBeLessThanOrEqual(1);
        },
      ),
    );
  });

  it('evens out what is there already', () => {
    const state = cluster([aHost('a'), aHost('b'), aHost('c')]);
    for (let i = 0; i < 4; i += 1) state.place(aRequest(`old-${String(i)}`), 'a');
    expect(perHost(schedule(state, many(8)))).toEqual({ b: 4, c: 4 });
  });

  it('looks at all instances of a host where those of the service are even, also of its own batch', () => {
    for (let seed = 0; seed < 20; seed += 1) {
      const state = cluster([aHost('a'), aHost('b')]);
      const other = (id: string) => aRequest(id, { service: 'other' });
      for (let i = 0; i < 5; i += 1) state.place(other(`a-${String(i)}`), 'a');
      for (let i = 0; i < 4; i += 1) state.place(other(`b-${String(i)}`), 'b');
      state.place(aRequest('old'), 'b');
      // a has none of the service; then both have one, but b has fewer in all.
      const batch = schedule(state, many(8), { seed });
      expect(batch.slice(0, 2).map((decision) => decision.host)).toEqual(['a', 'b']);
    }
  });

  it('gives equal hosts equal chances over many services', () => {
    for (const strategy of ['spread', 'binpack', 'random'] as const) {
      const counts: Record<string, number> = {};
      for (let i = 0; i < 1000; i += 1) {
        const state = cluster(Array.from({ length: 10 }, (_, h) => aHost(`host-${String(h)}`)));
        const [decision] = schedule(
          state,
          [aRequest('one', { service: `s${String(i)}`, rules: { strategy } })],
          { seed: i },
        );
        counts[decision!.host!] = (counts[decision!.host!] ?? 0) + 1;
      }
      // 100 expected; five standard deviations are 47.
      expect(Object.keys(counts)).toHaveLength(10);
      for (const count of Object.values(counts))
        expect(Math.abs(count - 100), strategy).toBeLessThan(50);
    }
  });

  it('packs hosts one after the other', () => {
    const reservation = { cpuMillis: 1000, memoryBytes: 0 };
    const state = cluster([aHost('a'), aHost('b'), aHost('c')]);
    const counts = perHost(
      schedule(state, many(8, { reservation, rules: { strategy: 'binpack' } })),
    );
    expect(Object.values(counts)).toEqual([4, 4]);
  });

  it('chooses at random between all that fit', () => {
    const state = cluster([
      aHost('a'),
      aHost('b'),
      aHost('c'),
      aHost('d', { unschedulable: true }),
    ]);
    const counts = perHost(schedule(state, many(3000, { rules: { strategy: 'random' } })));
    expect(Object.keys(counts).toSorted()).toEqual(['a', 'b', 'c']);
    for (const count of Object.values(counts)) expect(Math.abs(count - 1000)).toBeLessThan(150);
  });

  it('places what fits of too many, and says of each of the rest why', () => {
    const state = cluster([aHost('a'), aHost('b'), aHost('c')]);
    const decisions = schedule(
      state,
      many(1000, { reservation: { cpuMillis: 400, memoryBytes: 0 } }),
    );
    expect(perHost(decisions)).toEqual({ a: 10, b: 10, c: 10 });
    const rest = decisions.filter((decision) => decision.host === undefined);
    expect(rest).toHaveLength(970);
    expect(new Set(rest.map((decision) => decision.explanation))).toEqual(
      new Set(['0/3 hosts fit: 3 lack 0.4 unreserved cpus']),
    );
    expect(state.placedCount).toBe(30);
  });

  it('places what waited as soon as it fits', () => {
    const state = cluster([aHost('a', { unschedulable: true })]);
    const [waiting] = schedule(state, [aRequest('one')]);
    expect(waiting!.host).toBeUndefined();
    state.setHost(aHost('a'));
    const [placed] = schedule(state, [aRequest('one')]);
    expect(placed!.host).toBe('a');
  });

  it('decides a placed request anew, without counting it twice', () => {
    const whole = { cpuMillis: 4000, memoryBytes: 0 };
    const state = cluster([aHost('a')]);
    state.place(aRequest('one', { reservation: whole }), 'a');
    const [again] = schedule(state, [aRequest('one', { reservation: whole })]);
    expect(again!.host).toBe('a');
    expect(state.host('a')?.reservedCpuMillis).toBe(4000);
  });
});
