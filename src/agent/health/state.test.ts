import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  afterCheck,
  checkPauseMs,
  presumedHealth,
  startingHealth,
  type CheckResult,
  type HealthState,
  type HealthTimes,
} from './state.ts';

const times: HealthTimes = { intervalMs: 10_000, retries: 3, startPeriodMs: 30_000 };
const pass: CheckResult = { type: 'pass' };
const fail: CheckResult = { type: 'fail', message: 'no' };

function after(
  results: readonly [CheckResult, number][],
  from = startingHealth(times),
): HealthState {
  return results.reduce((state, [result, age]) => afterCheck(state, result, age, times), from);
}

describe('the health of a run', () => {
  it('starts, is healthy with the first pass, and unhealthy with the last of the retries', () => {
    const healthy = after([[pass, 100]]);
    expect(healthy.status).toBe('healthy');
    expect(
      after(
        [
          [fail, 200],
          [fail, 300],
        ],
        healthy,
      ).status,
    ).toBe('healthy');
    const unhealthy = after(
      [
        [fail, 200],
        [fail, 300],
        [fail, 400],
      ],
      healthy,
    );
    expect(unhealthy).toMatchObject({ status: 'unhealthy', message: 'no', flaps: 1 });
    expect(after([[pass, 500]], unhealthy)).toMatchObject({
      status: 'healthy',
      message: undefined,
      flaps: 1,
    });
  });

  it('a pass in between forgives the failures before', () => {
    const state = after([
      [pass, 1],
      [fail, 2],
      [fail, 3],
      [pass, 4],
      [fail, 5],
      [fail, 6],
    ]);
    expect(state.status).toBe('healthy');
  });

  it('what is presumed to go on serving is decided upon by the first check', () => {
    expect(presumedHealth(times).status).toBe('healthy');
    expect(after([[fail, 1e6]], presumedHealth(times)).status).toBe('unhealthy');
    const proved = after(
      [
        [pass, 1e6],
        [fail, 1e6],
        [fail, 1e6],
      ],
      presumedHealth(times),
    );
    expect(proved.status).toBe('healthy');
  });

  const anyTimes = fc.record({
    intervalMs: fc.integer({ min: 100, max: 20_000 }),
    retries: fc.integer({ min: 1, max: 5 }),
    startPeriodMs: fc.integer({ min: 0, max: 60_000 }),
  });
  const anyResult = fc.constantFrom<CheckResult>(pass, fail, { type: 'unknown' });

  /** Runs the checks at the times at which they would be made. */
  function timeline(
    results: readonly CheckResult[],
    given: HealthTimes,
    visit: (state: HealthState, before: HealthState, result: CheckResult, age: number) => void,
  ): void {
    let state = startingHealth(given);
    let age = 0;
    for (const result of results) {
      const before = state;
      state = afterCheck(before, result, age, given);
      visit(state, before, result, age);
      age += checkPauseMs(state, given, 0.5);
    }
  }

  it('obeys its laws whatever the checks say', () => {
    fc.assert(
      fc.property(fc.array(anyResult, { maxLength: 200 }), anyTimes, (results, given) => {
        let row = 0;
        let flaps = 0;
        let passed = false;
        timeline(results, given, (state, before, result, age) => {
          if (result.type === 'unknown') expect(state).toBe(before);
          if (result.type === 'pass') {
            expect(state.status).toBe('healthy');
            row = 0;
            passed = true;
          }
          if (result.type === 'fail') {
            row++;
            if (before.status === 'healthy') {
              expect(state.status).toBe(row >= given.retries ? 'unhealthy' : 'healthy');
            } else expect(state.status).not.toBe('healthy');
          }
          if (state.status === 'unhealthy') {
            expect(row).toBeGreaterThanOrEqual(given.retries);
            const earliest = given.startPeriodMs + given.retries * given.intervalMs;
            if (!passed) expect(age).toBeGreaterThanOrEqual(earliest);
            expect(state.message).toBe('no');
          }
          if (before.status === 'healthy' && state.status === 'unhealthy') flaps++;
          expect(state.flaps).toBe(flaps);
          if (state.status === 'starting') expect(passed).toBe(false);
        });
      }),
    );
  });

  it('one that never passes is unhealthy soon after the start period and its retries', () => {
    fc.assert(
      fc.property(anyTimes, (given) => {
        const bound = given.startPeriodMs + given.retries * given.intervalMs;
        let at: number | undefined;
        const checks = Array.from({ length: 3000 }, () => fail);
        timeline(checks, given, (state, _before, _result, age) => {
          if (state.status === 'unhealthy') at ??= age;
        });
        expect(at).toBeGreaterThanOrEqual(bound);
        expect(at).toBeLessThanOrEqual(bound + Math.min(1000, given.intervalMs));
      }),
    );
  });
});
