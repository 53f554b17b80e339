import { RecordWatch } from '../../registry/record-watch.ts';
import { drainRecords, type DrainRecord } from '../../registry/records/index.ts';
import type { Revision, Store } from '../../registry/store.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { Logger } from '../../telemetry/log.ts';
import type { DataPlane } from '../data-plane.ts';

/** One host answers at most this often. */
const shortestGapMs = 100;
/** All hosts together answer about once per so many milliseconds at most, however many they are and whatever is asked. */
const gapPerHostMs = 1;
const longestGapMs = 2000;

export interface AcknowledgerDeps {
  readonly host: string;
  readonly store: Store;
  readonly dataPlane: Pick<DataPlane, 'applied' | 'catchUp' | 'onChange'>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Publishes how far this host is. */
  readonly publish: (revision: Revision) => void;
}

/**
 * Tells other hosts how far the data plane of this one is, when they ask. Answers of one moment are one write; an answer after a
 * quiet time comes at once.
 */
export class Acknowledger {
  readonly #deps: AcknowledgerDeps;
  readonly #asked: RecordWatch<{ readonly host: string }, DrainRecord>;
  #published: Revision = 0n;
  #publishedAt = -Infinity;
  #cancel: (() => void) | undefined;

  constructor(deps: AcknowledgerDeps) {
    this.#deps = deps;
    const { store, clock, log } = deps;
    this.#asked = new RecordWatch(store, drainRecords, {
      clock,
      log,
      onChange: () => {
        this.#consider();
      },
    });
  }

  /** Answers until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { dataPlane, publish } = this.#deps;
    // There from the first moment, so that it is waited for.
    publish(this.#published);
    const off = dataPlane.onChange(() => {
      this.#consider();
    });
    try {
      await this.#asked.run(signal);
    } finally {
      off();
      this.#cancel?.();
      this.#cancel = undefined;
    }
  }

  #consider(): void {
    const { host, dataPlane, clock } = this.#deps;
    const { applied } = dataPlane;
    // The store was restored from a backup: what was said of a later history is worth nothing.
    if (applied < this.#published) this.#publish();
    const open = [...this.#asked.records.values()]
      .filter(({ key, value }) => key.host !== host && BigInt(value.revision) > this.#published)
      .map(({ value }) => ({ ...value, revision: BigInt(value.revision) }));
    if (open.length === 0) return;
    const answerable = open.some(({ revision }) => revision <= applied);
    for (const { revision } of open) if (revision > applied) dataPlane.catchUp(revision);
    if (!answerable || this.#cancel !== undefined) return;
    const hosts = Math.max(...open.map((note) => note.hosts));
    const gapMs = Math.min(longestGapMs, Math.max(shortestGapMs, hosts * gapPerHostMs));
    const waitMs = this.#publishedAt + gapMs - clock.monotonic();
    if (waitMs <= 0) this.#publish();
    else {
      this.#cancel = clock.schedule(() => {
        this.#cancel = undefined;
        this.#publish();
      }, waitMs);
    }
  }

  #publish(): void {
    const { dataPlane, clock, publish } = this.#deps;
    this.#published = dataPlane.applied;
    this.#publishedAt = clock.monotonic();
    publish(this.#published);
  }
}
