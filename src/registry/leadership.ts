import { linkSignals } from '../runtime/linked-signal.ts';
import type { Logger } from '../telemetry/log.ts';
import type { LeaderRecord } from './records/index.ts';
import { leaderPath, leaderRecords } from './records/index.ts';
import type { LeaseLostError } from './store.ts';
import {
  UnavailableError,
  type Entry,
  type Lease,
  type Revision,
  type Store,
  type WatchBatch,
} from './store.ts';

/** Somebody else leads, or nobody: every decision of this leader is refused from now on. */
export class NotLeaderError extends Error {
  override readonly name = 'NotLeaderError';
  readonly retryable = false;
}

/** The right to write decisions. */
export interface Leadership {
  /** Revision of the claim: what every decision is conditional on. */
  readonly epoch: Revision;
  /** Aborts when the right is lost, resigned, or can no longer be proved. Its reason: NotLeaderError or LeaseLostError. */
  readonly lost: AbortSignal;
  /** Gives it up: the claim goes at once, so that the next leader need not wait. */
  resign(signal?: AbortSignal): Promise<void>;
}

export interface LeadershipOptions {
  /** Life of the claim without renewal. */
  readonly leaseTtlMs: number;
  readonly log: Logger;
}

/**
 * Waits until nobody leads, then claims `/nap/v1/leader` on a lease of its own. A leader that falls silent is followed
 * when its lease has run out, which the store tells the moment it happens; one that resigns, at once.
 *
 * That there is one leader at a time rests on the lease: its holder stops by its own monotonic clock before the key can
 * go. That a leader which does not stop does no harm (its machine was suspended) rests on the epoch: what it still
 * tries to write is refused.
 *
 * @param mayClaim resolves when this candidate is fit to lead; asked anew each time that the place is free.
 */
export async function contendForLeadership(
  store: Store,
  record: LeaderRecord,
  options: LeadershipOptions,
  mayClaim: (signal: AbortSignal) => Promise<void>,
  signal: AbortSignal,
): Promise<Leadership> {
  for (;;) {
    const seen = await untilFree(store, signal);
    await mayClaim(signal);
    const leadership = await tryToLead(store, record, seen, options, signal);
    if (leadership !== undefined) return leadership;
  }
}

/**
 * Resolves when there is no leader, with the revision of what stands in its place (0: nothing); rejects when `signal`
 * aborts. A record without a lease is nobody's claim: it was written by hand, and would stay for ever.
 */
async function untilFree(store: Store, signal: AbortSignal): Promise<Revision> {
  const done = new AbortController();
  const either = linkSignals(signal, done.signal);
  try {
    for await (const batch of store.watch(leaderPath, {}, either.signal)) {
      const free = freeAt(batch);
      if (free !== undefined) return free;
    }
  } finally {
    done.abort(new Error('seen enough'));
    either.unlink();
  }
  signal.throwIfAborted();
  throw new UnavailableError('the watch of the leader ended');
}

/** Undefined: somebody else was faster. */
async function tryToLead(
  store: Store,
  record: LeaderRecord,
  seen: Revision,
  options: LeadershipOptions,
  signal: AbortSignal,
): Promise<Leadership | undefined> {
  const lease = await store.grantLease(options.leaseTtlMs, signal);
  try {
    const result = await store.commit(
      [{ type: 'unchanged', key: leaderPath, modRevision: seen }],
      [{ type: 'put', key: leaderPath, value: leaderRecords.encode(record), lease: lease.id }],
      signal,
    );
    if (result.committed) {
      options.log.info({ operator: record.operator, epoch: String(result.revision) }, 'leading');
      return new HeldLeadership(store, lease, result.revision);
    }
  } catch (error) {
    await lease.release();
    throw error;
  }
  await lease.release();
  return undefined;
}

class HeldLeadership implements Leadership {
  readonly epoch: Revision;
  readonly lost: AbortSignal;
  readonly #lease: Lease;
  readonly #abort = new AbortController();

  constructor(store: Store, lease: Lease, epoch: Revision) {
    this.epoch = epoch;
    this.#lease = lease;
    this.lost = this.#abort.signal;
    const onLeaseLost = (): void => {
      this.#lose(lease.lost.reason as LeaseLostError);
    };
    lease.lost.addEventListener('abort', onLeaseLost, { once: true });
    if (lease.lost.aborted) onLeaseLost();
    void this.#guard(store);
  }

  async resign(signal?: AbortSignal): Promise<void> {
    this.#lose(new NotLeaderError('resigned'));
    await this.#lease.release(signal);
  }

  #lose(reason: Error): void {
    if (!this.lost.aborted) this.#abort.abort(reason);
  }

  /** Learns of a take-over at once instead of at the next decision. */
  async #guard(store: Store): Promise<void> {
    try {
      for await (const batch of store.watch(leaderPath, {}, this.lost)) {
        if (holdsAt(batch, this.epoch)) continue;
        this.#lose(new NotLeaderError('somebody else took over'));
        await this.#lease.release();
        return;
      }
    } catch (error) {
      this.#lose(error instanceof Error ? error : new Error(String(error)));
    }
  }
}

/** Revision of what stands in the place of a leader after this batch, if nobody leads. */
function freeAt(batch: WatchBatch): Revision | undefined {
  if (batch.type === 'progress') return undefined;
  if (batch.type === 'snapshot')
    return freeWith(batch.entries.find(({ key }) => key === leaderPath));
  const last = batch.events.findLast((event) =>
    event.type === 'put' ? event.entry.key === leaderPath : event.key === leaderPath,
  );
  return last === undefined ? undefined : freeWith(last.type === 'put' ? last.entry : undefined);
}

function freeWith(entry: Entry | undefined): Revision | undefined {
  if (entry === undefined) return 0n;
  return entry.lease === undefined ? entry.modRevision : undefined;
}

/** Whether the leader key is still at `epoch` after this batch. */
function holdsAt(batch: WatchBatch, epoch: Revision): boolean {
  if (batch.type === 'progress') return true;
  if (batch.type === 'snapshot') {
    return batch.entries.some((e) => e.key === leaderPath && e.modRevision === epoch);
  }
  return batch.events.every((event) =>
    event.type === 'put'
      ? event.entry.key !== leaderPath || event.entry.modRevision <= epoch
      : event.key !== leaderPath || event.revision <= epoch,
  );
}
