import type { ApiContext } from '../context.ts';

/** Removes objects whose owners are gone. */
export class GarbageCollector {
  readonly #context: ApiContext;

  constructor(context: ApiContext) {
    this.#context = context;
  }

  async run(_signal: AbortSignal): Promise<void> {
    void this.#context;
    await Promise.resolve();
  }
}
