import { decide } from '../../registry/decide.ts';
import { revisionRecords } from '../../registry/records/revision.ts';
import { RecordError } from '../../registry/records/record-kind.ts';
import type { Operation, Revision as StoreRevision, Store } from '../../registry/store.ts';
import type { Logger } from '../../telemetry/log.ts';
import type { Revision } from './release.ts';

/** Which Project. */
export interface ProjectIdentity {
  readonly namespace: string;
  readonly project: string;
}

/**
 * The kept revisions of projects. The leader is their only writer, so each project's are read once in a term and then
 * known; every write goes through the epoch.
 */
export class RevisionBook {
  readonly #store: Store;
  readonly #epoch: () => StoreRevision;
  readonly #log: Logger;
  readonly #known = new Map<string, readonly Revision[]>();

  constructor(store: Store, epoch: () => StoreRevision, log: Logger) {
    this.#store = store;
    this.#epoch = epoch;
    this.#log = log;
  }

  /** Of this very Project; in the order of numbers. Rejects as Store.list does. */
  async of(id: ProjectIdentity, uid: string, signal: AbortSignal): Promise<readonly Revision[]> {
    const prefix = prefixOf(id);
    let known = this.#known.get(prefix);
    if (known === undefined) {
      const { entries } = await this.#store.list(prefix, {}, signal);
      known = entries
        .flatMap(({ key, value }) => this.#read(key, value))
        .toSorted((a, b) => a.number - b.number);
      this.#known.set(prefix, known);
    }
    return known.filter((revision) => revision.uid === uid);
  }

  /** Writes and removes. Rejects with NotLeaderError, UnavailableError or what else a write fails with. */
  async change(
    id: ProjectIdentity,
    put: readonly Revision[],
    remove: readonly number[],
    signal: AbortSignal,
  ): Promise<void> {
    if (put.length === 0 && remove.length === 0) return;
    const prefix = prefixOf(id);
    const path = (number: number): string =>
      revisionRecords.path({ ...id, number: String(number) });
    const written = new Set(put.map(({ number }) => number));
    const operations: Operation[] = [
      ...put.map(({ number, ...record }): Operation => ({
        type: 'put',
        key: path(number),
        value: revisionRecords.encode(record),
      })),
      ...remove
        .filter((number) => !written.has(number))
        .map((number): Operation => ({ type: 'delete', key: path(number) })),
    ];
    const before = this.#known.get(prefix) ?? [];
    // Until the write is known to be done, nothing is.
    this.#known.delete(prefix);
    await decide(this.#store, this.#epoch(), [], operations, signal);
    const gone = new Set([...written, ...remove]);
    const rest = before.filter(({ number }) => !gone.has(number));
    this.#known.set(
      prefix,
      [...rest, ...put].toSorted((a, b) => a.number - b.number),
    );
  }

  /** The Project goes, and its history with it. */
  async forget(id: ProjectIdentity, signal: AbortSignal): Promise<void> {
    const { entries } = await this.#store.list(prefixOf(id), {}, signal);
    const operations = entries.map(({ key }): Operation => ({ type: 'delete', key }));
    if (operations.length > 0) await decide(this.#store, this.#epoch(), [], operations, signal);
    this.#known.delete(prefixOf(id));
  }

  #read(key: string, value: string): Revision[] {
    const number = Number(revisionRecords.parsePath(key)?.number);
    if (!Number.isSafeInteger(number) || number < 1) return [];
    try {
      return [{ ...revisionRecords.decode(value), number }];
    } catch (error) {
      if (!(error instanceof RecordError)) throw error;
      this.#log.warn({ key, reason: error.message }, 'a kept revision cannot be read');
      return [];
    }
  }
}

function prefixOf({ namespace, project }: ProjectIdentity): string {
  return `${revisionRecords.prefix}${namespace}/${project}/`;
}
