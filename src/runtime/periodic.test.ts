import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../../test/support/virtual-clock.ts';
import { createLogger, silentLogger } from '../telemetry/log.ts';
import { runPeriodically, type PeriodicOptions } from './periodic.ts';
import { Trigger } from './trigger.ts';

function start(
  pass: (at: number, clock: VirtualClock) => Promise<void> | void,
  options: Partial<PeriodicOptions> = {},
) {
  const clock = new VirtualClock();
  const trigger = new Trigger();
  const stop = new AbortController();
  const at: number[] = [];
  const ended = runPeriodically(
    {
      name: 'test',
      intervalMs: 1000,
      trigger,
      log: silentLogger,
      clock,
      random: () => 1,
      ...options,
    },
    async () => {
      at.push(clock.monotonic());
      await pass(clock.monotonic(), clock);
    },
    stop.signal,
  );
  const finish = async (): Promise<void> => {
    stop.abort();
    await ended;
  };
  return { clock, trigger, at, finish };
}

const sleepOn = (clock: VirtualClock, ms: number): Promise<void> =>
  new Promise((resolve) => {
    clock.schedule(resolve, ms);
  });

describe('runPeriodically', () => {
  it('runs at once and then every interval', async () => {
    const { clock, at, finish } = start(() => undefined);
    await clock.advance(2500);
    expect(at).toEqual([0, 1000, 2000]);
    await finish();
    expect(clock.pending).toBe(0);
  });

  it('runs at once on a hint, once for many, and counts the interval from there', async () => {
    const { clock, trigger, at, finish } = start(() => undefined);
    await clock.advance(300);
    for (let i = 0; i < 5; i++) trigger.fire();
    await clock.advance(1500);
    expect(at).toEqual([0, 300, 1300]);
    await finish();
  });

  it('makes one more pass for hints that come during a pass, never two at a time', async () => {
    const { clock, trigger, at, finish } = start((_now, c) => sleepOn(c, 400));
    await clock.advance(100);
    trigger.fire();
    trigger.fire();
    await clock.advance(900);
    expect(at).toEqual([0, 400]);
    await finish();
  });

  it('keeps its distance in a storm of hints', async () => {
    const { clock, trigger, at, finish } = start(() => undefined, { minGapMs: 100 });
    for (let i = 0; i < 45; i++) {
      trigger.fire();
      await clock.advance(10);
    }
    expect(at).toEqual([0, 100, 200, 300, 400]);
    await finish();
  });

  it('goes on after a pass that throws, sooner than the interval at first', async () => {
    const { clock, at, finish } = start(
      (now) => {
        if (now < 60_000) throw new Error('no');
      },
      { intervalMs: 30_000 },
    );
    await clock.advance(100_000);
    expect(at.slice(0, 4)).toEqual([0, 500, 1500, 3500]);
    expect(at.at(-1)! - at.at(-2)!).toBe(30_000);
    await finish();
  });

  it('warns about a slow pass', async () => {
    const lines: string[] = [];
    const log = createLogger('warn', { write: (line) => lines.push(line) });
    const { clock, finish } = start((now, c) => (now === 0 ? sleepOn(c, 1500) : undefined), {
      log,
    });
    await clock.advance(1600);
    expect(lines.join('')).toContain('slow pass');
    await finish();
  });
});
