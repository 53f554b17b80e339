import type { Clock } from '../../runtime/clock.ts';
import type { InspectedContainer } from '../docker/engine.ts';

/** An engine that shuts down gives its containers 15 s, one after the other's start; then its socket goes (moby's shutdown-timeout). */
const shutdownMs = 20_000;

/**
 * Knows which containers were ended by the end of their engine or machine. Nothing about such an end says that the program
 * failed or finished: an engine on its way down sends SIGTERM, and a power cut leaves exit code 255.
 *
 * - Seen: the engine went away, and the end falls into the time from shortly before until it came back.
 * - Unseen: the last run began before the machine was booted.
 */
export class Interruptions {
  readonly #clock: Clock;
  readonly #bootedAt: number | undefined;
  #awaySince: number | undefined;
  #gap: { readonly from: number; readonly to: number } | undefined;

  /** @param bootedAt when the machine was booted, wall clock milliseconds. */
  constructor(clock: Clock, bootedAt: number | undefined) {
    this.#clock = clock;
    this.#bootedAt = bootedAt;
  }

  /** Takes note that the engine answers, or does not any more. */
  engine(answers: boolean): void {
    const now = this.#clock.now();
    if (!answers) {
      this.#awaySince ??= now;
    } else if (this.#awaySince !== undefined) {
      this.#gap = { from: this.#awaySince - shutdownMs, to: now };
      this.#awaySince = undefined;
    }
  }

  interrupted(ended: Pick<InspectedContainer, 'startedAt' | 'finishedAt'>): boolean {
    const started = Date.parse(ended.startedAt ?? '');
    const finished = Date.parse(ended.finishedAt ?? '');
    if (this.#bootedAt !== undefined && started < this.#bootedAt) return true;
    return this.#gap !== undefined && finished >= this.#gap.from && finished <= this.#gap.to;
  }
}
