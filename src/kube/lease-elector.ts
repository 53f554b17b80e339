/**
 * Leader election over a coordination.k8s.io Lease, as client-go does it (tools/leaderelection), with
 * its default times. What makes it safe:
 *
 * - Nobody's wall clock is trusted. A candidate takes over only after it has itself seen the record unchanged for a
 *   full lease duration, measured on its own monotonic clock.
 * - The leader counts from the time when it *sent* its last successful renewal, and stops `renewDeadlineMs` after
 *   that, which is before any candidate's lease duration, begun later, can be over.
 * - Every write carries the resource version that it is based on.
 *
 * A machine that was suspended does not know it; whoever must be sure also fences his writes (nap does, in etcd).
 */
import { setMaxListeners } from 'node:events';
import { sleep, systemClock, type Clock } from '../runtime/clock.ts';
import { deadline } from '../runtime/deadline.ts';
import { asError } from '../runtime/errors.ts';
import type { Logger } from '../telemetry/log.ts';
import type { KubeClient } from './client.ts';
import { isAlreadyExists, isConflict, isNotFound } from './errors.ts';
import { leases, type Lease } from './resources.ts';
import { microTime } from './times.ts';

export interface LeaseElectorOptions {
  readonly namespace: string;
  /** Name of the Lease. */
  readonly name: string;
  /** Who we are. Must differ between processes, also between two starts of one. */
  readonly identity: string;
  /** How long a candidate waits for a silent leader. Default 15,000 ms. */
  readonly leaseDurationMs?: number;
  /** How long after its last renewal a leader stops. Default 10,000 ms; less than leaseDurationMs. */
  readonly renewDeadlineMs?: number;
  /** Between two tries to renew or to acquire. Default 2,000 ms; less than renewDeadlineMs / 1.2. */
  readonly retryPeriodMs?: number;
  readonly log: Logger;
  /** Default: the machine's clock. */
  readonly clock?: Clock;
  /** Uniform in [0, 1). Default Math.random. */
  readonly random?: () => number;
}

/** Leadership could not be renewed in time, or somebody else has it. */
export class LeadershipLostError extends Error {
  override readonly name = 'LeadershipLostError';
  readonly retryable = true;
}

/** The record as we last saw it change, and when, by our monotonic clock. */
interface Observation {
  readonly version: string;
  readonly at: number;
}

const jitterFactor = 1.2;

/** Contends for one Lease; see the top of this file for what makes it safe. */
export class LeaseElector {
  readonly #client: KubeClient;
  readonly #options: LeaseElectorOptions;
  readonly #leaseDurationMs: number;
  readonly #renewDeadlineMs: number;
  readonly #retryPeriodMs: number;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #log: Logger;
  #observed: Observation | undefined;
  #lease: Lease | undefined;
  #leading = false;

  /** Throws RangeError for times that could make two leaders. */
  constructor(client: KubeClient, options: LeaseElectorOptions) {
    this.#client = client;
    this.#options = options;
    this.#leaseDurationMs = options.leaseDurationMs ?? 15_000;
    this.#renewDeadlineMs = options.renewDeadlineMs ?? 10_000;
    this.#retryPeriodMs = options.retryPeriodMs ?? 2_000;
    if (this.#leaseDurationMs <= this.#renewDeadlineMs) {
      throw new RangeError('leaseDurationMs must be greater than renewDeadlineMs');
    }
    if (this.#renewDeadlineMs <= this.#retryPeriodMs * jitterFactor) {
      throw new RangeError(`renewDeadlineMs must be greater than ${jitterFactor} retryPeriodMs`);
    }
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#log = options.log.child({ lease: `${options.namespace}/${options.name}` });
  }

  /** Whether we may act as the leader now. */
  get isLeader(): boolean {
    return this.#leading;
  }

  /** Who leads, as far as we know. */
  get leader(): string | undefined {
    return this.#lease?.spec?.holderIdentity ?? undefined;
  }

  /**
   * Contends for leadership until `signal` aborts. Each time it is won, calls `lead` with a signal that aborts
   * before anybody else can win; waits for `lead` to end, and contends again. Resolves after `signal`, when the lease was
   * given back (best effort). When `lead` rejects, or ends unasked, the lease is given back and `run` rejects.
   */
  async run(lead: (leading: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const renewedAt = await this.#acquire(signal);
      if (renewedAt === undefined) return;
      await this.#lead(lead, renewedAt, signal);
    }
  }

  async #lead(
    lead: (leading: AbortSignal) => Promise<void>,
    renewedAt: number,
    signal: AbortSignal,
  ): Promise<void> {
    this.#log.info({ identity: this.#options.identity }, 'became the leader');
    const leading = new AbortController();
    setMaxListeners(0, leading.signal);
    const stop = (): void => {
      leading.abort(signal.reason);
    };
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    this.#leading = true;
    const renewing = this.#keepRenewing(renewedAt, leading).finally(() => {
      this.#leading = false;
    });
    try {
      await lead(leading.signal);
      if (!leading.signal.aborted) throw new Error('the leader stopped leading unasked');
    } catch (thrown) {
      if (!leading.signal.aborted) throw thrown;
      // A loop that is interrupted may well throw; that it was interrupted is not its failure.
      this.#log.debug({ err: asError(thrown) }, 'the leader was interrupted');
    } finally {
      signal.removeEventListener('abort', stop);
      const lost = leading.signal.aborted && !signal.aborted;
      leading.abort(new LeadershipLostError('leading has ended'));
      await renewing;
      if (!lost) await this.#release();
    }
  }

  /** Tries until it holds the lease; gives the send time of the write that won it, or `undefined` on abort. */
  async #acquire(signal: AbortSignal): Promise<number | undefined> {
    while (!signal.aborted) {
      const sentAt = this.#clock.monotonic();
      try {
        if (await this.#tryAcquire(signal)) return sentAt;
      } catch (thrown) {
        // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- it may abort meanwhile
        if (signal.aborted) return undefined;
        if (!isConflict(thrown) && !isAlreadyExists(thrown)) {
          this.#log.warn({ err: asError(thrown) }, 'cannot contend for leadership');
        }
      }
      const delayMs = this.#retryPeriodMs * (1 + this.#random() * (jitterFactor - 1));
      await sleep(this.#clock, delayMs, signal).catch(() => undefined);
    }
    return undefined;
  }

  /** One look at the lease and, if it is free, one try to take it. */
  async #tryAcquire(signal: AbortSignal): Promise<boolean> {
    const lease = await this.#read(signal);
    if (lease === undefined) {
      this.#observe(await this.#withLimit((limit) => this.#create(limit), signal));
      return true;
    }
    this.#observe(lease);
    const holder = lease.spec?.holderIdentity ?? '';
    const free = holder === '' || holder === this.#options.identity || this.#silentForLong();
    if (!free) return false;
    this.#observe(await this.#withLimit((limit) => this.#write(lease, limit), signal));
    return true;
  }

  /** Renews until it cannot any more, then aborts `leading`. Never rejects. */
  async #keepRenewing(firstRenewedAt: number, leading: AbortController): Promise<void> {
    let renewedAt = firstRenewedAt;
    // A timer of its own, so that a request which hangs cannot hold back the end.
    let cancel: () => void = () => undefined;
    const arm = (): void => {
      cancel();
      const leftMs = renewedAt + this.#renewDeadlineMs - this.#clock.monotonic();
      cancel = this.#clock.schedule(() => {
        this.#lose(leading, 'the lease could not be renewed in time');
      }, leftMs);
    };
    arm();
    while (!leading.signal.aborted) {
      await sleep(this.#clock, this.#retryPeriodMs, leading.signal).catch(() => undefined);
      // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- it may abort during the sleep
      if (leading.signal.aborted) break;
      const sentAt = this.#clock.monotonic();
      try {
        if (!(await this.#renew(leading.signal))) {
          this.#lose(leading, `${this.leader ?? 'nobody'} holds the lease now`);
          break;
        }
        renewedAt = sentAt;
        arm();
      } catch (thrown) {
        // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- it may abort meanwhile
        if (leading.signal.aborted) break;
        this.#log.warn({ err: asError(thrown) }, 'cannot renew the lease; trying again');
        // The outcome of the write is unknown: look before the next one.
        this.#lease = undefined;
      }
    }
    cancel();
  }

  /** False: somebody else holds it. Throws when that could not be learned. */
  async #renew(signal: AbortSignal): Promise<boolean> {
    const lease = this.#lease ?? (await this.#read(signal));
    if (lease === undefined) return false;
    if (lease.spec?.holderIdentity !== this.#options.identity) {
      this.#observe(lease);
      return false;
    }
    this.#observe(await this.#withLimit((limit) => this.#write(lease, limit), signal));
    return true;
  }

  #lose(leading: AbortController, why: string): void {
    if (leading.signal.aborted) return;
    this.#leading = false;
    this.#log.error({ why }, 'lost the leadership');
    leading.abort(new LeadershipLostError(why));
  }

  /** Gives the lease back, so that the next leader need not wait. Best effort. */
  async #release(): Promise<void> {
    const unlimited = new AbortController().signal;
    try {
      const lease = await this.#read(unlimited);
      if (lease?.spec?.holderIdentity !== this.#options.identity) return;
      const now = microTime(this.#clock.now());
      const spec = {
        ...lease.spec,
        holderIdentity: '',
        leaseDurationSeconds: 1,
        renewTime: now,
        acquireTime: now,
      };
      await this.#withLimit(
        (limit) => this.#client.update(leases, { ...lease, spec }, limit),
        unlimited,
      );
      this.#log.info('gave the leadership back');
    } catch (thrown) {
      this.#log.warn({ err: asError(thrown) }, 'could not give the lease back; it will run out');
    }
  }

  async #read(signal: AbortSignal): Promise<Lease | undefined> {
    try {
      return await this.#withLimit(
        (limit) => this.#client.get(leases, this.#options, limit),
        signal,
      );
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  #create(signal: AbortSignal): Promise<Lease> {
    const { namespace, name } = this.#options;
    const now = microTime(this.#clock.now());
    return this.#client.create(
      leases,
      {
        metadata: { namespace, name },
        spec: {
          holderIdentity: this.#options.identity,
          leaseDurationSeconds: this.#leaseDurationSeconds(),
          acquireTime: now,
          renewTime: now,
          leaseTransitions: 0,
        },
      },
      signal,
    );
  }

  /** Renews the lease if it is ours, else takes it over; a conflict if it is no longer as in `lease`. */
  #write(lease: Lease, signal: AbortSignal): Promise<Lease> {
    const now = microTime(this.#clock.now());
    const mine = lease.spec?.holderIdentity === this.#options.identity;
    const transitions = lease.spec?.leaseTransitions ?? 0;
    return this.#client.update(
      leases,
      {
        ...lease,
        spec: {
          ...lease.spec,
          holderIdentity: this.#options.identity,
          leaseDurationSeconds: this.#leaseDurationSeconds(),
          acquireTime: mine ? (lease.spec.acquireTime ?? now) : now,
          renewTime: now,
          leaseTransitions: mine ? transitions : transitions + 1,
        },
      },
      signal,
    );
  }

  #observe(lease: Lease): void {
    const version = lease.metadata.resourceVersion ?? '';
    this.#lease = lease;
    if (this.#observed?.version === version) return;
    this.#observed = { version, at: this.#clock.monotonic() };
  }

  /** Whether the record has not changed for a whole lease duration before our eyes. */
  #silentForLong(): boolean {
    const seenAt = this.#observed?.at;
    return seenAt !== undefined && this.#clock.monotonic() - seenAt >= this.#leaseDurationMs;
  }

  /** Leaves time for another try before the renew deadline. */
  async #withLimit<R>(send: (limit: AbortSignal) => Promise<R>, signal: AbortSignal): Promise<R> {
    const limit = deadline(this.#clock, this.#renewDeadlineMs / 2, 'the lease request', signal);
    try {
      return await send(limit.signal);
    } finally {
      limit.dispose();
    }
  }

  #leaseDurationSeconds(): number {
    return Math.max(1, Math.ceil(this.#leaseDurationMs / 1000));
  }
}
