import type { Clock } from '../../runtime/clock.ts';
import { runPeriodically } from '../../runtime/periodic.ts';
import { Trigger } from '../../runtime/trigger.ts';
import type { Logger } from '../../telemetry/log.ts';

/** An audit reads all elements; it may take this part of the time at most. */
const share = 0.01;

export interface SparingAuditOptions {
  /** For the log, "audit of virtual IPs". */
  readonly name: string;
  readonly intervalMs: number;
  readonly clock: Clock;
  readonly log: Logger;
}

/** When to compare all of a table that may be large: every interval, but seldom enough to stay cheap, and at once when asked. */
export class SparingAudit {
  readonly #options: SparingAuditOptions;
  readonly #hint = new Trigger();
  /** Monotonic milliseconds. */
  #due = 0;

  constructor(options: SparingAuditOptions) {
    this.#options = options;
  }

  /** The next one is not put off. */
  makeDue(): void {
    this.#due = 0;
  }

  /** Asks for one now. */
  request(): void {
    this.makeDue();
    this.#hint.fire();
  }

  /** Runs `action`, which compares all: what it takes says when the next one is due. */
  async measure(action: () => Promise<void>): Promise<void> {
    const { clock } = this.#options;
    const startedAt = clock.monotonic();
    await action();
    const endedAt = clock.monotonic();
    this.#due = endedAt + (endedAt - startedAt) / share;
  }

  /** Calls `audit` whenever one is due, until `signal` aborts. */
  run(audit: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    return runPeriodically(
      { ...this.#options, trigger: this.#hint, minGapMs: 500 },
      async (until) => {
        if (clock.monotonic() >= this.#due) await audit(until);
      },
      signal,
    );
  }
}
