import type { Clock } from '../../runtime/clock.ts';
import { LeaseLostError, type Lease } from '../store.ts';
import type { MemoryDatabase } from './database.ts';

/** Whether the holder can reach the database just now. */
export type Reachable = () => boolean;

/**
 * A lease on a MemoryDatabase. One object plays both sides: the server's timer, which drops the lease at the last
 * renewal + TTL, and the holder's, which renews four times in a TTL while the database is reachable
 * and presumes death a margin earlier.
 */
export class MemoryLease implements Lease {
  readonly id: string;
  readonly ttlMs: number;
  readonly lost: AbortSignal;
  readonly #database: MemoryDatabase;
  readonly #clock: Clock;
  readonly #reachable: Reachable;
  readonly #abort = new AbortController();
  readonly #marginMs: number;
  #renewedAt: number;
  #cancelHolder: () => void = () => undefined;
  #cancelServer: () => void = () => undefined;

  constructor(database: MemoryDatabase, ttlMs: number, clock: Clock, reachable: Reachable) {
    this.#database = database;
    this.#clock = clock;
    this.#reachable = reachable;
    this.id = database.createLease();
    this.ttlMs = ttlMs;
    this.#marginMs = Math.min(1000, Math.max(250, ttlMs / 10));
    this.lost = this.#abort.signal;
    this.#renewedAt = clock.monotonic();
    this.#armServer();
    this.#armHolder();
  }

  remainingMs(): number {
    if (this.lost.aborted) return 0;
    return Math.max(0, this.#renewedAt + this.ttlMs - this.#marginMs - this.#clock.monotonic());
  }

  assertAlive(): void {
    if (this.remainingMs() <= 0) throw new LeaseLostError(`lease ${this.id} is lost`);
  }

  release(): Promise<void> {
    this.#lose('released');
    if (this.#reachable()) {
      this.#cancelServer();
      this.#database.dropLease(this.id);
    }
    return Promise.resolve();
  }

  abandon(): void {
    this.#lose('abandoned');
  }

  #lose(why: string): void {
    this.#cancelHolder();
    if (!this.lost.aborted) this.#abort.abort(new LeaseLostError(`lease ${this.id}: ${why}`));
  }

  #armServer(): void {
    this.#cancelServer();
    this.#cancelServer = this.#clock.schedule(() => {
      this.#database.dropLease(this.id);
    }, this.ttlMs);
  }

  #armHolder(): void {
    this.#cancelHolder = this.#clock.schedule(
      () => {
        if (this.remainingMs() <= 0) {
          this.#lose('not renewed in time');
          return;
        }
        if (this.#reachable()) {
          if (!this.#database.hasLease(this.id)) {
            this.#lose('revoked');
            return;
          }
          this.#renewedAt = this.#clock.monotonic();
          this.#armServer();
        }
        this.#armHolder();
      },
      Math.min(this.ttlMs / 4, this.remainingMs()),
    );
  }
}
