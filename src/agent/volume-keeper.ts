import { RecordWatch } from '../registry/record-watch.ts';
import { volumeRecords } from '../registry/records/volume.ts';
import type { Store } from '../registry/store.ts';
import { sleep, type Clock } from '../runtime/clock.ts';
import type { Logger } from '../telemetry/log.ts';
import { isAborted } from '../runtime/aborted.ts';
import type { Engine } from './docker/engine.ts';
import { EngineError } from './docker/errors.ts';

export interface VolumeKeeperDeps {
  readonly host: string;
  readonly store: Store;
  readonly engine: Pick<Engine, 'removeVolume'>;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Between two tries to remove what a container still holds, milliseconds. */
const againMs = 2_000;

/**
 * Removes the volumes of this host that were released: their Project was deleted, and their reclaimPolicy is delete. The
 * record goes after the volume, so a host that was away, and an agent that is killed in between, do it later. What no
 * record calls released is never removed.
 */
export class VolumeKeeper {
  readonly #deps: VolumeKeeperDeps;
  readonly #watch;
  #wake: () => void = () => undefined;

  constructor(deps: VolumeKeeperDeps) {
    this.#deps = deps;
    this.#watch = new RecordWatch(deps.store, volumeRecords, {
      clock: deps.clock,
      log: deps.log,
      onChange: () => {
        this.#wake();
      },
      prefix: `${volumeRecords.prefix}${deps.host}/`,
    });
  }

  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#watch.run(signal), this.#reclaim(signal)]);
  }

  /**
   * Call before a container with this volume is created: what belongs to a deleted Project of the same name is removed
   * first. Throws EngineError while something still holds it.
   */
  async prepare(name: string, signal: AbortSignal): Promise<void> {
    await this.#watch.whenSynced(signal);
    for (const path of this.#released()) {
      if (this.#watch.records.get(path)?.value.name === name) await this.#remove(path, signal);
    }
  }

  #released(): string[] {
    return [...this.#watch.records]
      .filter(([, { value }]) => value.released === true)
      .map(([path]) => path);
  }

  async #reclaim(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#deps;
    while (!isAborted(signal)) {
      let left = 0;
      const changed = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      for (const path of this.#released()) {
        try {
          await this.#remove(path, signal);
        } catch (error) {
          if (isAborted(signal)) return;
          left++;
          const held = error instanceof EngineError && error.reason === 'Conflict';
          log[held ? 'debug' : 'warn']({ err: error, path }, 'a released volume is still there');
        }
      }
      await Promise.race([
        changed,
        sleep(clock, left > 0 ? againMs : 60_000, signal).catch(() => undefined),
      ]);
    }
  }

  async #remove(path: string, signal: AbortSignal): Promise<void> {
    const { engine, store, log } = this.#deps;
    const record = this.#watch.records.get(path);
    if (record?.value.released !== true) return;
    await engine.removeVolume(record.value.name, signal);
    await store.commit(
      [{ type: 'unchanged', key: path, modRevision: record.modRevision }],
      [{ type: 'delete', key: path }],
      signal,
    );
    log.info({ volume: record.value.name }, 'removed a released volume');
  }
}
