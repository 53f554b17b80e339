import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../../test/support/virtual-clock.ts';
import { silentLogger } from '../telemetry/log.ts';
import { supervise, type Task } from './supervise.ts';

const untilAborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    signal.addEventListener('abort', () => {
      resolve();
    });
  });

const options = () => ({ log: silentLogger, clock: new VirtualClock() });

describe('supervise', () => {
  it('stops everything when one task fails, waits for the others, and says who it was', async () => {
    let cleanedUp = false;
    const tasks: Task[] = [
      {
        name: 'steady',
        run: async (signal) => {
          await untilAborted(signal);
          await new Promise(setImmediate);
          cleanedUp = true;
        },
      },
      { name: 'broken', run: () => Promise.reject(new Error('port taken')) },
    ];
    await expect(supervise(tasks, options(), new AbortController().signal)).rejects.toThrow(
      'port taken',
    );
    expect(cleanedUp).toBe(true);
  });

  it('takes a loop that ends by itself for broken', async () => {
    const tasks = [{ name: 'watcher', run: () => Promise.resolve() }];
    await expect(supervise(tasks, options(), new AbortController().signal)).rejects.toThrow(
      'watcher ended unexpectedly',
    );
  });

  it('restarts a task that may be, with growing pauses, until the signal', async () => {
    const { log, clock } = options();
    const stop = new AbortController();
    const at: number[] = [];
    const flaky: Task = {
      name: 'flaky',
      restart: { baseMs: 100, capMs: 400, random: () => 1 },
      run: () => {
        at.push(clock.monotonic());
        return Promise.reject(new Error('again'));
      },
    };
    const ended = supervise([flaky], { log, clock }, stop.signal);
    await clock.advance(1200);
    expect(at).toEqual([0, 100, 300, 700, 1100]);
    stop.abort();
    await ended;
    expect(clock.pending).toBe(0);
  });
});
