import type { Logger } from '../telemetry/log.ts';
import type { LeaderRecord } from './records/index.ts';
import { leaderPath, leaderRecords } from './records/index.ts';
import type { LeaseLostError } from './store.ts';
import { type Entry, type Lease, type Revision, type Store, type WatchBatch } from './store.ts';

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
 * Claims `/nap/v1/leader` on a lease of its own. For the winner of an outer election only: a claim of
 * somebody else is taken over without waiting, which is safe, because the new epoch fences off all that the
 * former leader may still try to write.
 *
 * Rejects with UnavailableError when the store cannot be reached; try again.
 */
export async function claimLeadership(
  store: Store,
  record: LeaderRecord,
  options: LeadershipOptions,
  signal?: AbortSignal,
): Promise<Leadership> {
  const lease = await store.grantLease(options.leaseTtlMs, signal);
  try {
    const epoch = await claim(store, record, lease, signal);
    options.log.info({ operator: record.operator, epoch: String(epoch) }, 'leading');
    return new HeldLeadership(store, lease, epoch);
  } catch (error) {
    await lease.release();
    throw error;
  }
}

async function claim(
  store: Store,
  record: LeaderRecord,
  lease: Lease,
  signal: AbortSignal | undefined,
): Promise<Revision> {
  let current: Entry | undefined = await store.get(leaderPath, signal);
  for (;;) {
    signal?.throwIfAborted();
    lease.assertAlive();
    const result = await store.commit(
      [{ type: 'unchanged', key: leaderPath, modRevision: current?.modRevision ?? 0n }],
      [{ type: 'put', key: leaderPath, value: leaderRecords.encode(record), lease: lease.id }],
      signal,
    );
    if (result.committed) return result.revision;
    current = result.current.get(leaderPath);
  }
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
