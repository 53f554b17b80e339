import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ContainerSpec } from '../../registry/records/placement.ts';
import { planRemoval, planService } from './plan.ts';
import { ordinalOf, type Step } from './step.ts';
import type {
  DesiredInstances,
  HostStanding,
  InstanceState,
  Placed,
  PlacementView,
} from './types.ts';

const container: ContainerSpec = {
  image: 'web:1',
  environment: {},
  ports: [],
  mounts: [],
  labels: {},
  hostname: 'web-1',
  pullPolicy: 'missing',
  restart: 'always',
  stopGracePeriodMs: 10_000,
  limits: {},
  reservations: {},
};

function desired(replicas: number, specHash = 'v1', uid = 'u1'): DesiredInstances {
  return { uid, replicas, instance: () => ({ specHash, container }) };
}

interface Row {
  readonly ordinal: number;
  readonly host?: string;
  readonly hash?: string;
  readonly state?: InstanceState;
  readonly uid?: string;
  readonly broken?: boolean;
}

function world(
  rows: readonly Row[],
  hosts: Readonly<Record<string, HostStanding>> = {},
  misfits: readonly string[] = [],
): { placed: Placed[]; view: PlacementView } {
  const states = new Map<Placed, InstanceState>();
  const placed = rows.map((row): Placed => {
    const host = row.host ?? 'a';
    const p: Placed = {
      ordinal: row.ordinal,
      host,
      path: `/p/${host}/${String(row.ordinal)}`,
      modRevision: 1n,
      record:
        row.broken === true
          ? undefined
          : {
              id: `${host}-${String(row.ordinal)}`,
              serviceUID: row.uid ?? 'u1',
              specHash: row.hash ?? 'v1',
              container,
              placedAt: '2026-01-01T00:00:00Z',
            },
    };
    states.set(p, row.state ?? 'ready');
    return p;
  });
  return {
    placed,
    view: {
      state: (p) => states.get(p) ?? 'unknown',
      host: (name) => hosts[name] ?? 'present',
      misfit: (host) => (misfits.includes(host) ? 'lacks label disk=ssd' : undefined),
      trouble: (p) => (states.get(p) === 'failed' ? 'ImagePullFailed: no such image' : undefined),
    },
  };
}

/** `replace 2 a SpecChanged`: a step in a line. */
function text(step: Step): string {
  const host = step.type === 'create' ? '' : ` ${step.placed.host}`;
  return `${step.type} ${String(ordinalOf(step))}${host} ${step.reason}`;
}

describe('planService', () => {
  it.each<{
    what: string;
    want: DesiredInstances;
    rows: Row[];
    hosts?: Record<string, HostStanding>;
    misfits?: string[];
    steps: string[];
    roll?: string;
  }>([
    { what: 'all as it should be', want: desired(1), rows: [{ ordinal: 1 }], steps: [] },
    {
      what: 'a new service',
      want: desired(3),
      rows: [],
      steps: ['create 1 ScaledUp', 'create 2 ScaledUp', 'create 3 ScaledUp'],
    },
    {
      what: 'scaling down takes the highest first',
      want: desired(1),
      rows: [{ ordinal: 1 }, { ordinal: 2 }, { ordinal: 3 }],
      steps: ['remove 3 a ScaledDown', 'remove 2 a ScaledDown'],
    },
    {
      what: 'scaling to nothing',
      want: desired(0),
      rows: [{ ordinal: 1 }],
      steps: ['remove 1 a ScaledDown'],
    },
    {
      what: 'scaling up fills gaps',
      want: desired(3),
      rows: [{ ordinal: 2 }],
      steps: ['create 1 ScaledUp', 'create 3 ScaledUp'],
    },
    {
      what: 'of two instances of one ordinal the one that serves stays',
      want: desired(1),
      rows: [
        { ordinal: 1, host: 'a', state: 'starting' },
        { ordinal: 1, host: 'b' },
      ],
      steps: ['remove 1 a Duplicate'],
    },
    {
      what: 'of two instances of one ordinal the one on a lost host goes',
      want: desired(1),
      rows: [
        { ordinal: 1, host: 'a', state: 'starting' },
        { ordinal: 1, host: 'b', state: 'unknown' },
      ],
      hosts: { b: 'lost' },
      steps: ['remove 1 b Duplicate'],
    },
    {
      what: 'a lost host is left',
      want: desired(2),
      rows: [
        { ordinal: 1, host: 'a', state: 'unknown' },
        { ordinal: 2, host: 'b' },
      ],
      hosts: { a: 'lost' },
      steps: ['replace 1 a HostLost'],
    },
    {
      what: 'nothing is done about a host that may come back',
      want: desired(2),
      rows: [
        { ordinal: 1, host: 'a', state: 'unknown' },
        { ordinal: 2, host: 'b' },
      ],
      hosts: { a: 'absent' },
      steps: [],
    },
    {
      what: 'the next outdated instance, when all others are ready',
      want: desired(3, 'v2'),
      rows: [{ ordinal: 1, hash: 'v2' }, { ordinal: 2 }, { ordinal: 3 }],
      steps: ['replace 2 a SpecChanged'],
      roll: 'updating one by one, 2 to go',
    },
    {
      what: 'not before the previous one has settled',
      want: desired(2, 'v2'),
      rows: [{ ordinal: 1, hash: 'v2', state: 'settling' }, { ordinal: 2 }],
      steps: [],
      roll: 'updating one by one, 1 to go: instance 1 on a is settling',
    },
    {
      what: 'not while a host is out of reach',
      want: desired(2, 'v2'),
      rows: [{ ordinal: 1 }, { ordinal: 2, host: 'b', state: 'unknown' }],
      hosts: { b: 'absent' },
      steps: [],
      roll: 'updating one by one, 2 to go: instance 2 on b is out of reach',
    },
    {
      what: 'not while it is unknown how another one is',
      want: desired(2, 'v2'),
      rows: [{ ordinal: 1 }, { ordinal: 2, state: 'unknown' }],
      steps: [],
      roll: 'updating one by one, 2 to go: instance 2 on a is not reported yet',
    },
    {
      what: 'a failed new one stops the update',
      want: desired(2, 'v2'),
      rows: [
        { ordinal: 1, hash: 'v2', state: 'failed' },
        { ordinal: 2, state: 'failed' },
      ],
      steps: [],
      roll: 'update stopped, 1 to go: instance 1 on a: ImagePullFailed: no such image',
    },
    {
      what: 'a third spec mends a failed second one at once, and takes nothing else',
      want: desired(2, 'v3'),
      rows: [{ ordinal: 1, hash: 'v2', state: 'failed' }, { ordinal: 2 }],
      steps: ['replace 1 a SpecChanged'],
      roll: 'updating one by one, 2 to go',
    },
    {
      what: 'outdated ones that do not serve are replaced together',
      want: desired(2, 'v2'),
      rows: [
        { ordinal: 1, state: 'failed' },
        { ordinal: 2, state: 'starting' },
      ],
      steps: ['replace 1 a SpecChanged', 'replace 2 a SpecChanged'],
      roll: 'updating one by one, 2 to go',
    },
    {
      what: 'a host that breaks the rules is left one instance at a time',
      want: desired(2),
      rows: [{ ordinal: 1 }, { ordinal: 2 }],
      misfits: ['a'],
      steps: ['replace 1 a RulesChanged'],
      roll: 'updating one by one, 2 to go',
    },
    {
      what: 'an unreadable record is written anew',
      want: desired(1),
      rows: [{ ordinal: 1, broken: true }],
      steps: ['rewrite 1 a Unreadable'],
    },
    {
      what: 'a Service made anew adopts what runs',
      want: desired(1, 'v1', 'u2'),
      rows: [{ ordinal: 1 }],
      steps: ['rewrite 1 a ServiceRecreated'],
    },
  ])('$what', ({ want, rows, hosts, misfits, steps, roll }) => {
    const { placed, view } = world(rows, hosts, misfits);
    const plan = planService(want, placed, view);
    expect(plan.steps.map(text)).toEqual(steps);
    expect(plan.roll?.message).toBe(roll);
  });

  it('removes the highest first when the service goes', () => {
    const { placed } = world([{ ordinal: 1 }, { ordinal: 2 }]);
    expect(planRemoval(placed).map(text)).toEqual([
      'remove 2 a ServiceDeleted',
      'remove 1 a ServiceDeleted',
    ]);
  });
});

const states: InstanceState[] = ['unknown', 'starting', 'settling', 'ready', 'done', 'failed'];
const row = fc.record({
  ordinal: fc.integer({ min: 1, max: 6 }),
  host: fc.constantFrom('a', 'b', 'c', 'lost', 'absent'),
  hash: fc.constantFrom('v1', 'v2'),
  state: fc.constantFrom(...states),
});
const rows = fc.uniqueArray(row, {
  maxLength: 10,
  selector: (r) => `${r.host}/${String(r.ordinal)}`,
});
const standings: Record<string, HostStanding> = { lost: 'lost', absent: 'absent' };

/** The rows after the steps, with every new instance on host c (or b), in the state that its agent soon gives it. */
function apply(before: readonly Row[], steps: readonly Step[], fresh: InstanceState): Row[] {
  const gone = new Set(steps.filter((s) => s.type !== 'create').map((s) => s.placed.path));
  const rest = before.filter((r) => !gone.has(`/p/${r.host ?? 'a'}/${String(r.ordinal)}`));
  const made = steps
    .filter((s) => s.type === 'create' || s.type === 'replace')
    .map((s): Row => {
      const old = s.type === 'replace' ? s.placed.host : undefined;
      const host = old === undefined || old === 'lost' ? 'b' : old;
      return { ordinal: ordinalOf(s), host, hash: 'v2', state: fresh };
    });
  return [...rest, ...made];
}

describe('planService, whatever the state of the world', () => {
  it('has nothing more to do at once after its steps, but for an update to go on', () => {
    fc.assert(
      fc.property(rows, fc.integer({ min: 0, max: 6 }), (before, replicas) => {
        const first = world(before, standings);
        const plan = planService(desired(replicas, 'v2'), first.placed, first.view);
        const after = world(apply(before, plan.steps, 'starting'), standings);
        const second = planService(desired(replicas, 'v2'), after.placed, after.view);
        // Whatever an update still replaces at once did not serve to begin with.
        for (const step of second.steps) {
          expect(step).toMatchObject({ type: 'replace', reason: 'SpecChanged' });
          if (step.type === 'replace') {
            expect(['starting', 'failed', 'done']).toContain(after.view.state(step.placed));
          }
        }
      }),
    );
  });

  it('reaches the desired state when every host is there and every new instance becomes ready', () => {
    fc.assert(
      fc.property(rows, fc.integer({ min: 0, max: 6 }), (start, replicas) => {
        let now: Row[] = start.filter((r) => r.host !== 'absent');
        for (let pass = 0; pass < 20; pass++) {
          const { placed, view } = world(now, standings);
          const { steps } = planService(desired(replicas, 'v2'), placed, view);
          now = apply(now, steps, 'ready').map((r) =>
            // What its agent has not reported yet gets reported; the failed ones are mended.
            r.hash === 'v2'
              ? { ...r, state: 'ready' }
              : { ...r, state: r.state === 'unknown' ? 'ready' : (r.state ?? 'ready') },
          );
          if (steps.length === 0) break;
        }
        expect(now.map((r) => r.ordinal).toSorted((a, b) => a - b)).toEqual(
          Array.from({ length: replicas }, (_, i) => i + 1),
        );
        expect(now.every((r) => r.hash === 'v2')).toBe(true);
      }),
    );
  });

  it('never takes away more than one instance that may serve, and none while another does not', () => {
    fc.assert(
      fc.property(rows, fc.integer({ min: 1, max: 6 }), (before, replicas) => {
        const { placed, view } = world(before, standings);
        const { steps } = planService(desired(replicas, 'v2'), placed, view);
        const dropped = new Set(steps.filter((s) => s.type === 'remove').map((s) => s.placed));
        const rolled = steps
          .filter((s) => s.type === 'replace' && s.reason !== 'HostLost')
          .map((s) => (s.type === 'replace' ? s.placed : undefined));
        const serves = (p: Placed | undefined): boolean =>
          p !== undefined && ['ready', 'settling', 'unknown'].includes(view.state(p));
        const taken = rolled.filter(serves);
        expect(taken.length).toBeLessThanOrEqual(1);
        if (taken.length === 0) return;
        const others = placed.filter(
          (p) => p !== taken[0] && !dropped.has(p) && view.host(p.host) !== 'lost',
        );
        for (const other of others) {
          expect(['ready', 'settling', 'done']).toContain(view.state(other));
        }
      }),
    );
  });
});

describe('a fenced service', () => {
  const fenced = (replicas: number, specHash = 'v1'): DesiredInstances => ({
    ...desired(replicas, specHash),
    fenced: { afterMs: 15_000 },
  });
  const lost = world([{ ordinal: 1 }, { ordinal: 2, host: 'b' }], { a: 'lost', b: 'present' });
  const open = { ...lost.view, mayStillRun: (host: string) => (host === 'a' ? 'why' : undefined) };

  it('is not replaced before the lost host must have stopped it, and says why', () => {
    const plan = planService(fenced(2), lost.placed, open);
    expect(plan.steps).toEqual([]);
    expect(plan.fenced).toEqual({ count: 1, message: 'why' });
    const then = planService(fenced(2), lost.placed, lost.view);
    expect(then.steps).toMatchObject([{ type: 'replace', reason: 'HostLost' }]);
    expect(then.fenced).toBeUndefined();
  });

  it('is not forgotten by scaling down while it may run unseen', () => {
    expect(planService(fenced(0), lost.placed, open).steps).toMatchObject([
      { type: 'remove', placed: { ordinal: 2 } },
    ]);
  });

  it('stops the old one first, whoever asks for a move', () => {
    const { placed, view } = world([{ ordinal: 1 }]);
    const drained = { ...view, eviction: () => ({ reason: 'HostDrained' as const }) };
    expect(planService(fenced(1), placed, drained).steps).toMatchObject([{ type: 'replace' }]);
    expect(planService(desired(1), placed, drained).steps).toMatchObject([{ type: 'accompany' }]);
  });

  it('holds the new one until the host of the old one is out of doubt', () => {
    const { placed, view } = world([{ ordinal: 1, host: 'b' }]);
    const [p] = placed as [Placed];
    const held = { ...p, record: { ...p.record!, hold: true, follows: 'a' } };
    const doubtful = { ...view, mayStillRun: () => 'why' };
    expect(planService(fenced(1), [held], doubtful).steps).toEqual([]);
    expect(planService(fenced(1), [held], view).steps).toMatchObject([{ reason: 'Released' }]);
  });
});
