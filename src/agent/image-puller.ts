import type { Engine, PullProgress } from './docker/engine.ts';
import { Semaphore } from './semaphore.ts';

/** Pulls at a time. The engine already fetches three layers of each at once. */
const parallelPulls = 3;

interface Flight {
  readonly done: Promise<void>;
  readonly controller: AbortController;
  readonly listeners: Set<(progress: PullProgress) => void>;
}

/** Pulls each image once, however many instances ask for it at the same time. */
export class ImagePuller {
  readonly #engine: Engine;
  readonly #flights = new Map<string, Flight>();
  readonly #slots = new Semaphore(parallelPulls);

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /**
   * Resolves when the image is here. The pull goes on while anybody waits for it; it is broken off when the
   * last one's `signal` has aborted. Throws EngineError.
   */
  async pull(
    image: string,
    onProgress: (progress: PullProgress) => void,
    signal: AbortSignal,
  ): Promise<void> {
    signal.throwIfAborted();
    const flight = this.#flights.get(image) ?? this.#begin(image);
    // A listener of its own for each caller, though the same function may come twice.
    const listener = (progress: PullProgress): void => {
      onProgress(progress);
    };
    flight.listeners.add(listener);
    const leave = (): void => {
      flight.listeners.delete(listener);
      if (flight.listeners.size > 0) return;
      // Nobody may join a flight that is being broken off.
      if (this.#flights.get(image) === flight) this.#flights.delete(image);
      flight.controller.abort();
    };
    let aborted: () => void = () => undefined;
    const gaveUp = new Promise<never>((_, reject) => {
      aborted = () => {
        reject(signal.reason instanceof Error ? signal.reason : new Error('aborted'));
      };
      signal.addEventListener('abort', aborted, { once: true });
    });
    try {
      await Promise.race([flight.done, gaveUp]);
    } finally {
      signal.removeEventListener('abort', aborted);
      leave();
    }
  }

  #begin(image: string): Flight {
    const controller = new AbortController();
    const listeners: Flight['listeners'] = new Set();
    const tell = (progress: PullProgress): void => {
      for (const listener of listeners) listener(progress);
    };
    const done = this.#slots.run(
      () => this.#engine.pull(image, tell, controller.signal),
      controller.signal,
    );
    const flight = { done, controller, listeners };
    this.#flights.set(image, flight);
    const forget = (): void => {
      if (this.#flights.get(image) === flight) this.#flights.delete(image);
    };
    // The callers see a failure through their own race; after the last has left nobody does.
    done.then(forget, forget);
    return flight;
  }
}
