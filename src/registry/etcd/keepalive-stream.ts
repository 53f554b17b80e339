import type { Duplex } from 'node:stream';
import type { ILeaseKeepAliveRequest, ILeaseKeepAliveResponse, IDuplexStream } from 'etcd3';
import { UnavailableError } from '../store.ts';
import type { EtcdClient } from './client.ts';
import { toStoreError } from './errors.ts';
import { deadline } from '../../runtime/deadline.ts';

type Stream = IDuplexStream<ILeaseKeepAliveRequest, ILeaseKeepAliveResponse>;

export interface Renewal {
  /** Life that the store granted from when it received the renewal. 0: the lease is gone. */
  readonly ttlMs: number;
  /** Monotonic time at which the renewal was sent. */
  readonly sentAt: number;
}

/** One lease's stream of renewals, opened when needed and thrown away after any fault. One renewal at a time. */
export class KeepaliveStream {
  readonly #client: EtcdClient;
  readonly #id: string;
  #stream: Stream | undefined;

  constructor(client: EtcdClient, leaseId: string) {
    this.#client = client;
    this.#id = leaseId;
  }

  /**
   * Sends a renewal and waits for its answer. UnavailableError when there is none within `timeoutMs` or the
   * stream breaks: the next call takes a new connection, to another member if there is one.
   */
  async renew(timeoutMs: number, signal: AbortSignal): Promise<Renewal> {
    const late = (): Error => new UnavailableError('no answer to a lease renewal');
    const limit = deadline(this.#client.clock, timeoutMs, late, signal);
    try {
      return await this.#exchange(limit.signal);
    } catch (error) {
      this.#discard();
      throw toStoreError(error);
    } finally {
      limit.dispose();
    }
  }

  /** Ends the stream in peace. */
  close(): void {
    const stream = this.#stream;
    this.#stream = undefined;
    stream?.end();
    stream?.cancel();
  }

  async #exchange(signal: AbortSignal): Promise<Renewal> {
    this.#stream ??= await this.#open();
    const stream = this.#stream;
    return await new Promise((resolve, reject) => {
      const emitter = stream as unknown as Duplex;
      const sentAt = this.#client.clock.monotonic();
      const done = (): void => {
        emitter.off('data', onData);
        emitter.off('error', onError);
        emitter.off('end', onEnd);
        signal.removeEventListener('abort', onAbort);
      };
      const onData = (answer: ILeaseKeepAliveResponse): void => {
        done();
        resolve({ ttlMs: Number(answer.TTL) * 1000, sentAt });
      };
      const onError = (error: Error): void => {
        done();
        reject(error);
      };
      const onEnd = (): void => {
        onError(new UnavailableError('the stream of lease renewals ended'));
      };
      const onAbort = (): void => {
        onError(signal.reason as Error);
      };
      emitter.on('data', onData);
      emitter.on('error', onError);
      emitter.on('end', onEnd);
      signal.addEventListener('abort', onAbort);
      if (signal.aborted) onAbort();
      else stream.write({ ID: this.#id });
    });
  }

  async #open(): Promise<Stream> {
    const stream = await this.#client.leases.leaseKeepAlive();
    // An error with nobody waiting for an answer: the next renewal finds out.
    stream.on('error', () => {
      if (this.#stream === stream) this.#stream = undefined;
    });
    stream.on('end', () => {
      if (this.#stream === stream) this.#stream = undefined;
    });
    return stream;
  }

  /** Cancelling a stream that is not ended makes etcd3 drop the connection under it, too. */
  #discard(): void {
    const stream = this.#stream;
    this.#stream = undefined;
    stream?.cancel();
  }
}
