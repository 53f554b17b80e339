import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ClusterState } from './cluster-state.ts';
import { aHost, aRequest } from './fixtures.ts';
import { globMatches } from './glob.ts';
import { schedule } from './schedule.ts';
import type { InstanceRequest, PlacementRules } from './types.ts';

const hostNames = ['h1', 'h2', 'h3', 'h4'];
const services = ['ns/app/web', 'ns/app/db', 'ns/shop/web', 'ns/shop/job', 'other/app/db'];
const patterns = ['app/web', 'app/*', '*/web', 'shop/j?b', '*/*'];

const rules = fc.record(
  {
    strategy: fc.constantFrom<PlacementRules['strategy']>('spread', 'binpack', 'random'),
    conflicts: fc.subarray(patterns, { maxLength: 2 }),
    maxPerHost: fc.integer({ min: 1, max: 2 }),
    machineOf: fc.subarray(services.slice(0, 2), { maxLength: 1 }),
    preferences: fc.constantFrom(
      [{ spread: 'zone', weight: 3 }],
      [{ machineMetadata: { disk: 'ssd' }, weight: 1 }],
      [
        { spread: 'zone', weight: 1 },
        { spread: 'zone', weight: 1 },
      ],
    ),
  },
  { requiredKeys: ['strategy'] },
);

function cluster(): ClusterState {
  const state = new ClusterState();
  hostNames.forEach((name, i) => {
    state.setHost(
      aHost(name, { labels: { zone: i < 3 ? 'x' : 'y', ...(i === 0 ? { disk: 'ssd' } : {}) } }),
    );
  });
  return state;
}

describe('rules about other services, whatever is asked for', () => {
  it('are never broken, and nothing is left out that would fit', () => {
    const byService = fc.tuple(...services.map(() => rules));
    const batches = fc.array(fc.array(fc.nat({ max: services.length - 1 }), { maxLength: 6 }), {
      maxLength: 4,
    });
    fc.assert(
      fc.property(byService, batches, fc.nat(), (all, rounds, seed) => {
        const state = cluster();
        const rulesOf = new Map(services.map((service, i) => [service, all[i]!]));
        for (const [service, { conflicts }] of rulesOf) state.rivalry.declare(service, conflicts);
        const on = new Map<string, string[]>(hostNames.map((name) => [name, []]));
        const apart = (a: string, b: string): boolean => {
          const [namespace = '', ...rest] = a.split('/');
          if (!b.startsWith(`${namespace}/`)) return false;
          const says = (x: string, y: string): boolean =>
            (rulesOf.get(x)?.conflicts ?? []).some((p) =>
              globMatches(p, y.split('/').slice(1).join('/')),
            );
          return rest.length > 0 && (says(a, b) || says(b, a));
        };
        const allowed = (service: string, host: string): boolean => {
          const here = on.get(host)!;
          const { maxPerHost = Infinity, machineOf = [] } = rulesOf.get(service)!;
          return (
            here.filter((other) => other === service).length < maxPerHost &&
            !here.some((other) => apart(service, other)) &&
            machineOf.every((leader) => here.includes(leader))
          );
        };
        let n = 0;
        for (const round of rounds) {
          const requests = round.map((index): InstanceRequest => {
            const service = services[index]!;
            return aRequest(`i${String(n++)}`, { service, rules: rulesOf.get(service)! });
          });
          const decisions = schedule(state, requests, { seed });
          // The order of decisions within a batch is the scheduler's: rules about leaders hold at the end.
          for (const { request, host } of decisions)
            if (host !== undefined) on.get(host)!.push(request.service);
          for (const [host, here] of on) {
            here.forEach((service, i) => {
              const others = here.filter((_, j) => j !== i);
              expect(
                others.some((other) => apart(service, other)),
                host,
              ).toBe(false);
              const { maxPerHost = Infinity, machineOf = [] } = rulesOf.get(service)!;
              expect(here.filter((s) => s === service).length).toBeLessThanOrEqual(maxPerHost);
              for (const leader of machineOf) expect(here).toContain(leader);
            });
          }
          for (const { request, host } of decisions) {
            if (host !== undefined) continue;
            const fitting = hostNames.filter((name) => allowed(request.service, name));
            expect(fitting, request.service).toEqual([]);
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  it('put followers beside leaders that come in the same batch, in whatever order', () => {
    const rulesFor = (machineOf?: string[]): PlacementRules => ({
      strategy: 'spread',
      ...(machineOf === undefined ? {} : { machineOf }),
    });
    const requests = [
      aRequest('c', { service: 'ns/app/c', rules: rulesFor(['ns/app/b']) }),
      aRequest('b', { service: 'ns/app/b', rules: rulesFor(['ns/app/a']) }),
      aRequest('a', { service: 'ns/app/a', rules: rulesFor() }),
    ];
    const hosts = schedule(cluster(), requests).map(({ host }) => host);
    expect(hosts[0]).toBeDefined();
    expect(new Set(hosts).size).toBe(1);
  });

  it('leave a ring of followers waiting', () => {
    const ring = (service: string, leader: string) =>
      aRequest(service, { service, rules: { strategy: 'spread', machineOf: [leader] } });
    const decisions = schedule(cluster(), [
      ring('ns/app/a', 'ns/app/b'),
      ring('ns/app/b', 'ns/app/a'),
    ]);
    expect(decisions).toMatchObject([
      { explanation: '0/4 hosts fit: 4 have no instance of b' },
      { explanation: '0/4 hosts fit: 4 have no instance of a' },
    ]);
  });
});

describe('preferences', () => {
  const place = (
    n: number,
    preferences: PlacementRules['preferences'],
    strategy: PlacementRules['strategy'],
  ) => {
    const requests = Array.from({ length: n }, (_, i) =>
      aRequest(`r${String(i)}`, { rules: { strategy, preferences: preferences! } }),
    );
    return schedule(cluster(), requests).map(({ host }) => host);
  };

  it.each(['spread', 'binpack', 'random'] as const)(
    'give values of a label even shares (%s)',
    (strategy) => {
      fc.assert(
        fc.property(fc.integer({ min: 1, max: 12 }), (n) => {
          const y = place(n, [{ spread: 'zone', weight: 1 }], strategy).filter(
            (host) => host === 'h4',
          ).length;
          expect(Math.abs(n - 2 * y)).toBeLessThanOrEqual(1);
        }),
      );
    },
  );

  it('are weighed against each other', () => {
    const preferences = (weight: number) => [
      { machineMetadata: { disk: 'ssd' }, weight },
      { spread: 'zone', weight: 10 },
    ];
    // The first disk costs nothing; then a second one in zone x costs as much as leaving it.
    expect(place(1, preferences(1), 'spread')).toEqual(['h1']);
    expect(place(2, preferences(1), 'spread')).toEqual(['h1', 'h4']);
    expect(place(2, preferences(100), 'spread')).toEqual(['h1', 'h1']);
  });
});

describe('explanations', () => {
  const refused = (request: InstanceRequest, prepare: (state: ClusterState) => void): string => {
    const state = cluster();
    prepare(state);
    const [decision] = schedule(state, [request]);
    return decision?.host === undefined ? (decision?.explanation ?? '') : decision.host;
  };
  const everywhere = (service: string) => (state: ClusterState) => {
    for (const host of hostNames) state.place(aRequest(`x-${host}`, { service }), host);
  };

  it.each<[string, InstanceRequest, (state: ClusterState) => void, string]>([
    [
      'a service of the project',
      aRequest('r', {
        service: 'ns/app/web',
        rules: { strategy: 'spread', conflicts: ['app/db'] },
      }),
      everywhere('ns/app/db'),
      '0/4 hosts fit: 4 have an instance of db, which it conflicts with',
    ],
    [
      'a service of another project',
      aRequest('r', { service: 'ns/app/web' }),
      (state) => {
        everywhere('ns/shop/job')(state);
        state.rivalry.declare('ns/shop/job', ['app/*']);
      },
      '0/4 hosts fit: 4 have an instance of shop/job, which it conflicts with',
    ],
    [
      'maxPerHost',
      aRequest('r', { service: 'ns/app/web', rules: { strategy: 'spread', maxPerHost: 1 } }),
      everywhere('ns/app/web'),
      '0/4 hosts fit: 4 have 1 of it already (maxPerHost)',
    ],
    [
      'machineOf',
      aRequest('r', {
        service: 'ns/app/web',
        rules: { strategy: 'spread', machineOf: ['ns/app/db'] },
      }),
      () => undefined,
      '0/4 hosts fit: 4 have no instance of db',
    ],
    [
      'a volume elsewhere',
      aRequest('r', { only: { host: 'h2', why: 'volume' } }),
      (state) => {
        state.setHost(aHost('h2', { draining: true }));
      },
      '0/4 hosts fit: 3 do not have its volume (h2 does), 1 is draining',
    ],
    [
      'one host only',
      aRequest('r', { only: { host: 'h2', why: 'host' } }),
      (state) => {
        state.setHost(aHost('h2', { ready: false }));
      },
      '0/4 hosts fit: 3 are not h2, 1 is not ready',
    ],
  ])('say so: %s', (_name, request, prepare, sentence) => {
    expect(refused(request, prepare)).toBe(sentence);
  });
});
