/**
 * A watch that loses nothing. The state is one number, the revision up to which everything was delivered: it moves
 * only with events that the receiver was given (or when etcd says that there are none), so a broken
 * connection resumes exactly behind them. When the events that follow are compacted away, it
 * starts over with a snapshot. etcd3's own watcher resumes at the store's present revision instead
 * and drops the backlog.
 */
import type { IWatchResponse } from 'etcd3';
import {
  CompactedError,
  StoreRefusedError,
  UnavailableError,
  type Revision,
  type StoreEvent,
  type WatchBatch,
  type WatchOptions,
} from '../store.ts';
import type { EtcdClient } from './client.ts';
import { linkSignals } from '../../runtime/linked-signal.ts';
import { toStoreError } from './errors.ts';
import { listPrefix, prefixRange, toEntry } from './kv.ts';
import type { ProgressTrust } from './progress-trust.ts';
import { openWatchStream } from './watch-stream.ts';

const maxBackoffMs = 2_000;

/** See Store.watch. */
export class EtcdWatch {
  readonly #client: EtcdClient;
  readonly #prefix: string;
  readonly #options: WatchOptions;
  #signal: AbortSignal;
  readonly #trust: ProgressTrust;
  /** Everything up to here was delivered. Undefined: a snapshot is due. */
  #delivered: Revision | undefined;
  #failures = 0;
  #connected: boolean | undefined;

  constructor(
    client: EtcdClient,
    trust: ProgressTrust,
    prefix: string,
    options: WatchOptions,
    signal: AbortSignal,
  ) {
    this.#client = client;
    this.#trust = trust;
    this.#prefix = prefix;
    this.#options = options;
    this.#signal = signal;
    this.#delivered = options.from === undefined ? undefined : options.from - 1n;
  }

  async *run(): AsyncGenerator<WatchBatch, void, undefined> {
    const asked = this.#signal;
    const either = linkSignals(this.#client.closed, asked);
    this.#signal = either.signal;
    try {
      for (;;) {
        try {
          if (this.#signal.aborted) break;
          if (this.#delivered === undefined) yield await this.#snapshot();
          yield* this.#follow();
        } catch (error) {
          if (this.#signal.aborted) break;
          await this.#recover(toStoreError(error));
        }
      }
    } finally {
      either.unlink();
      this.#announce(false);
    }
    if (!asked.aborted) this.#client.closed.throwIfAborted();
  }

  async #snapshot(): Promise<WatchBatch> {
    const { entries, revision } = await listPrefix(this.#client, this.#prefix, {}, this.#signal);
    this.#delivered = revision;
    return { type: 'snapshot', entries, revision };
  }

  /** One stream, from the first event that was not delivered until the stream fails. */
  async *#follow(): AsyncGenerator<WatchBatch, void, undefined> {
    const trusted = await this.#trust.get(this.#signal);
    const stream = await openWatchStream(
      this.#client,
      {
        ...prefixRange(this.#prefix),
        // One revision back, to be dropped again below: etcd accepts a start *at* the compacted revision, but may have
        // forgotten deletions of that revision. One back is refused, and a snapshot follows.
        start_revision: String(maxOf(this.#delivered ?? 0n, 1n)),
        progress_notify: true,
        fragment: true,
        prev_kv: this.#options.withPrevious === true,
      },
      this.#signal,
    );
    let pieces: StoreEvent[] = [];
    try {
      for await (const response of stream) {
        if (response.canceled) throw refusal(response);
        if (response.created) {
          this.#failures = 0;
          this.#announce(true);
          continue;
        }
        for (const event of response.events) pieces.push(toEvent(event));
        if (response.fragment) continue;
        const batch =
          response.events.length > 0 ? this.#events(pieces) : this.#progress(response, trusted);
        pieces = [];
        if (batch !== undefined) yield batch;
      }
    } finally {
      stream.close();
    }
  }

  #events(events: readonly StoreEvent[]): WatchBatch | undefined {
    const delivered = this.#delivered ?? 0n;
    const fresh = events.filter((event) => revisionOf(event) > delivered);
    const last = fresh.at(-1);
    if (last === undefined) return undefined;
    const revision = revisionOf(last);
    this.#delivered = revision;
    return { type: 'events', events: fresh, revision };
  }

  /** An answer without events. One that was asked for (id −1) can overtake events on some servers. */
  #progress(response: IWatchResponse, trusted: boolean): WatchBatch | undefined {
    if (response.watch_id === '-1' && !trusted) return undefined;
    const revision = this.#client.note(response.header);
    if (revision <= (this.#delivered ?? 0n)) return undefined;
    this.#delivered = revision;
    return { type: 'progress', revision };
  }

  async #recover(error: Error): Promise<void> {
    this.#announce(false);
    if (error instanceof CompactedError) {
      if (this.#options.from !== undefined) throw error;
      this.#client.log.info(
        { prefix: this.#prefix, compacted: String(error.compactRevision) },
        'history was compacted under a watch; taking a fresh snapshot',
      );
      this.#delivered = undefined;
      return;
    }
    // Once for each outage; what follows is the same again.
    const serious = error instanceof StoreRefusedError ? 'warn' : 'info';
    const level = this.#failures === 0 ? serious : 'debug';
    this.#client.log[level](
      { reason: error.message, prefix: this.#prefix },
      'a watch broke; reconnecting',
    );
    const delay = this.#client.backoff(this.#failures++, maxBackoffMs);
    await this.#client.pause(delay, this.#signal).catch(() => undefined);
  }

  #announce(connected: boolean): void {
    if (connected === this.#connected) return;
    if (!connected && this.#connected === undefined) return;
    this.#connected = connected;
    this.#options.onConnection?.(connected);
  }
}

function refusal(response: IWatchResponse): Error {
  const compacted = BigInt(response.compact_revision);
  if (compacted > 0n) return new CompactedError(compacted);
  const reason = response.cancel_reason;
  return /permission/.test(reason)
    ? new StoreRefusedError(reason)
    : new UnavailableError(`etcd ended the watch: ${reason || 'no reason given'}`);
}

function toEvent(event: IWatchResponse['events'][number]): StoreEvent {
  // `defaults: true` turns a missing message into null, whatever the types say.
  const prev = event.prev_kv as IWatchResponse['events'][number]['kv'] | null;
  const previous = prev === null ? {} : { previous: toEntry(prev) };
  return event.type.toUpperCase() === 'DELETE'
    ? {
        type: 'delete',
        key: event.kv.key.toString(),
        revision: BigInt(event.kv.mod_revision),
        ...previous,
      }
    : { type: 'put', entry: toEntry(event.kv), ...previous };
}

function revisionOf(event: StoreEvent): Revision {
  return event.type === 'put' ? event.entry.modRevision : event.revision;
}

function maxOf(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
