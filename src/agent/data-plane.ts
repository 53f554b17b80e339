import type { Revision } from '../registry/store.ts';

/** What is known of the registry's services. */
interface Feed {
  /** Up to which all has been read. */
  readonly revision: Revision;
  /** All has been read once. */
  readonly synced: boolean;
}

/** One thing on this host that sends traffic to endpoints, for example its virtual IPs. */
export interface DataPlanePart {
  /** It heeds every change of endpoints up to this revision. */
  applied(revision: Revision): void;
}

/**
 * How far the data plane of this host is: up to which revision of the registry every part of it has taken in the changes of
 * endpoints. Names follow the feed at once and need no part.
 */
export class DataPlane {
  readonly #feed: Feed;
  readonly #parts = new Map<DataPlanePart, { applied: Revision; readonly catchUp: () => void }>();
  readonly #listeners = new Set<() => void>();

  constructor(feed: Feed) {
    this.#feed = feed;
  }

  /** Everything up to here is heeded; 0 before all has been read and applied once. */
  get applied(): Revision {
    if (!this.#feed.synced) return 0n;
    let least = this.#feed.revision;
    for (const { applied } of this.#parts.values()) if (applied < least) least = applied;
    return least;
  }

  /**
   * Adds a part, which has applied nothing yet.
   * @param catchUp asks it to say how far it is, though nothing may have changed for it
   */
  part(catchUp: () => void): DataPlanePart {
    const state = { applied: 0n, catchUp };
    const part: DataPlanePart = {
      applied: (revision) => {
        if (revision === state.applied) return;
        state.applied = revision;
        this.changed();
      },
    };
    this.#parts.set(part, state);
    return part;
  }

  /** Somebody waits for `revision`: parts that have had nothing to do since an earlier one look again. */
  catchUp(revision: Revision): void {
    if (this.#feed.revision < revision) return;
    for (const { applied, catchUp } of this.#parts.values()) if (applied < revision) catchUp();
  }

  /** The feed or a part has gone on. */
  changed(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  /** Has `listener` called when `applied` may have changed. The returned function ends it. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
