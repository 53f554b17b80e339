import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../../test/support/virtual-clock.ts';
import { ExponentialRateLimiter } from './rate-limiter.ts';
import { Workqueue } from './workqueue.ts';

/** The queue as its promise says it: who needs a pass, who has one running, and in which order they come out. */
class Model {
  order: string[] = [];
  readonly again = new Set<string>();
  readonly running = new Set<string>();
  /** Due time of each delayed key. */
  readonly delayed = new Map<string, number>();
  now = 0;

  add(key: string): void {
    if (this.running.has(key)) this.again.add(key);
    else if (!this.order.includes(key)) this.order.push(key);
  }

  addAfter(key: string, delayMs: number): void {
    if (delayMs === 0) this.add(key);
    else {
      const at = this.now + delayMs;
      this.delayed.set(key, Math.min(at, this.delayed.get(key) ?? at));
    }
  }

  advance(ms: number): void {
    this.now += ms;
    const due = [...this.delayed].filter(([, at]) => at <= this.now);
    for (const [key] of due.sort((a, b) => a[1] - b[1])) {
      this.delayed.delete(key);
      this.add(key);
    }
  }

  take(): string | undefined {
    const key = this.order.shift();
    if (key !== undefined) this.running.add(key);
    return key;
  }

  done(key: string): void {
    this.running.delete(key);
    if (this.again.delete(key)) this.order.push(key);
  }
}

interface Real {
  readonly clock: VirtualClock;
  readonly queue: Workqueue;
}

const commands = (keys: fc.Arbitrary<string>): fc.Arbitrary<fc.AsyncCommand<Model, Real>>[] => [
  keys.map((key) => ({
    check: () => true,
    run: async (model, real) => {
      model.add(key);
      real.queue.add(key);
    },
    toString: () => `add(${key})`,
  })),
  // Delays of different keys are kept apart, so that the model need not know in which order equal ones fire.
  fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.nat(20)).map(([key, steps]) => {
    const delayMs = steps === 0 ? 0 : steps * 10 + key.charCodeAt(0) - 96;
    return {
      check: () => true,
      run: async (model: Model, real: Real) => {
        model.addAfter(key, delayMs);
        real.queue.addAfter(key, delayMs);
      },
      toString: () => `addAfter(${key}, ${delayMs})`,
    };
  }),
  fc.constant({
    check: (model: Readonly<Model>) => model.order.length > 0,
    run: async (model: Model, real: Real) => {
      expect(model.running).not.toContain(model.order[0]);
      expect(await real.queue.take()).toBe(model.take());
    },
    toString: () => 'take()',
  }),
  keys.map((key) => ({
    check: (model) => model.running.has(key),
    run: async (model, real) => {
      model.done(key);
      real.queue.done(key);
    },
    toString: () => `done(${key})`,
  })),
  fc.integer({ min: 1, max: 10 }).map((steps) => ({
    check: () => true,
    run: async (model: Model, real: Real) => {
      await real.clock.advance(steps * 10);
      model.advance(steps * 10);
    },
    toString: () => `advance(${steps * 10})`,
  })),
];

describe('Workqueue', () => {
  it('behaves as promised whatever is done to it', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.commands(commands(fc.constantFrom('a', 'b', 'c', 'd')), { maxCommands: 40 }),
        async (list) => {
          const clock = new VirtualClock();
          const setup = () => ({
            model: new Model(),
            real: { clock, queue: new Workqueue({ clock }) },
          });
          let state: ReturnType<typeof setup> | undefined;
          await fc.asyncModelRun(() => (state = setup()), list);
          expect(state?.real.queue.length).toBe(state?.model.order.length);
          expect(state?.real.queue.delayed).toBe(state?.model.delayed.size);
          expect(state?.real.queue.processing).toBe(state?.model.running.size);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('never gives one key to two workers and loses no change, with many of both', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.nat(3)), {
          minLength: 1,
          maxLength: 60,
        }),
        async (changes) => {
          const queue = new Workqueue();
          const current = new Map<string, number>();
          const handled = new Map<string, number>();
          const busy = new Set<string>();
          const work = async (): Promise<void> => {
            for (let key; (key = await queue.take()) !== undefined;) {
              expect(busy).not.toContain(key);
              busy.add(key);
              const seen = current.get(key)!;
              await Promise.resolve();
              await Promise.resolve();
              handled.set(key, seen);
              busy.delete(key);
              queue.done(key);
            }
          };
          const workers = [work(), work(), work()];
          for (const [key, pause] of changes) {
            current.set(key, (current.get(key) ?? 0) + 1);
            queue.add(key);
            for (let i = 0; i < pause; i++) await Promise.resolve();
          }
          while (queue.length + queue.processing > 0) await new Promise(setImmediate);
          queue.shutDown();
          await Promise.all(workers);
          expect(handled).toEqual(current);
        },
      ),
    );
  });

  it('hands a key to a worker that waits', async () => {
    const queue = new Workqueue();
    const taken = queue.take();
    queue.add('a');
    expect(await taken).toBe('a');
  });

  it('lets a waiting worker go when its signal aborts, without losing a key to it', async () => {
    const queue = new Workqueue();
    const stop = new AbortController();
    const taken = queue.take(stop.signal);
    stop.abort();
    queue.add('a');
    expect(await taken).toBeUndefined();
    expect(await queue.take()).toBe('a');
  });

  it('waits longer for each failure of a key, until it is forgotten', async () => {
    const clock = new VirtualClock();
    const queue = new Workqueue({ clock, rateLimiter: new ExponentialRateLimiter(10, 1000) });
    const waited = async (leastMs?: number): Promise<number> => {
      queue.addRateLimited('a', leastMs);
      const startedAt = clock.monotonic();
      while (queue.length === 0) await clock.advance(5);
      queue.done((await queue.take())!);
      return clock.monotonic() - startedAt;
    };
    expect([await waited(), await waited(), await waited()]).toEqual([10, 20, 40]);
    expect(queue.retries('a')).toBe(3);
    queue.forget('a');
    expect(await waited()).toBe(10);
    expect(await waited(300)).toBe(300);
  });

  it('drains what is queued after shutDown and takes nothing more', async () => {
    const clock = new VirtualClock();
    const queue = new Workqueue({ clock });
    queue.add('a');
    queue.addAfter('b', 10);
    queue.shutDown();
    queue.add('c');
    await clock.advance(20);
    expect([await queue.take(), await queue.take()]).toEqual(['a', undefined]);
    expect(clock.pending).toBe(0);
  });

  it('stays quick with many keys', async () => {
    const queue = new Workqueue();
    for (let i = 0; i < 50_000; i++) queue.add(`k${i}`);
    for (let i = 0; i < 50_000; i++) queue.done((await queue.take())!);
    expect(queue.length).toBe(0);
  });
});
