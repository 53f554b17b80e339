import { randomUUID } from 'node:crypto';
import type { Logger } from '../telemetry/log.ts';
import { systemClock, type Clock } from './clock.ts';
import { deadline } from './deadline.ts';
import { asError, retryAfterMsOf, TerminalError } from './errors.ts';
import { Workqueue } from './workqueue.ts';

/** What a pass that went well asks for. */
export interface Result {
  /** Look at the key again after this many milliseconds, even if nothing changes. */
  readonly requeueAfterMs?: number;
}

/**
 * One level-triggered pass: make the world as the object called `key` wants it, whatever happened since
 * the last pass. Throwing asks for another try with backoff; TerminalError asks for none. Must
 * stop soon after `signal` aborts (shutdown, or the pass took too long).
 */
export type Reconcile = (
  key: string,
  log: Logger,
  signal: AbortSignal,
  // eslint-disable-next-line @typescript-eslint/no-invalid-void-type -- most passes have nothing to ask for
) => Promise<Result | void>;

/** How a pass ended. */
export type Outcome = 'success' | 'requeueAfter' | 'error' | 'terminalError';

/** Told about every pass; must not throw. `telemetry/metrics.ts` has the Prometheus one. */
export interface ControllerObserver {
  passed(controller: string, outcome: Outcome, durationMs: number): void;
  /** Called when the figures may have changed. */
  queue(controller: string, depth: number, active: number): void;
}

export interface ControllerOptions {
  /** For logs and metrics. */
  readonly name: string;
  readonly reconcile: Reconcile;
  readonly log: Logger;
  /** Passes that may run at a time (on different keys). Default 4. */
  readonly workers?: number;
  /** A pass that takes longer is aborted and retried. Default 60,000 ms. */
  readonly timeoutMs?: number;
  /** Default: the machine's clock. */
  readonly clock?: Clock;
  /** Default: an own queue with the default rate limit. */
  readonly queue?: Workqueue;
  readonly observer?: ControllerObserver;
}

/** A pass that still runs this long after its abort is reported: it ignores its signal. */
const ignoresSignalAfterMs = 10_000;

/**
 * Workers over a queue of keys (the controller of controller-runtime). Event handlers only `enqueue`;
 * passes for one key never overlap; whatever a pass throws is caught, logged and retried with backoff.
 */
export class Controller {
  readonly name: string;
  readonly queue: Workqueue;
  readonly #options: ControllerOptions;
  readonly #clock: Clock;
  readonly #log: Logger;

  constructor(options: ControllerOptions) {
    this.name = options.name;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#log = options.log.child({ controller: options.name });
    this.queue = options.queue ?? new Workqueue({ clock: this.#clock });
  }

  /** Asks for a pass over `key`. Cheap, never throws. */
  enqueue(key: string): void {
    this.queue.add(key);
    this.#report();
  }

  /** Asks for a pass over `key` in `delayMs`. */
  enqueueAfter(key: string, delayMs: number): void {
    this.queue.addAfter(key, delayMs);
  }

  /**
   * Works until `signal` aborts; resolves when the last running pass has ended, and leaves no timer behind. Never
   * rejects. Call once.
   */
  async run(signal: AbortSignal): Promise<void> {
    const workers = Array.from({ length: this.#options.workers ?? 4 }, () => this.#work(signal));
    await Promise.all(workers);
    this.queue.shutDown();
  }

  async #work(signal: AbortSignal): Promise<void> {
    for (;;) {
      const key = await this.queue.take(signal);
      if (key === undefined) return;
      if (signal.aborted) {
        this.queue.done(key);
        return;
      }
      this.#report();
      await this.#pass(key, signal);
      this.queue.done(key);
      this.#report();
    }
  }

  /** Runs one pass over `key` and files what it asks for. Never rejects. */
  async #pass(key: string, signal: AbortSignal): Promise<void> {
    const log = this.#log.child({ key, reconcileID: randomUUID() });
    const startedAt = this.#clock.monotonic();
    let outcome: Outcome;
    try {
      const result = await this.#runWithTimeout(key, log, signal);
      this.queue.forget(key);
      const requeueAfterMs = result?.requeueAfterMs;
      if (requeueAfterMs !== undefined) this.queue.addAfter(key, requeueAfterMs);
      outcome = requeueAfterMs === undefined ? 'success' : 'requeueAfter';
    } catch (thrown) {
      outcome = this.#failed(key, asError(thrown), log, signal);
    }
    const durationMs = this.#clock.monotonic() - startedAt;
    log.debug({ outcome, durationMs }, 'pass done');
    this.#options.observer?.passed(this.name, outcome, durationMs);
  }

  async #runWithTimeout(
    key: string,
    log: Logger,
    signal: AbortSignal,
  ): Promise<Result | undefined> {
    const timeoutMs = this.#options.timeoutMs ?? 60_000;
    const limit = deadline(this.#clock, timeoutMs, `the pass over ${key}`, signal);
    const cancelReport = this.#clock.schedule(() => {
      log.error(
        'a pass goes on although its signal has aborted; its worker is stuck until it ends',
      );
    }, timeoutMs + ignoresSignalAfterMs);
    try {
      // Waits for the pass even after its abort: a second pass over the key must not start beside it.
      const result = await this.#options.reconcile(key, log, limit.signal);
      return result ?? undefined;
    } finally {
      cancelReport();
      limit.dispose();
    }
  }

  #failed(key: string, error: Error, log: Logger, signal: AbortSignal): Outcome {
    if (error instanceof TerminalError) {
      this.queue.forget(key);
      log.error({ err: error }, 'pass failed for good; waiting for a change');
      return 'terminalError';
    }
    // The end of the process is no failure of the pass; the key is looked at again after the next start.
    if (signal.aborted) return 'error';
    this.queue.addRateLimited(key, retryAfterMsOf(error));
    log.warn({ err: error, retries: this.queue.retries(key) }, 'pass failed; will be retried');
    return 'error';
  }

  #report(): void {
    this.#options.observer?.queue(this.name, this.queue.length, this.queue.processing);
  }
}
