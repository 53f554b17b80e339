import {
  instanceId,
  placementRecords,
  RecordError,
  type InstanceKey,
  type PlacementRecord,
} from '../registry/records/index.ts';
import type { Entry, Revision, WatchBatch } from '../registry/store.ts';

/** One instance that is placed on this host. */
export interface DesiredInstance {
  readonly key: InstanceKey;
  readonly id: string;
  readonly specHash: string;
  readonly placement: PlacementRecord;
  /** Where the decision stands, and in which version: writes about the instance are made on the condition that it still does. */
  readonly path: string;
  readonly modRevision: Revision;
  /**
   * An earlier agent knew of it, and the registry has not said since that it stands: that may have lost it, or be
   * another one than then.
   */
  readonly remembered?: true;
}

/** Called for each instance whose placement may have changed. */
export type DesiredListener = (id: string, key: InstanceKey) => void;

/** What goes wrong with a record is told once per version of it. */
export type UnreadableListener = (path: string, problem: string) => void;

/**
 * The placements of one host, from the registry. Fed with watch batches and fresh listings.
 *
 * - `known` is false until a first snapshot has come: before that, absence means nothing.
 * - A record that cannot be read counts as the last readable version of it; if there is none, the instance is `unreadable`
 *   and nobody may conclude anything about it. Broken records stop nothing.
 * - What an earlier agent knew (`remember`) is a beginning that lasts until the first snapshot.
 * - A store whose revisions have gone backwards has been emptied or restored from a backup. Its snapshot proves
 *   no absence: the placements it lacks stay until deletions of them are seen, or until a later snapshot or listing lacks them, too, such
 *   as the one that comes with a new lease. Those that only an earlier agent knew stay `remembered`.
 */
export class DesiredState {
  readonly prefix: string;
  readonly #onChange: DesiredListener;
  readonly #onUnreadable: UnreadableListener;
  readonly #instances = new Map<string, DesiredInstance>();
  readonly #unreadable = new Map<string, InstanceKey>();
  #revision: Revision | undefined;
  /** Greatest revision of what an earlier agent knew. */
  #remembered: Revision | undefined;

  constructor(host: string, onChange: DesiredListener, onUnreadable: UnreadableListener) {
    this.prefix = `${placementRecords.prefix}${host}/`;
    this.#onChange = onChange;
    this.#onUnreadable = onUnreadable;
  }

  /** Whether the placements have been read at least once. */
  get known(): boolean {
    return this.#revision !== undefined;
  }

  /** All that is known is what an earlier agent knew: it says what was placed here, and nothing about what was not. */
  get remembered(): boolean {
    return this.#remembered !== undefined && !this.known;
  }

  /** Begins with what an earlier agent knew. Whatever the registry says replaces it; once it has spoken, this does nothing. */
  remember(entries: readonly Entry[]): void {
    if (this.known) return;
    let revision = 0n;
    for (const entry of entries) {
      // Its revision may be one of another registry: it compares with nothing.
      this.#put({ ...entry, modRevision: 0n }, true);
      if (entry.modRevision > revision) revision = entry.modRevision;
    }
    this.#remembered = revision;
  }

  /** Whether what is known suffices to judge this instance. */
  judges(id: string): boolean {
    if (this.remembered) return this.#instances.has(id);
    return this.known && !this.#unreadable.has(id);
  }

  get(id: string): DesiredInstance | undefined {
    return this.#instances.get(id);
  }

  all(): Iterable<DesiredInstance> {
    return this.#instances.values();
  }

  /** Takes a batch of a watch on `prefix`. */
  apply(batch: WatchBatch): void {
    if (batch.type === 'snapshot') {
      this.replace(batch.entries, batch.revision);
      return;
    }
    if (batch.type === 'events') {
      for (const event of batch.events) {
        if (event.type === 'put') this.#put(event.entry);
        else this.#delete(event.key, event.revision);
      }
    }
    if (this.#revision === undefined || batch.revision > this.#revision) {
      this.#revision = batch.revision;
    }
  }

  /** Takes a whole listing. One that is older than what is known is ignored, unless the store itself went back. */
  replace(
    entries: readonly Entry[],
    revision: Revision,
    source: 'watch' | 'listing' = 'watch',
  ): void {
    const before = this.#revision ?? this.#remembered;
    const older = before !== undefined && revision < before;
    if (older && source === 'listing') return;
    // Revisions of before compare with nothing in the new history.
    if (older) {
      for (const [id, known] of this.#instances) {
        this.#instances.set(id, { ...known, modRevision: 0n });
      }
    }
    for (const entry of entries) this.#put(entry);
    if (!older) {
      const present = new Set(entries.map((entry) => entry.key));
      for (const { path } of [...this.#instances.values()]) {
        if (!present.has(path)) this.#delete(path, revision);
      }
      for (const key of [...this.#unreadable.values()]) {
        const path = this.#pathOf(key);
        if (!present.has(path)) this.#delete(path, revision);
      }
    }
    this.#revision = revision;
  }

  #put(entry: Entry, remembered = false): void {
    const parsed = placementRecords.parsePath(entry.key);
    if (parsed === undefined || !entry.key.startsWith(this.prefix)) {
      this.#onUnreadable(entry.key, 'not the path of a placement');
      return;
    }
    const key = instanceOf(parsed);
    const id = instanceId(key);
    const known = this.#instances.get(id);
    if (known !== undefined && known.modRevision >= entry.modRevision) return;
    try {
      const placement = placementRecords.decode(entry.value);
      this.#unreadable.delete(id);
      this.#instances.set(id, {
        key,
        id: placement.id,
        specHash: placement.specHash,
        placement,
        path: entry.key,
        modRevision: entry.modRevision,
        ...(remembered && { remembered }),
      });
    } catch (error) {
      if (!(error instanceof RecordError)) throw error;
      if (known === undefined) this.#unreadable.set(id, key);
      this.#onUnreadable(entry.key, error.message);
    }
    this.#onChange(id, key);
  }

  #delete(path: string, revision: Revision): void {
    const parsed = placementRecords.parsePath(path);
    if (parsed === undefined) return;
    const key = instanceOf(parsed);
    const id = instanceId(key);
    const known = this.#instances.get(id);
    // A listing may have shown a later version already.
    if (known !== undefined && known.modRevision > revision) return;
    const changed = this.#instances.delete(id);
    const wasUnreadable = this.#unreadable.delete(id);
    if (changed || wasUnreadable) this.#onChange(id, key);
  }

  #pathOf(key: InstanceKey): string {
    return `${this.prefix}${instanceId(key)}`;
  }
}

/** The instance that a placement's path is about. */
function instanceOf({ namespace, project, service, ordinal }: InstanceKey): InstanceKey {
  return { namespace, project, service, ordinal };
}
