import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { InstanceRecord } from '../../registry/records/instance.ts';
import type { ContainerSpec, PlacementRecord } from '../../registry/records/placement.ts';
import type { RunRecord } from '../../registry/records/run.ts';
import { parseOrdinals } from './ordinals.ts';
import { ordinalOf } from './step.ts';
import { planRun, type RunPlan, type RunView } from './run-plan.ts';
import type { DesiredInstances, HostStanding, OneshotPolicy, Placed } from './types.ts';

const container: ContainerSpec = {
  image: 'work:1',
  environment: {},
  ports: [],
  mounts: [],
  labels: {},
  hostname: 'work-1',
  pullPolicy: 'missing',
  restart: 'no',
  oneshot: true,
  stopGracePeriodMs: 10_000,
  limits: {},
  reservations: {},
};
const start = Date.parse('2026-01-01T00:00:00Z');

function policy(more: Partial<OneshotPolicy> = {}): OneshotPolicy {
  return { run: 'r1', ran: false, remains: false, ...more };
}

function job(more: Partial<NonNullable<OneshotPolicy['job']>> = {}): Pick<OneshotPolicy, 'job'> {
  return { job: { parallelism: 2, backoffLimit: 6, firstRetryMs: 1_000, ...more } };
}

function desired(replicas: number): DesiredInstances {
  return { uid: 'u1', replicas, instance: () => ({ specHash: 'v1', container }) };
}

function placed(ordinal: number, more: Partial<PlacementRecord> = {}, host = 'a'): Placed {
  return {
    ordinal,
    host,
    path: `/p/${host}/${String(ordinal)}`,
    modRevision: 1n,
    record: {
      id: `${host}-${String(ordinal)}`,
      serviceUID: 'u1',
      specHash: 'v1',
      container,
      placedAt: '2026-01-01T00:00:00Z',
      run: 'r1',
      ...more,
    },
  };
}

type Says = Partial<Pick<InstanceRecord, 'phase' | 'reason' | 'exitCode'>>;
const success: Says = { phase: 'Exited', reason: 'Completed', exitCode: 0 };
const failure: Says = { phase: 'Exited', reason: 'Error', exitCode: 1 };

interface World {
  readonly record?: Partial<RunRecord>;
  readonly says?: ReadonlyMap<Placed, Says>;
  readonly hosts?: Readonly<Record<string, HostStanding>>;
  readonly nowMs?: number;
  readonly waits?: boolean;
  readonly leaving?: readonly number[];
  readonly draining?: readonly string[];
}

function view(world: World): RunView {
  const { says = new Map<Placed, Says>(), hosts = {}, leaving = [], draining = [] } = world;
  const reported = (p: Placed): InstanceRecord | undefined => {
    const said = says.get(p);
    if (said === undefined || p.record === undefined) return undefined;
    return {
      id: p.record.id,
      specHash: 'v1',
      phase: 'Running',
      ready: false,
      restarts: 0,
      ...said,
    };
  };
  return {
    reported,
    record:
      world.record === undefined
        ? undefined
        : {
            uid: 'u1',
            run: 'r1',
            startedAt: new Date(start).toISOString(),
            succeeded: '',
            failures: [],
            ...world.record,
          },
    waits: world.waits ?? false,
    nowMs: world.nowMs ?? start,
    state: () => 'starting',
    host: (name) => hosts[name] ?? 'present',
    misfit: () => undefined,
    trouble: () => undefined,
    leaving: (ordinal) => leaving.includes(ordinal),
    eviction: (p) => (draining.includes(p.host) ? { reason: 'HostDrained' } : undefined),
  };
}

const told = (plan: RunPlan): string[] =>
  plan.steps.map((step) => `${step.type} ${String(ordinalOf(step))} ${step.reason}`);

const failed = (ordinal: number, atMs = start) => ({
  id: `a-${String(ordinal)}`,
  ordinal,
  at: new Date(atMs).toISOString(),
  reason: 'Error',
  message: 'exited with code 1',
});

describe('planRun', () => {
  it('begins with all at once, or as many as a job may run', () => {
    const all = planRun(desired(3), policy(), [], view({}));
    expect(told(all)).toEqual(['create 1 ScaledUp', 'create 2 ScaledUp', 'create 3 ScaledUp']);
    expect(all.record).toMatchObject({ uid: 'u1', run: 'r1', succeeded: '' });
    const two = planRun(desired(3), policy(job()), [], view({ leaving: [2] }));
    expect(told(two)).toEqual(['create 1 ScaledUp', 'create 2 ScaledUp']);
    expect(two.steps[1]).toMatchObject({ hold: true });
    expect(two.watches).toBe(true);
  });

  it('begins nothing, and counts no time, while others have to come first', () => {
    const plan = planRun(desired(1), policy(job({ deadlineMs: 10 })), [], view({ waits: true }));
    expect(plan.record).toBeUndefined();
    expect(plan.wakeInMs).toBeUndefined();
  });

  it('notes a success before it goes on, and leaves what has ended where it is', () => {
    const p = placed(1);
    const plan = planRun(desired(1), policy(), [p], view({ says: new Map([[p, success]]) }));
    expect(plan.record).toMatchObject({ succeeded: '1', completedAt: '2026-01-01T00:00:00.000Z' });
    expect(plan.verdict).toEqual({ type: 'complete' });
    expect(told(plan)).toEqual(['rewrite 1 Finished']);
    const ended = placed(1, { finished: true });
    expect(
      told(planRun(desired(1), policy(), [ended], view({ record: { succeeded: '1' } }))),
    ).toEqual([]);
  });

  it.each<[string, Placed[], World, string[]]>([
    [
      'one that runs is lost with its host',
      [placed(1)],
      { hosts: { a: 'lost' } },
      ['replace 1 HostLost'],
    ],
    ['its host is away', [placed(1)], { hosts: { a: 'absent' } }, []],
    [
      'one that has ended is lost with its host',
      [placed(1, { finished: true })],
      { hosts: { a: 'lost' }, record: { succeeded: '1' } },
      ['remove 1 HostLost'],
    ],
    ['nothing is left of one that has ended', [], { record: { succeeded: '1' } }, []],
    [
      'one that failed is lost with its host',
      [placed(1, { finished: true })],
      { hosts: { a: 'lost' }, record: { failures: [failed(1)] } },
      ['remove 1 HostLost'],
    ],
    ['nothing is left of one that failed', [], { record: { failures: [failed(1)] } }, []],
    [
      'the spec has changed',
      [placed(1, { run: 'r0', finished: true })],
      { record: { run: 'r0', succeeded: '1' } },
      ['replace 1 SpecChanged'],
    ],
    [
      'the Service is another one',
      [],
      { record: { uid: 'u0', succeeded: '1' } },
      ['create 1 ScaledUp'],
    ],
    ['two of one run', [placed(1), placed(1, { id: 'b' }, 'b')], {}, ['remove 1 Duplicate']],
    ['one too many', [placed(1), placed(2)], {}, ['remove 2 ScaledDown']],
    ['its host is drained', [placed(1)], { draining: ['a'] }, []],
    [
      'it has ended and its host is drained',
      [placed(1, { finished: true })],
      { draining: ['a'], record: { succeeded: '1' } },
      ['remove 1 HostDrained'],
    ],
    ['it waited for another one', [placed(1, { hold: true })], {}, ['rewrite 1 Released']],
  ])('%s', (_name, list, world, expected) => {
    expect(told(planRun(desired(1), policy(), list, view(world)))).toEqual(expected);
  });

  it('tries again after pauses that grow', () => {
    const p = placed(1, { finished: true });
    const once = { failures: [failed(1)] };
    const at = (nowMs: number, record: Partial<RunRecord> = once) =>
      planRun(desired(1), policy(job()), [p], view({ record, nowMs }));
    expect(told(at(start + 400))).toEqual([]);
    expect(at(start + 400).wakeInMs).toBe(600);
    expect(told(at(start + 1_000))).toEqual(['replace 1 Retried']);
    const twice = { failures: [{ ...failed(1), id: 'x' }, failed(1)] };
    expect(at(start + 1_000, twice).wakeInMs).toBe(1_000);
    expect(told(at(start + 2_000, twice))).toEqual(['replace 1 Retried']);
  });

  it('counts a failure once, and fails beyond backoffLimit, stopping the rest', () => {
    const [bad, good] = [placed(1), placed(2)];
    const says = new Map([[bad, failure]]);
    const of = policy(job({ backoffLimit: 0 }));
    const plan = planRun(desired(2), of, [bad, good], view({ says }));
    expect(plan.record?.failures).toHaveLength(1);
    expect(plan.verdict).toMatchObject({ type: 'failed', reason: 'BackoffLimitExceeded' });
    expect(told(plan)).toEqual(['remove 2 JobFailed', 'rewrite 1 Finished']);
    const again = planRun(desired(2), of, [bad], view({ says, record: plan.record! }));
    expect(again.record).toBe(again.record);
    expect(again.record?.failures).toHaveLength(1);
  });

  it('fails when its time is over, unless it is done', () => {
    const of = policy(job({ deadlineMs: 5_000 }));
    const early = planRun(desired(1), of, [placed(1)], view({ record: {}, nowMs: start + 4_000 }));
    expect(early).toMatchObject({ verdict: { type: 'running' }, wakeInMs: 1_000 });
    const late = planRun(desired(1), of, [placed(1)], view({ record: {}, nowMs: start + 5_000 }));
    expect(late.verdict).toMatchObject({ type: 'failed', reason: 'DeadlineExceeded' });
    expect(told(late)).toEqual(['remove 1 JobFailed']);
    const done = { succeeded: '1' };
    const after = planRun(desired(1), of, [], view({ record: done, nowMs: start + 9_000 }));
    expect(after.verdict).toEqual({ type: 'complete' });
  });

  it('makes no run that has been made elsewhere, and leaves what shows how it went', () => {
    const of = policy({ ran: true });
    const list = [placed(1, { run: 'r0', finished: true })];
    expect(planRun(desired(1), of, list, view({}))).toMatchObject({
      steps: [],
      verdict: { type: 'complete' },
    });
    expect(told(planRun(desired(1), of, [placed(1, { run: 'r0' })], view({})))).toEqual([
      'remove 1 Completed',
    ]);
  });

  it('runs once more when a service that it follows was replaced, if it counts as active', () => {
    const p = placed(1, { finished: true, after: { db: 'old' } });
    const wants = { ...desired(1), after: { db: 'new' } };
    const world = view({ record: { succeeded: '1' }, says: new Map([[p, success]]) });
    expect(told(planRun(wants, policy(), [p], world))).toEqual([]);
    expect(told(planRun(wants, policy({ remains: true }), [p], world))).toEqual([
      'replace 1 Following',
    ]);
  });

  it('keeps its promises whatever ends, fails, gets lost or is forgotten', () => {
    const replicas = 5;
    const parallelism = 2;
    const event = fc.record({
      what: fc.constantFrom(
        'success' as const,
        'failure' as const,
        'lost' as const,
        'time' as const,
      ),
      which: fc.nat(9),
      /** The operator dies when the run's record is written, before anything else is. */
      dies: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 80 }), (events) => {
        const of = policy(job({ parallelism, backoffLimit: 1000, firstRetryMs: 500 }));
        let record: RunRecord | undefined;
        let list: Placed[] = [];
        let says = new Map<Placed, Says>();
        let now = start;
        let id = 0;
        const counted = new Set<string>();
        for (const { what, which, dies } of events) {
          const target = list[which % Math.max(1, list.length)];
          const hosts: Record<string, HostStanding> = {};
          if (what === 'time') now += 2_000;
          else if (target !== undefined && what === 'lost') {
            hosts[target.host] = 'lost';
            says.delete(target);
          } else if (target !== undefined && !says.has(target)) {
            says.set(target, what === 'success' ? success : failure);
          }
          const before = parseOrdinals(record?.succeeded ?? '');
          const world = { says, hosts, nowMs: now, ...(record === undefined ? {} : { record }) };
          const plan = planRun(desired(replicas), of, list, view(world));
          record = plan.record;
          for (const failure of record?.failures ?? []) counted.add(failure.id);
          expect(record?.failures.length).toBe(counted.size);
          const done = parseOrdinals(record?.succeeded ?? '');
          for (const ordinal of before) expect(done).toContain(ordinal);
          if (dies) continue;
          const next = new Map(list.map((p) => [p.path, p]));
          for (const step of plan.steps) {
            const makes = step.type === 'create' || step.type === 'replace';
            if (makes) expect(done, 'what has ended runs again').not.toContain(ordinalOf(step));
            if (step.type !== 'create') next.delete(step.placed.path);
            if (step.type === 'rewrite') {
              const ended = placed(
                step.placed.ordinal,
                { ...step.placed.record!, finished: true },
                step.placed.host,
              );
              next.set(ended.path, ended);
              const said = says.get(step.placed);
              if (said !== undefined) says.set(ended, said);
            }
            if (makes) {
              const p = placed(ordinalOf(step), { id: `i${String(++id)}` }, `h${String(id)}`);
              next.set(p.path, p);
            }
          }
          list = [...next.values()];
          says = new Map([...says].filter(([p]) => list.includes(p)));
          const open = list.filter((p) => p.record?.finished !== true);
          expect(open.length).toBeLessThanOrEqual(parallelism);
          const ordinals = list.map((p) => p.ordinal);
          expect(new Set(ordinals).size).toBe(ordinals.length);
        }
      }),
    );
  });
});
