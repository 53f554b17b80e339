import { sleep, type Clock } from '../runtime/clock.ts';
import { deadline } from '../runtime/deadline.ts';
import { linkSignals } from '../runtime/linked-signal.ts';
import type { Logger } from '../telemetry/log.ts';
import { labels } from '../api/v1alpha1/group.ts';
import { isAborted } from '../runtime/aborted.ts';
import type { Engine, EngineEvent, EngineInfo } from './docker/engine.ts';
import { isNotFound, isUnavailable } from './docker/errors.ts';
import type { ObservedState } from './observed.ts';
import { ownedContainer } from './ownership.ts';
import { Semaphore } from './semaphore.ts';

const firstRetryMs = 100;
const longestRetryMs = 2000;
/** The engine is asked for a sign of life this often, and counts as away when it gives none in time. */
const pingEveryMs = 5_000;
const pingWithinMs = 10_000;
/** A full listing on a timer, whatever the events say: the engine may drop events. */
const resyncMs = 30_000;
/** Every so many listings each container is inspected, too. */
const fullSyncEvery = 10;
const parallelInspects = 8;

export interface EngineWatcherDeps {
  readonly host: string;
  readonly engine: Engine;
  readonly observed: ObservedState;
  readonly clock: Clock;
  readonly log: Logger;
  /** Called when the engine answers and everything was listed; then `undefined` when it is gone again. */
  readonly onEngine: (info: EngineInfo | undefined, problem: string) => void;
}

/**
 * Keeps ObservedState true to the engine: subscribe to events, then list, then inspect what is new or touched. An event
 * is only a hint to look again; looks at one container never overlap, so an older answer cannot overwrite a newer one.
 */
export class EngineWatcher {
  readonly #deps: EngineWatcherDeps;
  readonly #looks = new Map<string, { again: boolean; done: Promise<void> }>();
  readonly #slots = new Semaphore(parallelInspects);
  #breakStream: (() => void) | undefined;

  constructor(deps: EngineWatcherDeps) {
    this.#deps = deps;
  }

  /** Runs until `signal` aborts; never throws for the engine's failures. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log, onEngine } = this.#deps;
    let failures = 0;
    while (!isAborted(signal)) {
      const connection = new AbortController();
      try {
        // Unlinked by the abort below.
        const either = linkSignals(signal, connection.signal);
        await this.#follow(either.signal, connection, () => {
          failures = 0;
        });
      } catch (error) {
        if (isAborted(signal)) return;
        const problem = error instanceof Error ? error.message : String(error);
        if (failures === 0) log.warn({ err: error }, 'lost the container engine; trying again');
        onEngine(undefined, problem);
      } finally {
        connection.abort();
      }
      const pauseMs = Math.min(longestRetryMs, firstRetryMs * 2 ** Math.min(failures++, 10));
      await sleep(clock, pauseMs, signal).catch(() => undefined);
    }
  }

  /** Looks at one container now; resolves when what is noted is at least as new as this call. */
  refresh(containerId: string): Promise<void> {
    const running = this.#looks.get(containerId);
    if (running !== undefined) {
      running.again = true;
      return running.done;
    }
    const look = { again: false, done: Promise.resolve() };
    look.done = this.#lookUntilQuiet(containerId, look);
    this.#looks.set(containerId, look);
    return look.done;
  }

  /** Says that a call has found the engine unreachable: connect anew instead of waiting for the event stream to notice. */
  suspect(): void {
    this.#breakStream?.();
  }

  async #follow(
    signal: AbortSignal,
    connection: AbortController,
    onSynced: () => void,
  ): Promise<void> {
    const { engine, onEngine, log } = this.#deps;
    const info = await engine.connect(signal);
    this.#breakStream = () => {
      connection.abort();
    };
    let subscribed: () => void = () => undefined;
    const standing = new Promise<void>((resolve) => {
      subscribed = resolve;
    });
    const events = engine.events(subscribed, this.#onEvent, signal);
    const sync = async (): Promise<void> => {
      await standing;
      await this.#sync(true, signal);
      onSynced();
      onEngine(info, '');
      log.info({ engine: info.version, api: info.apiVersion }, 'container engine is there');
      for (let n = 1; ; n++) {
        await sleep(this.#deps.clock, resyncMs, signal);
        await this.#sync(n % fullSyncEvery === 0, signal);
      }
    };
    await Promise.race([
      events.then(() => {
        signal.throwIfAborted();
        throw new Error('the event stream of the engine ended');
      }),
      sync(),
      this.#watchOver(signal),
    ]);
  }

  /** Rejects when the engine falls silent: one that hangs keeps its streams open, and takes no instances. */
  async #watchOver(signal: AbortSignal): Promise<never> {
    const { engine, clock } = this.#deps;
    for (;;) {
      await sleep(clock, pingEveryMs, signal);
      const limit = deadline(clock, pingWithinMs, 'the answer of the engine to a ping', signal);
      try {
        await engine.ping(limit.signal);
      } finally {
        limit.dispose();
      }
    }
  }

  readonly #onEvent = (event: EngineEvent): void => {
    const { host, observed } = this.#deps;
    // Foreign containers are not looked at further: a busy build host has thousands of events.
    const ours = event.labels[labels.host] === host || observed.get(event.id) !== undefined;
    if (!ours) return;
    void this.refresh(event.id).catch(() => undefined);
  };

  /** Lists, and looks at what is new, gone or in another state than noted; with `all` at everything. */
  async #sync(all: boolean, signal: AbortSignal): Promise<void> {
    const { engine, observed, host } = this.#deps;
    const before = new Set(observed.containerIds());
    const looks: Promise<void>[] = [];
    for (const { id, state } of await engine.listOwned(host, signal)) {
      before.delete(id);
      if (all || observed.get(id)?.state !== state) looks.push(this.refresh(id));
    }
    for (const id of before) looks.push(this.refresh(id));
    await Promise.all(looks);
  }

  async #lookUntilQuiet(containerId: string, look: { again: boolean }): Promise<void> {
    const wantsMore = (): boolean => look.again;
    try {
      do {
        look.again = false;
        await this.#slots.run(() => this.#look(containerId));
      } while (wantsMore());
    } finally {
      this.#looks.delete(containerId);
    }
  }

  async #look(containerId: string): Promise<void> {
    const { engine, observed, host } = this.#deps;
    try {
      const container = ownedContainer(await engine.inspect(containerId), host);
      if (container === undefined) observed.remove(containerId);
      else observed.put(container);
    } catch (error) {
      if (isNotFound(error)) observed.remove(containerId);
      else if (isUnavailable(error)) this.suspect();
      if (!isNotFound(error)) throw error;
    }
  }
}
