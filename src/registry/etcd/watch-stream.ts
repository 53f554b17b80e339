import type { Duplex } from 'node:stream';
import type { IWatchCreateRequest, IWatchResponse } from 'etcd3';
import { UnavailableError } from '../store.ts';
import type { EtcdClient } from './client.ts';

/** Silence after which the server is asked for a sign of life. */
const quietMs = 5_000;
/** Time that it has to give one. Together they are below 15 s, the time in which gRPC's own pings notice. */
const answerMs = 4_000;
/** Responses that may wait for the receiver before the stream is stopped. */
const highWater = 64;

/** One raw watch: the server's responses in order. Throws when the stream fails or falls silent. */
export interface WatchStream extends AsyncIterable<IWatchResponse> {
  close(): void;
}

/** Opens a stream of its own for one watch, so that watches do not fail together or wait for each other. */
export async function openWatchStream(
  client: EtcdClient,
  request: IWatchCreateRequest,
  signal: AbortSignal,
): Promise<WatchStream> {
  const raw = (await client.watches.watch()) as unknown as Duplex & { cancel(): void };
  return new RawWatchStream(client, raw, request, signal);
}

class RawWatchStream implements WatchStream {
  readonly #client: EtcdClient;
  readonly #raw: Duplex & { cancel(): void };
  readonly #signal: AbortSignal;
  readonly #queue: IWatchResponse[] = [];
  #failure: Error | undefined;
  #wake: () => void = () => undefined;
  #cancelTimer: () => void = () => undefined;

  constructor(
    client: EtcdClient,
    raw: Duplex & { cancel(): void },
    request: IWatchCreateRequest,
    signal: AbortSignal,
  ) {
    this.#client = client;
    this.#raw = raw;
    this.#signal = signal;
    raw.on('data', (response: IWatchResponse) => {
      this.#queue.push(response);
      // While we hold the stream back ourselves, its silence says nothing.
      if (this.#queue.length >= highWater) raw.pause();
      this.#watchOver();
      this.#wake();
    });
    raw.on('error', (error: Error) => {
      this.#fail(error);
    });
    raw.on('end', () => {
      this.#fail(new UnavailableError('the watch stream ended'));
    });
    signal.addEventListener('abort', this.#onAbort);
    raw.write({ create_request: request });
    this.#expectAnswer();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<IWatchResponse, void, undefined> {
    for (;;) {
      const response = this.#queue.shift();
      if (response !== undefined) {
        yield response;
        continue;
      }
      this.#signal.throwIfAborted();
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#raw.isPaused()) {
        this.#raw.resume();
        this.#watchOver();
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  close(): void {
    this.#cancelTimer();
    this.#signal.removeEventListener('abort', this.#onAbort);
    this.#failure ??= new UnavailableError('the watch stream is closed');
    // After end(), etcd3 takes the cancellation for what it is and keeps the connection.
    this.#raw.end();
    this.#raw.cancel();
  }

  readonly #onAbort = (): void => {
    this.#wake();
  };

  /** Restarts the wait for the next response. */
  #watchOver(): void {
    this.#cancelTimer();
    if (this.#failure !== undefined || this.#raw.isPaused()) return;
    this.#cancelTimer = this.#client.clock.schedule(() => {
      this.#raw.write({ progress_request: {} });
      this.#expectAnswer();
    }, quietMs);
  }

  #expectAnswer(): void {
    this.#cancelTimer = this.#client.clock.schedule(() => {
      // Cancelled without end(): etcd3 drops the connection and the next stream takes a new one.
      this.#raw.cancel();
      this.#fail(new UnavailableError('etcd fell silent'));
    }, answerMs);
  }

  #fail(error: Error): void {
    this.#cancelTimer();
    this.#failure ??= error;
    this.#wake();
  }
}
