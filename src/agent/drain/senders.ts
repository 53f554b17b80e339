import { RecordWatch } from '../../registry/record-watch.ts';
import {
  appliedRecords,
  type AppliedRecord,
  type DrainRecord,
} from '../../registry/records/index.ts';
import type { Revision, Store } from '../../registry/store.ts';
import type { Clock } from '../../runtime/clock.ts';
import { linkSignals } from '../../runtime/linked-signal.ts';
import type { Logger } from '../../telemetry/log.ts';
import type { DataPlane } from '../data-plane.ts';

export interface SendersDeps {
  readonly host: string;
  readonly store: Store;
  /** This host's own: it needs no registry to tell itself. */
  readonly dataPlane: Pick<DataPlane, 'applied' | 'catchUp' | 'onChange'>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Asks all hosts (undefined: asks no more). */
  readonly ask: (note: DrainRecord | undefined) => void;
}

interface Wait {
  readonly revision: Revision;
  readonly done: () => void;
}

/**
 * Who may still send to instances whose endpoints were withdrawn. Follows the answers of other hosts while somebody waits for
 * them, and only then.
 */
export class Senders {
  readonly #deps: SendersDeps;
  readonly #waits = new Set<Wait>();
  #answers: RecordWatch<{ readonly host: string }, AppliedRecord> | undefined;
  #stop: AbortController | undefined;
  #asked: DrainRecord | undefined;

  constructor(deps: SendersDeps) {
    this.#deps = deps;
    deps.dataPlane.onChange(() => {
      this.#evaluate();
    });
  }

  /**
   * Resolves when all hosts that are there have applied the changes of endpoints up to `revision`, after `atMostMs`, or when
   * `signal` aborts. Returns those that have not said so; undefined: it is not known who there is.
   */
  async heeded(
    revision: Revision,
    atMostMs: number,
    signal: AbortSignal,
  ): Promise<readonly string[] | undefined> {
    if (revision === 0n || signal.aborted) return [];
    const { clock } = this.#deps;
    let wait: Wait | undefined;
    const over = new AbortController();
    const either = linkSignals(signal, over.signal);
    try {
      await new Promise<void>((resolve) => {
        wait = { revision, done: resolve };
        this.#waits.add(wait);
        const cancel = clock.schedule(resolve, atMostMs);
        either.signal.addEventListener('abort', () => {
          cancel();
          resolve();
        });
        this.#follow();
        this.#evaluate();
      });
      return this.#behind(revision);
    } finally {
      over.abort();
      either.unlink();
      if (wait !== undefined) this.#waits.delete(wait);
      if (this.#waits.size === 0) this.#rest();
    }
  }

  #follow(): void {
    if (this.#answers !== undefined) return;
    const { store, clock, log } = this.#deps;
    const stop = new AbortController();
    const answers = new RecordWatch(store, appliedRecords, {
      clock,
      log,
      onChange: () => {
        this.#evaluate();
      },
    });
    this.#answers = answers;
    this.#stop = stop;
    answers.run(stop.signal).catch((error: unknown) => {
      if (stop.signal.aborted) return;
      // The next one who waits tries again.
      log.warn({ err: error }, 'cannot follow which hosts have stopped sending');
      if (this.#answers === answers) this.#rest();
    });
  }

  #rest(): void {
    this.#stop?.abort();
    this.#stop = undefined;
    this.#answers = undefined;
    this.#ask(undefined);
  }

  #evaluate(): void {
    if (this.#waits.size === 0) return;
    let asked = 0n;
    for (const wait of this.#waits) {
      const behind = this.#behind(wait.revision);
      if (behind?.length === 0) wait.done();
      else if (wait.revision > asked) asked = wait.revision;
    }
    if (asked === 0n || this.#answers?.synced !== true) return;
    this.#deps.dataPlane.catchUp(asked);
    this.#ask({ revision: String(asked), hosts: this.#answers.records.size });
  }

  #behind(revision: Revision): readonly string[] | undefined {
    const { host, dataPlane } = this.#deps;
    const answers = this.#answers;
    if (answers?.synced !== true) return undefined;
    const behind = dataPlane.applied < revision ? [host] : [];
    for (const { key, value } of answers.records.values()) {
      if (key.host !== host && BigInt(value.revision) < revision) behind.push(key.host);
    }
    // What cannot be read is no word of anybody's.
    for (const { path } of answers.broken.values()) {
      const other = appliedRecords.parsePath(path)?.host;
      if (other !== undefined && other !== host && !behind.includes(other)) behind.push(other);
    }
    return behind;
  }

  #ask(note: DrainRecord | undefined): void {
    if (note?.revision === this.#asked?.revision && note?.hosts === this.#asked?.hosts) return;
    this.#asked = note;
    this.#deps.ask(note);
  }
}
