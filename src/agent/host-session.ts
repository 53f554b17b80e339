import { graceRecords, hostRecords, type HostRecord } from '../registry/records/index.ts';
import type { Entry, Lease, Operation, Revision, Store, WatchBatch } from '../registry/store.ts';
import { Backoff } from '../runtime/backoff.ts';
import { sleep, type Clock } from '../runtime/clock.ts';
import { linkSignals } from '../runtime/linked-signal.ts';
import type { Logger } from '../telemetry/log.ts';
import { isAborted } from '../runtime/aborted.ts';
import type { DesiredState } from './desired.ts';
import { HostNameTakenError, leftovers, readHost, register } from './registration.ts';
import type { RecordWriter } from './record-writer.ts';

/** A newer agent of the same host has taken over. This one must end; containers stay as they are. */
export class TakenOverError extends Error {
  override readonly name = 'TakenOverError';
  readonly retryable = false;
}

/** What was handed over ends this much earlier for us than for the others. */
const handOverMarginMs = 6_000;

export interface HostSessionOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  readonly desired: DesiredState;
  readonly writer: RecordWriter;
  /** Lifetime of the lease, milliseconds: after so long without a sign of life the host counts as lost. */
  readonly leaseTtlMs: number;
  /** What the host record should say now. */
  readonly hostRecord: () => HostRecord;
  /** Called when a lease is held and the placements have been read anew under it. */
  readonly onLicensed: () => void;
  /** Called the moment that the lease cannot be proved any more. */
  readonly onUnlicensed: () => void;
  /** Called when a planned absence of `graceMs` was announced. */
  readonly onHandedOver?: (graceMs: number) => Promise<void>;
}

/**
 * The agent's standing in the registry: one lease that carries the host record and every report. When the lease is lost
 * containers go on running; a new one is taken as soon as the registry answers, and before anything is decided under it the
 * placements are read again, because the operator may have given them to other hosts meanwhile.
 */
export class HostSession {
  readonly #options: HostSessionOptions;
  #lease: Lease | undefined;
  #revision: Revision | undefined;
  #written = '';
  #wake: () => void = () => undefined;

  constructor(options: HostSessionOptions) {
    this.#options = options;
  }

  /** The lease, if there is one that is proved alive and under which the placements have been read. */
  get lease(): Lease | undefined {
    return this.#lease !== undefined && this.#lease.remainingMs() > 0 ? this.#lease : undefined;
  }

  /** Says that `hostRecord()` may have changed. */
  changed(): void {
    this.#wake();
  }

  /**
   * Holds the session until `signal` aborts. Throws HostNameTakenError when another machine holds the name for
   * longer than a dead one could, and TakenOverError when a newer agent of this host appears.
   */
  async run(signal: AbortSignal): Promise<void> {
    const { log, clock, random, leaseTtlMs } = this.#options;
    let backoff = new Backoff({ baseMs: 200, capMs: 3000, random });
    let takenSince: number | undefined;
    while (!isAborted(signal)) {
      try {
        const lease = await this.#begin(signal);
        backoff = backoff.reset();
        takenSince = undefined;
        await this.#hold(lease, signal);
        if (!isAborted(signal))
          log.warn('the lease of this host is lost; containers go on, taking a new one');
      } catch (error) {
        if (isAborted(signal)) return;
        if (error instanceof TakenOverError) throw error;
        if (error instanceof HostNameTakenError) {
          // A dead machine's record is gone after its TTL; one that stays has a living agent.
          takenSince ??= clock.monotonic();
          if (clock.monotonic() - takenSince > 2 * leaseTtlMs) throw error;
        }
        backoff = backoff.next();
        if (backoff.attempt === 1)
          log.warn({ err: error }, 'cannot register this host; trying again');
        await sleep(clock, backoff.delayMs, signal).catch(() => undefined);
      }
    }
  }

  /** Ends with TakenOverError when another session writes this host's record; else when `signal` aborts. */
  async guard(signal: AbortSignal): Promise<void> {
    const { store, clock, log } = this.#options;
    while (!isAborted(signal)) {
      try {
        for await (const batch of store.watch(this.#path, {}, signal)) this.#inspect(batch);
      } catch (error) {
        if (error instanceof TakenOverError) throw error;
        if (!isAborted(signal))
          log.warn({ err: error }, 'cannot watch the host record; trying again');
      }
      await sleep(clock, 1000, signal).catch(() => undefined);
    }
  }

  #inspect(batch: WatchBatch): void {
    const entries = batch.type === 'snapshot' ? batch.entries : [];
    const events = batch.type === 'events' ? batch.events : [];
    const puts = events.flatMap((event) => (event.type === 'put' ? [event.entry] : []));
    for (const entry of [...entries, ...puts]) {
      if (entry.key === this.#path) this.#assertOurs(entry);
    }
    // Removed by hand: without its record this host would be taken for lost.
    const removed = events.some(
      (event) =>
        event.type === 'delete' &&
        event.key === this.#path &&
        this.#revision !== undefined &&
        event.revision > this.#revision,
    );
    if (removed) {
      this.#written = '';
      this.#wake();
    }
  }

  /**
   * A planned absence: the host's records move to a lease that lives for `graceMs`, so that names go on
   * resolving, and a note says that the host is not lost. Best effort, at most a few seconds. False: nothing was announced.
   */
  async handOver(graceMs: number, reason: string, signal: AbortSignal): Promise<boolean> {
    const { store, writer, clock, log } = this.#options;
    const lease = this.lease;
    this.#lease = undefined;
    if (lease === undefined || this.#revision === undefined) return false;
    try {
      const grace = await store.grantLease(
        Math.max(2000, Math.ceil(graceMs / 1000) * 1000),
        signal,
      );
      const until = new Date(clock.now() + graceMs).toISOString();
      const moved = await store.commit(
        [{ type: 'unchanged', key: this.#path, modRevision: this.#revision }],
        [
          { type: 'put', key: this.#path, value: this.#written, lease: grace.id },
          {
            type: 'put',
            key: graceRecords.path({ host: this.#options.hostRecord().name }),
            value: graceRecords.encode({ until, reason }),
          },
        ],
        signal,
      );
      if (moved.committed) {
        // Some seconds less than the record will stand.
        await this.#options.onHandedOver?.(graceMs - handOverMarginMs);
        await this.#moveReports(writer, grace, signal);
      }
      grace.abandon();
      await lease.release(signal);
      return moved.committed;
    } catch (error) {
      log.warn({ err: error }, 'could not leave a grace note; this host will count as lost soon');
      lease.abandon();
      return false;
    }
  }

  async #moveReports(writer: RecordWriter, grace: Lease, signal: AbortSignal): Promise<void> {
    const standing = writer.standing();
    for (let start = 0; start < standing.length; start += 60) {
      const part = standing.slice(start, start + 60);
      const puts = part.map(({ path, text }): Operation => ({
        type: 'put',
        key: path,
        value: text,
        lease: grace.id,
      }));
      const conditions = part.map(
        ({ path, revision }) => ({ type: 'unchanged', key: path, modRevision: revision }) as const,
      );
      const result = await this.#options.store.commit(conditions, puts, signal);
      if (result.committed) continue;
      for (const [i, put] of puts.entries()) {
        const condition = conditions[i];
        if (condition !== undefined) await this.#options.store.commit([condition], [put], signal);
      }
    }
  }

  async #begin(signal: AbortSignal): Promise<Lease> {
    const { store, desired, writer, leaseTtlMs, hostRecord, onLicensed, log } = this.#options;
    const lease = await store.grantLease(leaseTtlMs, signal);
    try {
      const record = hostRecord();
      this.#revision = undefined;
      this.#revision = await register(store, record, lease, signal);
      this.#written = hostRecords.encode(record);
      const listing = await store.list(desired.prefix, {}, signal);
      desired.replace(listing.entries, listing.revision, 'listing');
      writer.useLease(lease, await leftovers(store, record.name, signal));
    } catch (error) {
      await lease.release(AbortSignal.timeout(1000)).catch(() => undefined);
      throw error;
    }
    this.#lease = lease;
    lease.lost.addEventListener('abort', this.#options.onUnlicensed, { once: true });
    log.info({ lease: lease.id, ttlMs: lease.ttlMs }, 'this host is registered');
    onLicensed();
    return lease;
  }

  /** Keeps the host record current until the lease is lost or `signal` aborts. */
  async #hold(lease: Lease, signal: AbortSignal): Promise<void> {
    while (!isAborted(signal) && !isAborted(lease.lost)) {
      try {
        await this.#publish(lease, signal);
      } catch (error) {
        if (error instanceof TakenOverError) throw error;
        if (isAborted(lease.lost) || isAborted(signal)) return;
        await sleep(this.#options.clock, 500, signal).catch(() => undefined);
        continue;
      }
      // What changed while the record was on its way is not waited for.
      if (this.#text() !== this.#written) continue;
      const either = linkSignals(signal, lease.lost);
      await this.#change(either.signal).finally(either.unlink);
    }
  }

  async #publish(lease: Lease, signal: AbortSignal): Promise<void> {
    const text = this.#text();
    if (text === this.#written || this.#revision === undefined) return;
    lease.assertAlive();
    const result = await this.#options.store.commit(
      [{ type: 'unchanged', key: this.#path, modRevision: this.#revision }],
      [{ type: 'put', key: this.#path, value: text, lease: lease.id }],
      signal,
    );
    if (result.committed) {
      this.#revision = result.revision;
      this.#written = text;
      return;
    }
    const present = result.current.get(this.#path);
    if (present !== undefined) this.#assertOurs(present);
    // Removed by hand: put it back; the lease is alive, so the host is.
    this.#revision = await register(this.#options.store, this.#options.hostRecord(), lease, signal);
    this.#written = text;
  }

  /** Writes of earlier agents do not count, only one that came after our own registration. */
  #assertOurs(entry: Entry): void {
    if (this.#revision === undefined || entry.modRevision <= this.#revision) return;
    const other = readHost(entry);
    const { name, session } = this.#options.hostRecord();
    if (other === undefined || other.session === session) return;
    throw new TakenOverError(
      `another agent has taken over host name "${name}" (machine ${other.machineID} at ${other.address}, ` +
        `started ${other.startedAt}); this one ends, and leaves the containers as they are`,
    );
  }

  #text(): string {
    return hostRecords.encode(this.#options.hostRecord());
  }

  get #path(): string {
    return hostRecords.path({ host: this.#options.hostRecord().name });
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        signal.removeEventListener('abort', done);
        this.#wake = () => undefined;
        resolve();
      };
      if (isAborted(signal)) {
        resolve();
        return;
      }
      this.#wake = done;
      signal.addEventListener('abort', done, { once: true });
    });
  }
}
