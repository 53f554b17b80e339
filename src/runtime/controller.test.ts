import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../../test/support/virtual-clock.ts';
import { createLogger, silentLogger } from '../telemetry/log.ts';
import { Controller, type ControllerOptions, type Outcome } from './controller.ts';
import { TerminalError } from './errors.ts';

function start(options: Partial<ControllerOptions> & Pick<ControllerOptions, 'reconcile'>) {
  const clock = new VirtualClock();
  const stop = new AbortController();
  const outcomes: Outcome[] = [];
  const controller = new Controller({
    name: 'test',
    log: silentLogger,
    clock,
    observer: { passed: (_name, outcome) => outcomes.push(outcome), queue: () => undefined },
    ...options,
  });
  const ended = controller.run(stop.signal);
  const finish = async (): Promise<void> => {
    stop.abort(new Error('stop'));
    await ended;
  };
  return { controller, clock, outcomes, finish, stop };
}

describe('Controller', () => {
  it('retries what throws, however it throws, and stops when it succeeds', async () => {
    let passes = 0;
    const { controller, clock, outcomes, finish } = start({
      reconcile: (key) => {
        passes++;
        // eslint-disable-next-line @typescript-eslint/only-throw-error -- libraries do
        if (passes === 1) throw 'a string, synchronously';
        if (passes === 2) return Promise.reject(new Error(key));
        return Promise.resolve();
      },
    });
    controller.enqueue('a');
    await clock.advance(1000);
    expect(outcomes).toEqual(['error', 'error', 'success']);
    expect(controller.queue.retries('a')).toBe(0);
    await finish();
  });

  it('leaves no timer behind when it stops', async () => {
    const { controller, clock, finish } = start({
      reconcile: async (key) => {
        if (key === 'failing') throw new Error('again');
        return { requeueAfterMs: 3_600_000 };
      },
    });
    for (const key of ['failing', 'later']) controller.enqueue(key);
    await clock.advance(1000);
    expect(clock.pending).toBeGreaterThan(0);
    await finish();
    expect(clock.pending).toBe(0);
  });

  it('does not retry a TerminalError, but looks again at the next change', async () => {
    const { controller, clock, outcomes, finish } = start({
      reconcile: async () => {
        throw new TerminalError('no image');
      },
    });
    controller.enqueue('a');
    await clock.advance(600_000);
    expect(outcomes).toEqual(['terminalError']);
    controller.enqueue('a');
    await clock.advance(0);
    expect(outcomes).toHaveLength(2);
    await finish();
  });

  it('comes back when the pass asked for it', async () => {
    const at: number[] = [];
    const { controller, clock, finish } = start({
      reconcile: async () => {
        at.push(clock.monotonic());
        return at.length < 3 ? { requeueAfterMs: 500 } : undefined;
      },
    });
    controller.enqueue('a');
    await clock.advance(10_000);
    expect(at).toEqual([0, 500, 1000]);
    await finish();
  });

  it('waits as long as an error says', async () => {
    const at: number[] = [];
    const { controller, clock, finish } = start({
      reconcile: async () => {
        at.push(clock.monotonic());
        if (at.length === 1) throw Object.assign(new Error('busy'), { retryAfterMs: 3000 });
      },
    });
    controller.enqueue('a');
    await clock.advance(10_000);
    expect(at).toEqual([0, 3000]);
    await finish();
  });

  it('aborts a pass that takes too long, and starts no other on its key before it has ended', async () => {
    let running = 0;
    let most = 0;
    let passes = 0;
    const { controller, clock, outcomes, finish } = start({
      timeoutMs: 1000,
      reconcile: (_key, _log, signal) =>
        new Promise((resolve, reject) => {
          passes++;
          most = Math.max(most, ++running);
          const end = (settle: () => void): void => {
            running--;
            settle();
          };
          if (passes > 1) end(resolve);
          // Notices the abort late.
          signal.addEventListener('abort', () =>
            clock.schedule(() => {
              end(() => {
                reject(signal.reason as Error);
              });
            }, 5000),
          );
        }),
    });
    controller.enqueue('a');
    await clock.advance(2000);
    controller.enqueue('a');
    await clock.advance(3999);
    expect(passes).toBe(1);
    await clock.advance(1000);
    expect(outcomes[0]).toBe('error');
    expect(outcomes.at(-1)).toBe('success');
    expect(most).toBe(1);
    await finish();
  });

  it('runs as many passes at a time as it has workers', async () => {
    const waiting: (() => void)[] = [];
    const { controller, clock, finish } = start({
      workers: 2,
      reconcile: () =>
        new Promise((resolve) => {
          waiting.push(resolve);
        }),
    });
    for (const key of ['a', 'b', 'c']) controller.enqueue(key);
    await clock.advance(0);
    expect(waiting).toHaveLength(2);
    waiting[0]!();
    await clock.advance(0);
    expect(waiting).toHaveLength(3);
    for (const end of waiting) end();
    await finish();
  });

  it('on stop, aborts the running pass, waits for it, and calls that no failure', async () => {
    const lines: string[] = [];
    let ended = false;
    const { controller, clock, stop, finish } = start({
      log: createLogger('warn', { write: (line) => lines.push(line) }),
      reconcile: (_key, _log, signal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            ended = true;
            reject(signal.reason as Error);
          });
        }),
    });
    controller.enqueue('a');
    await clock.advance(0);
    stop.abort(new Error('bye'));
    await finish();
    expect(ended).toBe(true);
    expect(lines).toEqual([]);
    expect(controller.queue.delayed).toBe(0);
  });

  it('names controller, key and pass in every line that a pass logs', async () => {
    const lines: string[] = [];
    const { controller, clock, finish } = start({
      log: createLogger('info', { write: (line) => lines.push(line) }),
      reconcile: async (_key, log) => {
        log.info('hello');
      },
    });
    controller.enqueue('ns/a');
    await clock.advance(0);
    const line = JSON.parse(lines[0]!) as Record<string, unknown>;
    expect(line).toMatchObject({ controller: 'test', key: 'ns/a', msg: 'hello' });
    expect(line['reconcileID']).toMatch(/^[0-9a-f-]{36}$/);
    await finish();
  });
});
