import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { defaultUpdatePolicy, type UpdatePolicy } from '../../api/v1alpha1/update-policy.ts';
import type { ContainerSpec } from '../../registry/records/placement.ts';
import { planService, type Plan } from './plan.ts';
import { ordinalOf, type Step } from './step.ts';
import type { HostStanding, InstanceState, Placed, PlacementView } from './types.ts';

const container = { image: 'web:1' } as ContainerSpec;

interface Instance {
  readonly ordinal: number;
  readonly second: boolean;
  readonly host: string;
  readonly id: string;
  readonly hash: string;
  readonly replaces?: string;
  readonly beside?: boolean;
  readonly hold?: boolean;
  readonly state: InstanceState;
}

/** A service as the registry and the agents have it. */
class World {
  instances: Instance[] = [];
  hosts: Record<string, HostStanding> = {};
  /** Ordinals with something that still stops where it is not placed any more. */
  leaving = new Set<number>();
  /** Hosts that are being emptied; true: at once. */
  drained = new Map<string, boolean>();
  /** Paths of what an update has waited for long enough. */
  overdue = new Set<string>();
  #ids = 0;

  plan(hash: string, replicas: number, policy: Partial<UpdatePolicy> = {}, paused = false): Plan {
    const byPath = new Map<string, Instance>();
    const placed = this.instances.map((i): Placed => {
      const path = pathOf(i);
      byPath.set(path, i);
      return {
        ordinal: i.ordinal,
        host: i.host,
        path,
        modRevision: 1n,
        record: {
          id: i.id,
          serviceUID: 'u',
          specHash: i.hash,
          container,
          placedAt: '2026-01-01T00:00:00Z',
          ...(i.replaces === undefined ? {} : { replaces: i.replaces }),
          ...(i.beside === true ? { beside: true } : {}),
          ...(i.hold === true ? { hold: true } : {}),
        },
        ...(i.second ? { second: true } : {}),
      };
    });
    const view: PlacementView = {
      state: (p) => byPath.get(p.path)?.state ?? 'unknown',
      host: (name) => this.hosts[name] ?? 'present',
      misfit: () => undefined,
      trouble: () => undefined,
      eviction: (p) => {
        const now = this.drained.get(p.host);
        return now === undefined ? undefined : { reason: 'HostDrained', now };
      },
      overdue: (p) => (this.overdue.has(p.path) ? 'not ready within 10m' : undefined),
      leaving: (ordinal) => this.leaving.has(ordinal),
    };
    const desired = {
      uid: 'u',
      replicas,
      instance: () => ({ specHash: hash, container }),
      update: { ...defaultUpdatePolicy, ...policy },
      ...(paused ? { paused } : {}),
    };
    return planService(desired, placed, view);
  }

  /** Writes what the steps say, as allocate() does. @param host where a new instance goes; default: where the old one is. */
  carryOut(steps: readonly Step[], hash: string, host?: string): void {
    for (const step of steps) {
      if (step.type === 'create') {
        this.#add(step.ordinal, false, host ?? 'a', hash, step.hold === true ? { hold: true } : {});
        continue;
      }
      const old = this.instances.find((i) => pathOf(i) === step.placed.path);
      if (old === undefined) throw new Error(`no instance at ${step.placed.path}`);
      const drop = (): void => {
        this.instances = this.instances.filter((i) => i !== old);
      };
      if (step.type === 'remove') drop();
      else if (step.type === 'replace') {
        drop();
        const to = this.hosts[old.host] === 'lost' ? 'spare' : (host ?? old.host);
        const marks =
          step.reason === 'HostLost' ? { replaces: old.replaces } : { replaces: old.id };
        this.#add(old.ordinal, old.second, to, hash, marks);
      } else if (step.type === 'accompany') {
        this.#add(old.ordinal, !old.second, host ?? old.host, hash, {
          replaces: old.id,
          beside: true,
        });
      } else if (step.type === 'finish') {
        drop();
        this.change(step.next.path, (i) => ({
          ...bare(i),
          ...(step.proved ? {} : { replaces: i.replaces }),
        }));
      } else {
        this.change(step.placed.path, (i) =>
          step.reason === 'Alone' ? { ...i, beside: false } : bare(i),
        );
      }
    }
  }

  change(path: string, edit: (i: Instance) => object): void {
    this.instances = this.instances.map((i) => (pathOf(i) === path ? (edit(i) as Instance) : i));
  }

  #add(ordinal: number, second: boolean, host: string, hash: string, marks: object): void {
    const id = `${hash}-${String(++this.#ids)}`;
    this.instances.push({ ordinal, second, host, id, hash, state: 'starting', ...marks });
  }

  /** Ordinals that something answers for. */
  serving(): Set<number> {
    const on = (i: Instance): boolean => ['ready', 'settling'].includes(i.state);
    return new Set(this.instances.filter(on).map((i) => i.ordinal));
  }
}

function bare(i: Instance): Instance {
  const { ordinal, second, host, id, hash, state } = i;
  return { ordinal, second, host, id, hash, state };
}

function pathOf(i: Instance): string {
  return `/p/${i.host}/${String(i.ordinal)}${i.second ? '.b' : ''}`;
}

function running(replicas: number, hash = 'v1'): World {
  const world = new World();
  world.carryOut(world.plan(hash, replicas).steps, hash);
  world.instances = world.instances.map((i) => ({ ...i, state: 'ready' }));
  return world;
}

function text(step: Step): string {
  return `${step.type} ${String(ordinalOf(step))} ${step.reason}`;
}

describe('an update', () => {
  it('start-first: starts beside, waits, then takes the old one away', () => {
    const world = running(2);
    const policy = { order: 'start-first' } as const;
    const first = world.plan('v2', 2, policy);
    expect(first.steps.map(text)).toEqual(['accompany 1 SpecChanged']);
    world.carryOut(first.steps, 'v2');
    expect(world.plan('v2', 2, policy)).toMatchObject({
      steps: [],
      roll: { message: 'updating one by one, 2 to go: instance 1 on a is starting' },
    });
    world.change('/p/a/1.b', (i) => ({ ...i, state: 'ready' }));
    const second = world.plan('v2', 2, policy);
    expect(second.steps.map(text)).toEqual(['finish 1 Updated', 'accompany 2 SpecChanged']);
  });

  it('start-first: a successor that fails leaves the old one, and a return to the old spec removes it', () => {
    const world = running(1);
    const policy = { order: 'start-first', failureAction: 'rollback' } as const;
    world.carryOut(world.plan('v2', 1, policy).steps, 'v2');
    world.change('/p/a/1.b', (i) => ({ ...i, state: 'failed' }));
    expect(world.plan('v2', 1, policy)).toMatchObject({ steps: [], roll: { state: 'failed' } });
    expect(world.plan('v1', 1, policy).steps.map(text)).toEqual(['remove 1 Superseded']);
  });

  it('of a single instance fails when its replacement does, and is through when that has proved itself', () => {
    const world = running(1);
    world.carryOut(world.plan('v2', 1).steps, 'v2');
    world.change('/p/a/1', (i) => ({ ...i, state: 'failed' }));
    expect(world.plan('v2', 1).roll?.state).toBe('stopped');
    expect(world.plan('v2', 1, { failureAction: 'continue' })).toEqual({ steps: [] });
    world.change('/p/a/1', (i) => ({ ...i, state: 'settling' }));
    expect(world.plan('v2', 1)).toMatchObject({ steps: [], roll: { state: 'waiting' } });
    world.change('/p/a/1', (i) => ({ ...i, state: 'ready' }));
    const last = world.plan('v2', 1);
    expect(last.steps.map(text)).toEqual(['rewrite 1 Proved']);
    world.carryOut(last.steps, 'v2');
    expect(world.plan('v2', 1)).toEqual({ steps: [] });
  });

  it('counts as failed what does not get ready in time, until it does', () => {
    const world = running(3);
    world.carryOut(world.plan('v2', 3).steps, 'v2');
    world.overdue.add('/p/a/1');
    expect(world.plan('v2', 3)).toEqual({
      steps: [],
      roll: {
        state: 'stopped',
        message: 'update stopped, 2 to go: instance 1 on a: not ready within 10m',
      },
    });
    expect(world.plan('v2', 3, { failureAction: 'rollback' }).roll?.state).toBe('failed');
    expect(world.plan('v2', 3, { failureAction: 'continue' }).steps.map(text)).toEqual([
      'replace 2 SpecChanged',
    ]);
    world.change('/p/a/1', (i) => ({ ...i, state: 'ready' }));
    expect(world.plan('v2', 3).roll?.state).toBe('waiting');
  });

  it('empties a host gracefully, and when the time for that is over at once', () => {
    const world = running(2);
    world.drained.set('a', false);
    world.carryOut(world.plan('v1', 2).steps, 'v1', 'b');
    expect(world.plan('v1', 2).steps).toEqual([]);
    world.change('/p/b/1.b', (i) => ({ ...i, state: 'failed' }));
    expect(world.plan('v1', 2)).toMatchObject({ steps: [], roll: { state: 'stopped' } });
    world.drained.set('a', true);
    const plan = world.plan('v1', 2);
    expect(plan.steps.map(text)).toEqual(['finish 1 HostDrained', 'replace 2 HostDrained']);
    world.carryOut(plan.steps, 'v1', 'b');
    expect(world.instances.map(({ host }) => host)).toEqual(['b', 'b']);
  });

  it('is held up by nothing that cannot leave', () => {
    const world = running(3);
    world.instances = world.instances.map((i) => (i.ordinal === 1 ? { ...i, host: 'c' } : i));
    world.drained.set('c', true);
    world.change('/p/a/2', (i) => ({ ...i, hash: 'v0' }));
    expect(world.plan('v1', 3).steps.map(text)).toEqual([
      'replace 1 HostDrained',
      'replace 2 SpecChanged',
    ]);
    expect(world.plan('v1', 3, {}, true).steps).toEqual([]);
  });

  it('gives the old instance all the time of the world', () => {
    const world = running(2);
    world.change('/p/a/1', (i) => ({ ...i, state: 'starting' }));
    world.overdue.add('/p/a/1');
    expect(world.plan('v1', 2)).toEqual({ steps: [] });
    expect(world.plan('v2', 2).steps.map(text)).toEqual(['replace 1 SpecChanged']);
  });

  it('bears as many failures as it is told to', () => {
    const world = running(4);
    const policy = { parallelism: 2, maxFailureRatio: 0.25 };
    world.carryOut(world.plan('v2', 4, policy).steps, 'v2');
    world.change('/p/a/1', (i) => ({ ...i, state: 'failed' }));
    world.change('/p/a/2', (i) => ({ ...i, state: 'ready' }));
    expect(world.plan('v2', 4, policy).steps.map(text)).toEqual([
      'rewrite 2 Proved',
      'replace 3 SpecChanged',
      'replace 4 SpecChanged',
    ]);
    world.change('/p/a/2', (i) => ({ ...i, state: 'failed' }));
    expect(world.plan('v2', 4, policy).roll?.state).toBe('stopped');
  });

  it('takes all at once when parallelism says so', () => {
    const world = running(3);
    expect(world.plan('v2', 3, { parallelism: Infinity }).steps).toHaveLength(3);
  });

  it('changes nothing while paused, but heals', () => {
    const world = running(3);
    world.hosts['b'] = 'lost';
    world.instances = world.instances.map((i) => (i.ordinal === 2 ? { ...i, host: 'b' } : i));
    const plan = world.plan('v2', 3, {}, true);
    expect(plan.steps.map(text)).toEqual(['replace 2 HostLost']);
    expect(plan.roll).toEqual({ state: 'paused', message: 'update paused, 2 to go' });
  });

  it('holds a new instance while the last one of its ordinal stops somewhere', () => {
    const world = new World();
    world.leaving.add(1);
    const plan = world.plan('v1', 1);
    expect(plan.steps).toMatchObject([{ type: 'create', ordinal: 1, hold: true }]);
    expect(plan.watches).toBe(true);
    world.carryOut(plan.steps, 'v1');
    expect(world.plan('v1', 1).steps).toEqual([]);
    world.leaving.clear();
    expect(world.plan('v1', 1).steps.map(text)).toEqual(['rewrite 1 Released']);
  });
});

/** What happens between two passes. */
const happening = fc.oneof(
  { weight: 6, arbitrary: fc.record({ type: fc.constant('advance' as const), which: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('fail' as const), which: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('spec' as const), which: fc.nat(2) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('lose' as const), which: fc.nat(2) }) },
);
const policies = fc.record({
  parallelism: fc.constantFrom(1, 2, 3, Infinity),
  order: fc.constantFrom('start-first' as const, 'stop-first' as const),
  failureAction: fc.constantFrom('pause' as const, 'continue' as const, 'rollback' as const),
  maxFailureRatio: fc.constantFrom(0, 0.34, 1),
});
const onward: Partial<Record<InstanceState, InstanceState>> = {
  starting: 'settling',
  settling: 'ready',
  unknown: 'starting',
};

describe('updates, whatever happens in between', () => {
  it('never take away more that serves than was promised, never run two of one ordinal unless start-first, and converge', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        policies,
        fc.array(happening, { maxLength: 40 }),
        (replicas, policy, happenings) => {
          const world = running(replicas);
          world.instances = world.instances.map((i) => ({
            ...i,
            host: 'abc'.charAt(i.ordinal % 3),
          }));
          let hash = 'v2';
          const pass = (): void => {
            // Each pass plans from records and reports alone: as a new operator would.
            const { steps } = world.plan(hash, replicas, policy);
            const before = world.serving();
            const gone = new Set(
              world.instances.filter((i) => world.hosts[i.host] === 'lost').map((i) => i.ordinal),
            );
            world.carryOut(steps, hash);
            const after = world.serving();
            const taken = [...before].filter(
              (ordinal) => !after.has(ordinal) && !gone.has(ordinal),
            );
            if (policy.order === 'start-first') expect(taken).toEqual([]);
            else {
              expect(taken.length).toBeLessThanOrEqual(policy.parallelism);
              if (taken.length > 0 && policy.failureAction !== 'continue') {
                const failed = Math.floor(policy.maxFailureRatio * replicas);
                expect(after.size).toBeGreaterThanOrEqual(replicas - policy.parallelism - failed);
              }
            }
            for (let ordinal = 1; ordinal <= replicas; ordinal++) {
              const same = world.instances.filter((i) => i.ordinal === ordinal);
              expect(same.length).toBeLessThanOrEqual(policy.order === 'start-first' ? 2 : 1);
              expect(new Set(same.map((i) => i.second)).size).toBe(same.length);
            }
          };
          for (const { type, which } of happenings) {
            const i = world.instances[which % Math.max(1, world.instances.length)];
            if (type === 'spec') hash = ['v1', 'v2', 'v3'][which] ?? 'v2';
            else if (type === 'lose') {
              const host = 'abc'.charAt(which);
              world.hosts[host] = 'lost';
              world.instances = world.instances.map((x) =>
                x.host === host ? { ...x, state: 'unknown' } : x,
              );
            } else if (i !== undefined && (world.hosts[i.host] ?? 'present') === 'present') {
              const state = type === 'fail' ? 'failed' : (onward[i.state] ?? i.state);
              world.change(pathOf(i), (x) => ({ ...x, state }));
            }
            pass();
          }
          // From here on everything that is started works, and what failed is mended.
          for (let round = 0; round < 25; round++) {
            world.instances = world.instances.map((i) =>
              world.hosts[i.host] === 'lost' ? i : { ...i, state: 'ready' },
            );
            pass();
          }
          expect(world.plan(hash, replicas, policy)).toEqual({ steps: [] });
          expect(world.instances.map((i) => i.ordinal).sort()).toEqual(
            Array.from({ length: replicas }, (_, n) => n + 1),
          );
          expect(world.instances.every((i) => i.hash === hash)).toBe(true);
        },
      ),
      { numRuns: 150 },
    );
  }, 60_000);
});
