import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseCron } from '../../api/v1alpha1/cron.ts';
import {
  planSchedule,
  type Run,
  type Schedule,
  type ScheduleMemory,
  type SchedulePlan,
} from './plan.ts';

const minute = 60_000;
const start = Date.parse('2026-01-01T00:00:30Z');
const time = (minutes: number): number => Date.parse('2026-01-01T00:00:00Z') + minutes * minute;

function schedule(more: Partial<Schedule> = {}): Schedule {
  return {
    times: parseCron('* * * * *'),
    concurrency: 'allow',
    startingDeadlineMs: Infinity,
    successfulRuns: 3,
    failedRuns: 1,
    suspend: false,
    ...more,
  };
}

function run(atMs: number, state: Run['state'] = 'active'): Run {
  return { name: `r-${String(atMs / 1000)}`, atMs, state, leaving: false };
}

const fresh: ScheduleMemory = { nextMs: undefined, lastMs: undefined };
const due: ScheduleMemory = { nextMs: time(1), lastMs: undefined };

describe('planSchedule', () => {
  it('announces the next time first, and starts the run when it has come', () => {
    const first = planSchedule(schedule(), fresh, [], start);
    expect(first).toMatchObject({ memory: { nextMs: time(1) }, stop: [] });
    expect(first.start).toBeUndefined();
    const early = planSchedule(schedule(), first.memory, [], time(1) - 1);
    expect(early.start).toBeUndefined();
    const then = planSchedule(schedule(), first.memory, [], time(1) + 20);
    expect(then.start).toBe(time(1));
    expect(then.memory).toEqual({ nextMs: time(2), lastMs: time(1) });
  });

  it('starts no run twice that has an object, though its status was never written', () => {
    const plan = planSchedule(schedule(), due, [run(time(1))], time(1) + 500);
    expect(plan.start).toBeUndefined();
    expect(plan.memory).toEqual({ nextMs: time(2), lastMs: time(1) });
  });

  it('makes up for the latest of several that were missed', () => {
    expect(planSchedule(schedule(), due, [], time(10) + 5_000).start).toBe(time(10));
  });

  it('leaves out what is too late', () => {
    const late = schedule({ startingDeadlineMs: 3_000 });
    const plan = planSchedule(late, due, [], time(10) + 5_000);
    expect(plan).toMatchObject({ leftOut: 'late', memory: { lastMs: time(10), nextMs: time(11) } });
    expect(plan.start).toBeUndefined();
    expect(planSchedule(late, due, [], time(10) + 2_000).start).toBe(time(10));
  });

  it.each([
    ['allow', time(2), 0, undefined],
    ['forbid', undefined, 0, 'concurrent'],
    ['replace', time(2), 1, undefined],
  ] as const)('with %s and a run that has not ended', (concurrency, started, stopped, leftOut) => {
    const memory = { nextMs: time(2), lastMs: time(1) };
    const plan = planSchedule(schedule({ concurrency }), memory, [run(time(1))], time(2));
    expect([plan.start, plan.stop.length, plan.leftOut]).toEqual([started, stopped, leftOut]);
    const after = planSchedule(
      schedule({ concurrency }),
      memory,
      [run(time(1), 'failed')],
      time(2),
    );
    expect([after.start, after.stop.length]).toEqual([time(2), 0]);
  });

  it('starts nothing while suspended, and makes up for nothing afterwards', () => {
    const suspended = planSchedule(schedule({ suspend: true }), due, [], time(5));
    expect(suspended.start).toBeUndefined();
    const again = planSchedule(schedule(), suspended.memory, [], time(9) + 1);
    expect(again.start).toBeUndefined();
    expect(again.memory.nextMs).toBe(time(10));
  });

  it('forgets the oldest runs beyond those that are kept, once their time is remembered', () => {
    const runs = [
      ...[1, 2, 3, 4, 5].map((n) => run(time(n), 'succeeded')),
      ...[6, 7].map((n) => run(time(n), 'failed')),
      run(time(0)),
    ];
    const memory = { nextMs: time(8), lastMs: time(7) };
    const { forget } = planSchedule(schedule(), memory, runs, time(7) + 1);
    expect(forget.map(({ atMs }) => atMs)).toEqual([time(1), time(2), time(6)]);
    const unsure = planSchedule(schedule(), { ...memory, lastMs: time(1) }, runs, time(7) + 1);
    expect(unsure.forget.map(({ atMs }) => atMs)).toEqual([time(1)]);
  });

  it('runs each time at most once, whatever passes, deaths and outages there are', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            afterMs: fc.integer({ min: 0, max: 4 * minute }),
            /** The operator dies before the status is written. */
            dies: fc.boolean(),
            ends: fc.constantFrom('succeeded' as const, 'failed' as const, 'active' as const),
          }),
          { maxLength: 60 },
        ),
        fc.constantFrom('allow' as const, 'forbid' as const, 'replace' as const),
        (passes, concurrency) => {
          const of = schedule({ concurrency, successfulRuns: 1, failedRuns: 0 });
          let memory = fresh;
          let runs: Run[] = [];
          let now = start;
          const startedAt: number[] = [];
          for (const { afterMs, dies, ends } of passes) {
            now += afterMs;
            runs = runs.map((r) => (r.state === 'active' ? { ...r, state: ends } : r));
            const plan: SchedulePlan = planSchedule(of, memory, runs, now);
            const gone = new Set([...plan.forget, ...plan.stop]);
            runs = runs.filter((r) => !gone.has(r));
            if (plan.start !== undefined) {
              expect(plan.start).toBeLessThanOrEqual(now);
              startedAt.push(plan.start);
              runs.push(run(plan.start));
            }
            if (!dies) memory = plan.memory;
          }
          expect(new Set(startedAt).size).toBe(startedAt.length);
          expect(startedAt).toEqual(startedAt.toSorted((a, b) => a - b));
        },
      ),
    );
  });
});
