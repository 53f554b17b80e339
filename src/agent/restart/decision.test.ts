import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../../../test/support/virtual-clock.ts';
import type { InspectedContainer } from '../docker/engine.ts';
import { blankMemory, remember, type InstanceMemory } from '../memory.ts';
import { decideRestart, restartPauseMs } from './decision.ts';
import { engineRestarts } from './engine-restarts.ts';
import { endCause } from './end-cause.ts';
import { Interruptions } from './interruptions.ts';

describe('endCause', () => {
  it.each([
    [0, false, 'clean'],
    [1, false, 'exit-code'],
    [127, false, 'exit-code'],
    [128, false, 'exit-code'],
    [129, false, 'clean'],
    [130, false, 'clean'],
    [131, false, 'signal'],
    [134, false, 'signal'],
    [137, false, 'signal'],
    [137, true, 'oom'],
    [1, true, 'oom'],
    [0, true, 'clean'],
    [139, false, 'signal'],
    [141, false, 'clean'],
    [143, false, 'clean'],
    [192, false, 'signal'],
    [193, false, 'exit-code'],
    [255, false, 'exit-code'],
  ] as const)('exit code %d, out of memory %s: %s', (exitCode, oomKilled, cause) => {
    expect(endCause({ exitCode, oomKilled })).toBe(cause);
  });
});

describe('endCause of a oneshot', () => {
  it.each([
    [0, 'clean'],
    [1, 'exit-code'],
    [129, 'signal'],
    [143, 'signal'],
    [137, 'signal'],
  ] as const)('exit code %d: %s', (exitCode, cause) => {
    expect(endCause({ exitCode, oomKilled: false }, true)).toBe(cause);
  });
});

const start = Date.parse('2026-01-01T00:00:00Z');
const iso = (ms: number): string => new Date(start + ms).toISOString();

function run(startedMs: number, endedMs?: number, exitCode = 1): InspectedContainer {
  return {
    id: 'c1',
    name: 'c1',
    labels: {},
    addresses: {},
    dns: [],
    state: endedMs === undefined ? 'running' : 'exited',
    exitCode,
    oomKilled: false,
    error: '',
    restartCount: 0,
    startedAt: iso(startedMs),
    finishedAt: endedMs === undefined ? undefined : iso(endedMs),
    stopGraceMs: 1000,
  };
}

type Spec = Parameters<typeof decideRestart>[1];

/** What is remembered after runs of [start, end], each seen while it ran and when it had ended. */
function after(spec: Spec, ...runs: [number, number][]): InstanceMemory {
  return runs.reduce<InstanceMemory>(
    (memory, [from, to]) => remember(remember(memory, run(from), spec), run(from, to), spec),
    blankMemory,
  );
}

describe('decideRestart', () => {
  const onFailure: Spec = { restart: 'on-failure' };

  it('doubles the pause with each short run, and starts anew after a long one', () => {
    const runs: [number, number][] = [[0, 10]];
    const pauses: number[] = [];
    for (let n = 1; n <= 3; n++) {
      const [, ended] = runs.at(-1)!;
      const decision = decideRestart(run(0, ended), onFailure, after(onFailure, ...runs));
      if (decision.type !== 'start') throw new Error(decision.type);
      expect(decision.atMs).toBe(start + ended + decision.pauseMs);
      pauses.push(decision.pauseMs);
      runs.push([ended + 1000, ended + 1010]);
    }
    expect(pauses).toEqual([100, 200, 400]);
    runs.push([100_000, 115_000]);
    expect(
      decideRestart(run(100_000, 115_000), onFailure, after(onFailure, ...runs)),
    ).toMatchObject({ pauseMs: 100 });
  });

  it('looks at the same end any number of times and counts it once', () => {
    const memory = after(onFailure, [0, 10]);
    const again = remember(remember(memory, run(0, 10), onFailure), run(0, 10), onFailure);
    expect(again.crash?.shortRuns).toBe(1);
  });

  it('counts starts in the interval, and the verdict does not fade with time', () => {
    const spec: Spec = { ...onFailure, startLimit: { burst: 3, intervalMs: 10_000 } };
    const two = after(spec, [0, 10], [1000, 1010]);
    expect(decideRestart(run(1000, 1010), spec, two).type).toBe('start');
    const three = after(spec, [0, 10], [1000, 1010], [2000, 2010]);
    expect(decideRestart(run(2000, 2010), spec, three)).toMatchObject({ type: 'limit', starts: 3 });
    const slow = after(spec, [0, 10], [1000, 1010], [11_000, 11_010]);
    expect(decideRestart(run(11_000, 11_010), spec, slow).type).toBe('start');
    // Started by hand later: that is a new run, and a new verdict.
    const byHand = after(spec, [0, 10], [1000, 1010], [2000, 2010], [90_000, 90_010]);
    expect(decideRestart(run(90_000, 90_010), spec, byHand).type).toBe('start');
  });

  it('takes the end of one that was stopped for being unhealthy as a timeout, whatever its code', () => {
    const stoppedFor = { containerId: 'c1', startedAt: iso(0) };
    const memory = { ...after(onFailure, [0, 10]), stoppedFor };
    expect(decideRestart(run(0, 10, 0), onFailure, memory)).toMatchObject({
      cause: 'timeout',
      type: 'start',
    });
    expect(decideRestart(run(0, 10, 143), { restart: 'on-success' }, memory).type).toBe('stay');
    // The next run is another matter.
    expect(decideRestart(run(500, 600, 0), onFailure, memory).type).toBe('stay');
  });

  it('goes on with what was ended from outside, but for what runs once', () => {
    expect(decideRestart(run(0, 10, 0), onFailure, blankMemory, true)).toMatchObject({
      type: 'start',
      pauseMs: 0,
    });
    expect(decideRestart(run(0, 10, 255), { restart: 'no' }, blankMemory, true).type).toBe('stay');
  });
});

describe('restartPauseMs', () => {
  it.each([
    [undefined, 0, 100],
    [undefined, 1, 100],
    [undefined, 5, 1600],
    [undefined, 50, 60_000],
    [0, 1, 100],
    [5000, 1, 5000],
    [5000, 3, 20_000],
    [5000, 10, 60_000],
    [120_000, 4, 120_000],
  ])('first %s ms, %d short runs: %d ms', (first, runs, pause) => {
    expect(restartPauseMs(first, runs)).toBe(pause);
  });
});

it('the engine restarts only what it can restart exactly', () => {
  expect(engineRestarts({ restart: 'always' })).toBe(true);
  expect(engineRestarts({ restart: 'always', restartMs: 1 })).toBe(false);
  expect(engineRestarts({ restart: 'always', startLimit: { burst: 1, intervalMs: 1 } })).toBe(
    false,
  );
  expect(engineRestarts({ restart: 'on-failure' })).toBe(false);
});

describe('Interruptions', () => {
  it('are ends near the time in which the engine was away', async () => {
    const clock = new VirtualClock(start);
    const interruptions = new Interruptions(clock, undefined);
    interruptions.engine(true);
    await clock.advance(60_000);
    interruptions.engine(false);
    await clock.advance(5000);
    interruptions.engine(false);
    expect(interruptions.interrupted(run(0, 59_000))).toBe(false);
    interruptions.engine(true);
    expect(interruptions.interrupted(run(0, 59_000))).toBe(true);
    expect(interruptions.interrupted(run(0, 65_000))).toBe(true);
    expect(interruptions.interrupted(run(0, 30_000))).toBe(false);
    expect(interruptions.interrupted(run(66_000, 67_000))).toBe(false);
  });

  it('are ends of runs from before the machine was booted', () => {
    const interruptions = new Interruptions(new VirtualClock(start + 10_000), start + 5000);
    expect(interruptions.interrupted(run(0, 10))).toBe(true);
    expect(interruptions.interrupted(run(6000, 6010))).toBe(false);
  });
});

describe('the restarts that are counted', () => {
  it('are those of the engine, once each, however often it is looked at', () => {
    const spec: Spec = { restart: 'always' };
    const looks: InspectedContainer[] = [
      run(0),
      { ...run(0, 10), state: 'restarting', restartCount: 1 },
      { ...run(500), restartCount: 1 },
      { ...run(500, 510), state: 'restarting', restartCount: 2 },
      { ...run(900), restartCount: 2 },
    ];
    const memory = looks.reduce((m, seen) => remember(m, seen, spec), blankMemory);
    expect(memory.earlierRestarts + 2).toBe(2);
  });

  it('and those of the agent', () => {
    expect(after({ restart: 'on-failure' }, [0, 10], [500, 510], [900, 910]).earlierRestarts).toBe(
      2,
    );
  });
});

describe('a oneshot', () => {
  const spec = (restart: 'no' | 'on-failure'): Spec => ({ restart, oneshot: true });

  it.each([
    // The host went down: what had not come to its end begins anew, what had stays.
    ['no', 143, true, false, 'start'],
    ['no', 255, true, false, 'start'],
    ['on-failure', 0, true, false, 'stay'],
    ['no', 0, true, false, 'stay'],
    // Nothing happened to the host.
    ['no', 1, false, false, 'stay'],
    ['no', 143, false, false, 'stay'],
    ['on-failure', 1, false, false, 'start'],
    ['on-failure', 143, false, false, 'start'],
    ['on-failure', 0, false, false, 'stay'],
    // The operator has taken note of the end.
    ['no', 255, true, true, 'stay'],
    ['on-failure', 1, false, true, 'stay'],
  ] as const)('restart %s, exit code %d, interrupted %s, finished %s: %s', (...row) => {
    const [restart, exitCode, interrupted, finished, expected] = row;
    const ended = run(0, 1_000, exitCode);
    const decision = decideRestart(ended, spec(restart), blankMemory, interrupted, finished);
    expect(decision.type).toBe(expected);
  });
});
