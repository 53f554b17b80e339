import { randomInt } from 'node:crypto';
import { systemClock, type Clock } from '../../runtime/clock.ts';
import { exchange, type Upstream } from './upstream.ts';
import { rcode } from './wire.ts';

export interface ForwarderOptions {
  /** The host's resolvers in order of preference; asked for each query, so it should be cheap. */
  readonly upstreams: () => Promise<readonly Upstream[]>;
  /** How long to wait for one resolver. Default 1,500 ms: a stub resolver waits 5 s in all. */
  readonly timeoutMs?: number;
  /** After so long without an answer the next resolver is asked as well. Default 400 ms. */
  readonly patienceMs?: number;
  /** A resolver that failed is tried again after so long. Default 10,000 ms. */
  readonly retryMs?: number;
  /** How many queries may wait at once; more are turned away. Default 512. */
  readonly maxPending?: number;
  readonly clock?: Clock;
}

/** What one resolver made of a query: silence, or an answer that another might better. */
type Attempt = 'open' | 'silent' | 'unhelpful';

/**
 * Passes queries that are not nap's to the host's resolvers: to the first, and when it fails or is slow to the next. The one that
 * answered stays the first choice until a copy of a later query, sent to the one that failed, shows that it is back: no
 * asker waits for the trial.
 */
export class Forwarder {
  readonly #options: ForwarderOptions;
  readonly #clock: Clock;
  /** Resolvers that failed, asked last → monotonic time of the next trial. */
  readonly #failed = new Map<string, number>();
  #pending = 0;

  constructor(options: ForwarderOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /**
   * The best answer to `message`, with the message's own id; undefined when there is none: no resolver known, none answered,
   * or too many queries wait. A failure (SERVFAIL and the like) is given only when no resolver does better.
   */
  async forward(
    message: Buffer,
    transport: 'udp' | 'tcp',
    signal?: AbortSignal,
  ): Promise<Buffer | undefined> {
    if (this.#pending >= (this.#options.maxPending ?? 512)) return undefined;
    this.#pending += 1;
    try {
      const upstreams = await this.#options.upstreams();
      const working = upstreams.filter((upstream) => !this.#failed.has(id(upstream)));
      const failed = upstreams.filter((upstream) => this.#failed.has(id(upstream)));
      if (working.length > 0) this.#retry(failed, message, transport, signal);
      const answer = await this.#race([...working, ...failed], message, transport, signal);
      if (answer === undefined) return undefined;
      const result = Buffer.from(answer);
      message.copy(result, 0, 0, 2);
      return result;
    } finally {
      this.#pending -= 1;
    }
  }

  /** Asks one after the other until one answers well; the next as soon as one fails, or after a while of silence. */
  #race(
    upstreams: readonly Upstream[],
    message: Buffer,
    transport: 'udp' | 'tcp',
    signal?: AbortSignal,
  ): Promise<Buffer | undefined> {
    const stop = new AbortController();
    const abort = (): void => {
      stop.abort();
    };
    const attempts = new Map<Upstream, Attempt>();
    let cancelPatience = (): void => undefined;
    return new Promise<Buffer | undefined>((resolve) => {
      let unhelpful: Buffer | undefined;
      const next = (): void => {
        cancelPatience();
        const upstream = upstreams[attempts.size];
        if (stop.signal.aborted) resolve(undefined);
        else if (upstream !== undefined) ask(upstream);
        else if (![...attempts.values()].includes('open')) resolve(unhelpful);
      };
      const ask = (upstream: Upstream): void => {
        attempts.set(upstream, 'open');
        cancelPatience = this.#clock.schedule(next, this.#options.patienceMs ?? 400);
        void this.#ask(upstream, message, transport, stop.signal).then((answer) => {
          if (answer !== undefined && isHelpful(answer)) {
            attempts.delete(upstream);
            this.#failed.delete(id(upstream));
            // Who was asked before and has nothing to say is asked later from now on.
            this.#fail([...attempts.keys()]);
            resolve(answer);
            return;
          }
          attempts.set(upstream, answer === undefined ? 'silent' : 'unhelpful');
          unhelpful ??= answer;
          next();
        });
      };
      signal?.addEventListener('abort', abort, { once: true });
      if (signal?.aborted === true) abort();
      next();
    }).finally(() => {
      // When all say that they cannot, the fault may be the name's: only silence counts against a resolver then.
      if (signal?.aborted !== true) {
        this.#fail([...attempts].flatMap(([u, outcome]) => (outcome === 'silent' ? [u] : [])));
      }
      signal?.removeEventListener('abort', abort);
      cancelPatience();
      stop.abort();
    });
  }

  /** Sends a copy to those whose time has come, beside the query itself. */
  #retry(
    failed: readonly Upstream[],
    message: Buffer,
    transport: 'udp' | 'tcp',
    signal?: AbortSignal,
  ): void {
    const due = failed.filter((u) => (this.#failed.get(id(u)) ?? 0) <= this.#clock.monotonic());
    this.#fail(due);
    for (const upstream of due) {
      void this.#ask(upstream, message, transport, signal).then((answer) => {
        if (answer !== undefined && isHelpful(answer)) this.#failed.delete(id(upstream));
      });
    }
  }

  #fail(upstreams: readonly Upstream[]): void {
    const retryAt = this.#clock.monotonic() + (this.#options.retryMs ?? 10_000);
    for (const upstream of upstreams) this.#failed.set(id(upstream), retryAt);
  }

  #ask(
    upstream: Upstream,
    message: Buffer,
    transport: 'udp' | 'tcp',
    signal?: AbortSignal,
  ): Promise<Buffer | undefined> {
    // A fresh random id and a fresh source port for each query: RFC 5452 against forged answers.
    const query = Buffer.from(message);
    query.writeUInt16BE(randomInt(0x10000), 0);
    const { timeoutMs = 1_500 } = this.#options;
    return exchange(upstream, query, transport, { timeoutMs, clock: this.#clock }, signal);
  }
}

function id(upstream: Upstream): string {
  return `${upstream.address} ${upstream.port}`;
}

/** Whether asking another resolver is pointless: it has an answer, or knows that there is none. */
function isHelpful(answer: Buffer): boolean {
  const code = (answer[3] ?? 0) & 15;
  return code === rcode.noError || code === rcode.nameError;
}
