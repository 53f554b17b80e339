/**
 * A lease whose holder knows in time that it is lost. etcd counts a lease's life from the moment when it received
 * the last renewal, which is not before we sent it. So at (send time of the last acknowledged renewal) + TTL the keys may be gone,
 * and a margin before that the holder is told, by the local monotonic clock alone.
 * (A machine that is suspended stops that clock on Linux; the first renewal after it tells the truth.)
 */
import type { Clock } from '../../runtime/clock.ts';
import { LeaseLostError, UnavailableError, type Lease } from '../store.ts';
import type { EtcdClient } from './client.ts';
import { KeepaliveStream } from './keepalive-stream.ts';

/** Smallest TTL: etcd's own minimum with its default election timeout is 2 s. */
const minTtlSeconds = 2;

/** For the timers' lateness and for two clocks that run at different speeds. */
function marginOf(ttlMs: number): number {
  return Math.min(1_000, Math.max(250, ttlMs / 10));
}

/** See Store.grantLease. */
export async function grantLease(
  client: EtcdClient,
  ttlMs: number,
  signal?: AbortSignal,
): Promise<EtcdLease> {
  const seconds = Math.max(minTtlSeconds, Math.ceil(ttlMs / 1000));
  let sentAt = 0;
  const answer = await client.repeat(() => {
    sentAt = client.clock.monotonic();
    return client.leases.leaseGrant({ TTL: String(seconds) });
  }, signal);
  client.note(answer.header);
  return new EtcdLease(client, answer.ID, Number(answer.TTL) * 1000, sentAt);
}

export class EtcdLease implements Lease {
  readonly id: string;
  readonly ttlMs: number;
  readonly lost: AbortSignal;
  readonly #client: EtcdClient;
  readonly #clock: Clock;
  readonly #abort = new AbortController();
  readonly #marginMs: number;
  /** Monotonic time up to which the lease is proved alive. */
  #deadline: number;
  #cancelWatchdog: () => void = () => undefined;

  /** @param sentAt monotonic time at which the request for the lease was sent. */
  constructor(client: EtcdClient, id: string, ttlMs: number, sentAt: number) {
    this.#client = client;
    this.#clock = client.clock;
    this.id = id;
    this.ttlMs = ttlMs;
    this.lost = this.#abort.signal;
    this.#marginMs = marginOf(ttlMs);
    this.#deadline = sentAt + ttlMs - this.#marginMs;
    this.#armWatchdog();
    void this.#renew();
  }

  remainingMs(): number {
    if (this.lost.aborted) return 0;
    return Math.max(0, this.#deadline - this.#clock.monotonic());
  }

  assertAlive(): void {
    if (this.remainingMs() <= 0) throw new LeaseLostError(`lease ${this.id} is lost`);
  }

  async release(signal?: AbortSignal): Promise<void> {
    this.#lose('released');
    try {
      await this.#client.once(() => this.#client.leases.leaseRevoke({ ID: this.id }), signal);
    } catch (error) {
      // Best effort: what was not revoked expires.
      this.#client.log.debug({ err: error, lease: this.id }, 'a lease could not be revoked');
    }
  }

  abandon(): void {
    this.#lose('abandoned');
  }

  #lose(why: string): void {
    this.#cancelWatchdog();
    if (!this.lost.aborted) this.#abort.abort(new LeaseLostError(`lease ${this.id}: ${why}`));
  }

  #armWatchdog(): void {
    this.#cancelWatchdog = this.#clock.schedule(() => {
      if (this.remainingMs() <= 0) this.#lose('not renewed in time');
      else this.#armWatchdog();
    }, this.#deadline - this.#clock.monotonic());
  }

  /**
   * Renews four times in a TTL until the lease is lost; after a failure sooner, over a new connection.
   * A member that knows no leader looks again for one every election timeout (1 s by default; `waitLeader` in
   * etcd's server/etcdserver/v3_server.go): a request that is given up before that only loses its place.
   */
  async #renew(): Promise<void> {
    const stream = new KeepaliveStream(this.#client, this.id);
    const interval = this.ttlMs / 4;
    let failures = 0;
    try {
      for (;;) {
        await this.#client.pause(
          failures === 0 ? interval : this.#client.backoff(failures, interval / 4),
          this.lost,
        );
        try {
          const renewal = await stream.renew(interval, this.lost);
          if (renewal.ttlMs <= 0) {
            this.#lose('the store does not know it any more');
            return;
          }
          this.#deadline = Math.max(
            this.#deadline,
            renewal.sentAt + renewal.ttlMs - this.#marginMs,
          );
          failures = 0;
        } catch (error) {
          if (!(error instanceof UnavailableError)) throw error;
          failures++;
          this.#client.log.debug(
            { reason: error.message, lease: this.id },
            'a lease renewal failed',
          );
        }
      }
    } catch (error) {
      this.#lose(error instanceof Error ? error.message : String(error));
    } finally {
      stream.close();
    }
  }
}
