import { formatCidr } from '../../network/address/cidr.ts';
import { addressRecords } from '../../registry/records/index.ts';
import type { Operation, Revision, Store } from '../../registry/store.ts';
import { isAborted } from '../../runtime/aborted.ts';
import { sleep, type Clock } from '../../runtime/clock.ts';
import { Trigger } from '../../runtime/trigger.ts';
import type { Logger } from '../../telemetry/log.ts';
import type { AddressBook } from './address-book.ts';
import type { AddressFeed } from './address-feed.ts';

export interface AddressWriterDeps {
  readonly host: string;
  readonly store: Pick<Store, 'commit'>;
  readonly book: AddressBook;
  readonly feed: Pick<AddressFeed, 'synced' | 'revision' | 'of' | 'at' | 'subscribe'>;
  /** Whether this host is proved to be its own: only then it writes. */
  readonly licensed: () => boolean;
  readonly clock: Clock;
  readonly log: Logger;
}

interface Written {
  /** Undefined: removed. */
  readonly text: string | undefined;
  readonly revision: Revision;
  /** Monotonic milliseconds. */
  readonly at: number;
}

/** Writes of one transaction; etcd takes 128 operations. */
const batchSize = 60;
/** What has not come back by then never will: the store has been restored from a backup, and counts anew. */
const comesBackMs = 10_000;
const retryMs = 200;
const longestRetryMs = 2_000;

/**
 * Keeps the records of this host's addresses as the book has them. What the registry says is followed, so that what somebody else
 * removes or changes there is written again, and what an earlier agent has left goes.
 */
export class AddressWriter {
  readonly #deps: AddressWriterDeps;
  readonly #wake = new Trigger();
  /** Path → what was written and is still to come back by the feed. */
  readonly #written = new Map<string, Written>();
  readonly #waiting = new Set<() => void>();

  constructor(deps: AddressWriterDeps) {
    this.#deps = deps;
    deps.book.onChange(() => {
      this.#wake.fire();
    });
    deps.feed.subscribe({
      address: () => undefined,
      settled: () => {
        this.#wake.fire();
      },
    });
  }

  /** Says that `licensed()` may have changed. */
  changed(): void {
    this.#wake.fire();
  }

  /** Resolves when the registry says whose `address` is, or after `atMostMs`. */
  async told(address: string, atMostMs: number): Promise<void> {
    if (this.#isTold(address)) return;
    await new Promise<void>((resolve) => {
      const check = (): void => {
        if (this.#isTold(address)) done();
      };
      const done = (): void => {
        cancel();
        this.#waiting.delete(check);
        resolve();
      };
      const cancel = this.#deps.clock.schedule(done, atMostMs);
      this.#waiting.add(check);
    });
  }

  /** Writes until `signal` aborts. Failures are retried for ever, slower and slower. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#deps;
    let failures = 0;
    this.#wake.fire();
    while (!isAborted(signal)) {
      await this.#wake.wait(clock, 30_000, signal);
      if (isAborted(signal)) return;
      try {
        await this.#pass(signal);
        failures = 0;
      } catch (error) {
        if (isAborted(signal)) return;
        if (failures++ === 0) log.warn({ err: error }, 'cannot write addresses; trying again');
        const pauseMs = Math.min(longestRetryMs, retryMs * 2 ** Math.min(failures, 10));
        await sleep(clock, pauseMs, signal).catch(() => undefined);
        this.#wake.fire();
      }
    }
  }

  async #pass(signal: AbortSignal): Promise<void> {
    const { book, feed, store, licensed } = this.#deps;
    const now = this.#deps.clock.monotonic();
    for (const [path, { revision, at }] of this.#written) {
      if (feed.revision >= revision || now - at > comesBackMs) this.#written.delete(path);
    }
    if (!book.known || book.subnet === undefined || !feed.synced || !licensed()) return;
    const changes = this.#changes();
    for (let start = 0; start < changes.length; start += batchSize) {
      const part = changes.slice(start, start + batchSize);
      const { revision } = await store.commit([], part, signal);
      for (const operation of part) {
        const text = operation.type === 'put' ? operation.value : undefined;
        this.#written.set(operation.key, { text, revision, at: now });
      }
    }
    for (const check of [...this.#waiting]) check();
  }

  #changes(): Operation[] {
    const { feed } = this.#deps;
    const wanted = this.#wanted();
    const result: Operation[] = [];
    for (const [key, value] of wanted) {
      if (this.#present(key) !== value) result.push({ type: 'put', key, value });
    }
    const { subnet } = this.#deps.book;
    const present = subnet === undefined ? [] : feed.of(formatCidr(subnet));
    for (const key of new Set([...present, ...this.#written.keys()])) {
      if (wanted.has(key)) continue;
      const written = this.#written.get(key);
      if (written === undefined || written.text !== undefined) result.push({ type: 'delete', key });
    }
    return result;
  }

  /** Path → text. */
  #wanted(): ReadonlyMap<string, string> {
    const { book } = this.#deps;
    const result = new Map<string, string>();
    for (const address of book.addresses()) {
      const record = this.#record(address);
      if (record !== undefined) result.set(record.path, record.text);
    }
    return result;
  }

  #record(address: string): { readonly path: string; readonly text: string } | undefined {
    const { book, host } = this.#deps;
    const { subnet } = book;
    const holder = book.holderOf(address);
    if (subnet === undefined || holder === undefined || !book.contains(address)) return undefined;
    return {
      path: addressRecords.path({ subnet: formatCidr(subnet), address }),
      text: addressRecords.encode({ host, ...holder.owner }),
    };
  }

  #present(path: string): string | undefined {
    const written = this.#written.get(path);
    if (written !== undefined) return written.text;
    const record = this.#deps.feed.at(path);
    if (record === undefined) return undefined;
    const { host, namespace, project, service } = record;
    return addressRecords.encode({ host, namespace, project, service });
  }

  #isTold(address: string): boolean {
    const record = this.#record(address);
    return record === undefined || this.#present(record.path) === record.text;
  }
}
