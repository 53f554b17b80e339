import { RecordWatch } from '../../registry/record-watch.ts';
import { candidateRecords } from '../../registry/records/index.ts';
import type { Store } from '../../registry/store.ts';
import { sleep, type Clock } from '../../runtime/clock.ts';
import { linkSignals } from '../../runtime/linked-signal.ts';
import type { Task } from '../../runtime/supervise.ts';
import { Trigger } from '../../runtime/trigger.ts';
import type { Logger } from '../../telemetry/log.ts';

export interface CandidacyOptions {
  readonly store: Store;
  /** Who we are. */
  readonly operator: string;
  readonly leaseTtlMs: number;
  readonly clock: Clock;
  readonly log: Logger;
  /** A leader that the API server does not answer for this long yields to a candidate that it does answer. */
  readonly patienceMs: number;
  /** Called once, when this operator should not lead any more. */
  readonly onYield: () => void;
}

/**
 * Which operators are fit to lead: an operator that is cut off from the API server would hold the leadership and do
 * nothing that users ask for. It yields to another one that is not cut off; while there is none it goes on by what it
 * knows, so that hosts that are lost meanwhile are still replaced.
 */
export class Candidacy {
  readonly #options: CandidacyOptions;
  readonly #others: RecordWatch<{ readonly operator: string }, { readonly fit: boolean }>;
  readonly #changed = new Trigger();
  #answeredAt: number;
  #answers = true;
  #isReady = false;

  constructor(options: CandidacyOptions) {
    const { store, clock, log } = options;
    this.#options = options;
    this.#answeredAt = clock.monotonic();
    this.#others = new RecordWatch(store, candidateRecords, {
      clock,
      log,
      onChange: () => {
        this.#changed.fire();
      },
    });
  }

  /** All that has to be known is known. */
  ready(): void {
    this.#isReady = true;
    this.#changed.fire();
  }

  /** Whether the API server has just answered us. */
  apiAnswers(answers: boolean): void {
    const { clock, patienceMs, onYield } = this.#options;
    if (answers) this.#answeredAt = clock.monotonic();
    if (answers !== this.#answers) this.#changed.fire();
    this.#answers = answers;
    if (clock.monotonic() - this.#answeredAt >= patienceMs && this.#anotherIsFit()) onYield();
  }

  /** Resolves when this operator may lead: the API server answers it, or answers nobody. Rejects when `signal` aborts. */
  async mayLead(signal: AbortSignal): Promise<void> {
    while (!this.#answers && this.#anotherIsFit()) {
      await sleep(this.#options.clock, 200, signal);
    }
  }

  tasks(): Task[] {
    const restart = { baseMs: 200, capMs: 5_000 };
    return [
      { name: 'watch of candidates', run: (signal) => this.#others.run(signal) },
      { name: 'candidacy', run: (signal) => this.#stand(signal), restart },
    ];
  }

  #anotherIsFit(): boolean {
    for (const { key, value } of this.#others.records.values()) {
      if (key.operator !== this.#options.operator && value.fit) return true;
    }
    return false;
  }

  /** Says in the registry how fit this operator is, for as long as it lives. */
  async #stand(signal: AbortSignal): Promise<void> {
    const { store, operator, leaseTtlMs, clock } = this.#options;
    const lease = await store.grantLease(leaseTtlMs, signal);
    const either = linkSignals(signal, lease.lost);
    const path = candidateRecords.path({ operator });
    try {
      let written: boolean | undefined;
      while (!either.signal.aborted) {
        this.#changed.clear();
        const fit = this.#answers && this.#isReady;
        if (fit !== written) {
          const value = candidateRecords.encode({ fit });
          await store.commit([], [{ type: 'put', key: path, value, lease: lease.id }], signal);
          written = fit;
        }
        await this.#changed.wait(clock, 60_000, either.signal);
      }
    } finally {
      either.unlink();
      await lease.release();
    }
    if (!signal.aborted) throw lease.lost.reason;
  }
}
