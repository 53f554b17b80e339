import { sleep } from '../../runtime/clock.ts';
import type { ApiContext } from '../context.ts';

const intervalMs = 2_000;
/** Away for this long, watches end: a client that waits for events would otherwise never know. */
const endWatchesAfterMs = 10_000;

/** Asks the store at intervals whether it is there. */
export class StoreProbe {
  readonly #context: ApiContext;
  #failingSince: number | undefined;
  #ended = false;

  constructor(context: ApiContext) {
    this.#context = context;
  }

  /** False when the store has not answered for so long that watches were ended. */
  get healthy(): boolean {
    return !this.#ended;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, objects, log, cache } = this.#context;
    while (!signal.aborted) {
      const started = clock.monotonic();
      try {
        await objects.revision();
        if (this.#ended) log.info('the store answers again');
        this.#failingSince = undefined;
        this.#ended = false;
      } catch (error) {
        this.#failingSince ??= started;
        if (!this.#ended && clock.monotonic() - this.#failingSince >= endWatchesAfterMs) {
          this.#ended = true;
          log.error({ err: error }, 'the store does not answer; all watches end');
          cache.endAll('unavailable');
        }
      }
      try {
        await sleep(clock, intervalMs, signal);
      } catch {
        return;
      }
    }
  }
}
