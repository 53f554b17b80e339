import { plainOrdinal, seatKey } from '../api/v1alpha1/seat.ts';
import {
  acmeAnsweredRecords,
  appliedRecords,
  drainRecords,
  endpointRecords,
  instanceId,
  instanceRecords,
  type DrainRecord,
  type InstanceKey,
} from '../registry/records/index.ts';
import type { Condition, Entry, Lease, Operation, Revision, Store } from '../registry/store.ts';
import { sleep, type Clock } from '../runtime/clock.ts';
import type { Logger } from '../telemetry/log.ts';
import { isAborted } from '../runtime/aborted.ts';
import type { DesiredInstance } from './desired.ts';
import type { InstanceReport } from './report.ts';

/** Writes of one transaction; etcd takes 128 operations. */
const batchSize = 60;
const retryMs = 200;
const longestRetryMs = 2000;

/** One key that this host answers for. */
interface Slot {
  readonly path: string;
  /** What it should say; undefined: it should not be there. */
  wanted: string | undefined;
  /**
   * The decision that entitles this host to the key. Endpoint keys do not name a host: after a move, two hosts may
   * both believe that they run the instance, and only the one whose placement stands at the moment of the write may speak.
   */
  guard: { readonly path: string; readonly modRevision: Revision } | undefined;
  /** What was last written under the present lease, and in which revision. */
  written: { readonly text: string; readonly revision: Revision } | undefined;
  /**
   * A write of it is under way, or has ended without an answer: `written` may not be what stands. Until this is settled the slot
   * is never up to date and never forgotten.
   */
  doubt: boolean;
}

/**
 * Keeps the instance and endpoint records of this host equal to its reports: written on the host's lease, only when
 * something has changed, together in few transactions, and all of them again under a new lease.
 */
export class RecordWriter {
  readonly #store: Store;
  readonly #host: string;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #slots = new Map<string, Slot>();
  readonly #dirty = new Set<Slot>();
  /** Which endpoint each instance speaks through, and which instance speaks through each endpoint. */
  readonly #spoken = new Map<string, string>();
  readonly #speakers = new Map<string, string>();
  readonly #settling = new Set<{ readonly slots: Set<Slot>; readonly done: () => void }>();
  #withdrawn: Revision = 0n;
  /** Before that, what an agent before this one has said still stands: nothing is known to be untrue. */
  #informed = false;
  #lease: Lease | undefined;
  #wake: () => void = () => undefined;

  constructor(store: Store, host: string, clock: Clock, log: Logger) {
    this.#store = store;
    this.#host = host;
    this.#clock = clock;
    this.#log = log;
  }

  /**
   * The last revision in which an endpoint of this host has ceased to stand; 0: in none that this agent or, if it was
   * stopped while it waited for the other hosts, the one before it knows of.
   */
  get withdrawn(): Revision {
    return this.#withdrawn;
  }

  /** Says up to which revision this host heeds changes of endpoints. */
  setApplied(revision: Revision): void {
    const text = appliedRecords.encode({ revision: String(revision) });
    this.#want(appliedRecords.path({ host: this.#host }), text, undefined);
  }

  /** Says which challenges the router of this host answers. */
  setAnswered(tokens: readonly string[]): void {
    this.#want(
      acmeAnsweredRecords.path({ host: this.#host }),
      tokens.length === 0 ? undefined : acmeAnsweredRecords.encode({ tokens: [...tokens] }),
      undefined,
    );
  }

  /** Asks the other hosts how far they are; undefined: no more. */
  setDrain(note: DrainRecord | undefined): void {
    this.#want(
      drainRecords.path({ host: this.#host }),
      note && drainRecords.encode(note),
      undefined,
    );
  }

  /** Takes the report of one instance. */
  set(key: InstanceKey, report: InstanceReport, desired: DesiredInstance | undefined): void {
    const { record, endpoint } = report;
    const guard = desired && { path: desired.path, modRevision: desired.modRevision };
    this.#want(
      instanceRecords.path({ host: this.#host, ...key }),
      record && instanceRecords.encode(record),
      undefined,
    );
    this.#speak(key, endpoint && endpointRecords.encode(endpoint), guard, desired);
  }

  /**
   * Two instances of one ordinal may be here while an update is under way. The successor has an endpoint of its own until
   * its predecessor is gone, and then takes over the ordinal's; each only withdraws what it itself has said.
   */
  #speak(
    key: InstanceKey,
    text: string | undefined,
    guard: Slot['guard'],
    desired: DesiredInstance | undefined,
  ): void {
    const id = instanceId(key);
    const before = this.#spoken.get(id);
    const beside = desired?.placement.beside === true;
    const path = endpointRecords.path({
      ...key,
      ordinal: seatKey(plainOrdinal(key.ordinal), beside),
    });
    const own = (at: string): boolean => (this.#speakers.get(at) ?? id) === id;
    if (text !== undefined) {
      this.#speakers.set(path, id);
      this.#spoken.set(id, path);
      this.#want(path, text, guard);
    } else if (own(path)) {
      this.#want(path, undefined, guard);
      this.#speakers.delete(path);
    }
    if (before !== undefined && (before !== path || text === undefined)) {
      if (before !== path && own(before)) {
        this.#want(before, undefined, guard);
        this.#speakers.delete(before);
      }
      if (text === undefined) this.#spoken.delete(id);
    }
  }

  /**
   * Writes under `lease` from now on, and everything anew.
   *
   * @param left records that an earlier lease or an earlier agent of this host has left: those that are not
   *   wanted any more are removed.
   */
  useLease(lease: Lease, left: readonly Entry[]): void {
    this.#lease = lease;
    for (const slot of this.#slots.values()) slot.written = undefined;
    for (const entry of left) {
      this.#inherit(entry);
      this.#slot(entry.key).written = { text: '', revision: entry.modRevision };
    }
    for (const slot of this.#slots.values()) {
      if (slot.wanted !== undefined || this.#informed) this.#dirty.add(slot);
    }
    this.#wake();
  }

  /** Says that every instance has been reported once: what is not wanted by now goes. */
  informed(): void {
    if (this.#informed) return;
    this.#informed = true;
    for (const slot of this.#slots.values()) if (slot.wanted === undefined) this.#dirty.add(slot);
    this.#wake();
  }

  /** Paths of everything that stands under the present lease, with the texts: for handing them to another lease. */
  standing(): readonly {
    readonly path: string;
    readonly text: string;
    readonly revision: Revision;
  }[] {
    return [...this.#slots.values()].flatMap(({ path, written }) =>
      written === undefined || written.text === '' ? [] : [{ path, ...written }],
    );
  }

  /** Resolves when everything that is to be written at this moment is, or after `atMostMs`. What comes later is not waited for. */
  async settled(atMostMs: number): Promise<void> {
    const slots = new Set(this.#dirty);
    if (slots.size === 0) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        cancel();
        this.#settling.delete(waiting);
        resolve();
      };
      const waiting = { slots, done };
      const cancel = this.#clock.schedule(done, atMostMs);
      this.#settling.add(waiting);
    });
  }

  /** An agent before this one has asked the other hosts for a revision: they may not have answered yet. */
  #inherit(entry: Entry): void {
    if (drainRecords.parsePath(entry.key) === undefined) return;
    try {
      this.#gone(BigInt(drainRecords.decode(entry.value).revision));
    } catch (error) {
      this.#log.debug({ err: error }, 'the drain record that was left behind cannot be read');
    }
  }

  #gone(revision: Revision): void {
    if (revision > this.#withdrawn) this.#withdrawn = revision;
  }

  /**
   * Compares everything that should stand with the registry, in one small read-only transaction for each batch, and has
   * written again what somebody has changed or removed. Returns how many records were wrong.
   */
  async audit(signal?: AbortSignal): Promise<number> {
    const lease = this.#lease;
    if (lease === undefined || isAborted(lease.lost)) return 0;
    let wrong = 0;
    const standing = [...this.#slots.values()].filter(
      (slot) => slot.written !== undefined && !this.#dirty.has(slot),
    );
    for (let start = 0; start < standing.length; start += batchSize) {
      const conditions = standing.slice(start, start + batchSize).flatMap(({ path, written }) => {
        if (written === undefined) return [];
        return [{ type: 'unchanged', key: path, modRevision: written.revision } as const];
      });
      if (conditions.length === 0) continue;
      const result = await this.#store.commit(conditions, [], signal);
      if (result.committed || this.#lease !== lease) continue;
      for (const { key: path, modRevision } of conditions) {
        const slot = this.#slots.get(path);
        const present = result.current.get(path);
        if (present?.modRevision === modRevision || slot?.written?.revision !== modRevision)
          continue;
        slot.written = undefined;
        this.#dirty.add(slot);
        wrong++;
      }
    }
    if (wrong > 0) {
      this.#log.warn(
        { records: wrong },
        'records of this host were changed by others; writing them again',
      );
      this.#wake();
    }
    return wrong;
  }

  /** Writes until `signal` aborts. Failures are retried for ever, slower and slower. */
  async run(signal: AbortSignal): Promise<void> {
    let failures = 0;
    while (!isAborted(signal)) {
      const lease = this.#lease;
      if (this.#dirty.size === 0 || lease === undefined || isAborted(lease.lost)) {
        await this.#sleepUntilWoken(signal);
        continue;
      }
      try {
        await this.#flush(lease, signal);
        failures = 0;
      } catch (error) {
        if (isAborted(signal)) return;
        // Under a lost lease there is nothing to mend here: a new one brings everything back.
        if (failures++ === 0) this.#log.warn({ err: error }, 'cannot write reports; trying again');
        const pauseMs = Math.min(longestRetryMs, retryMs * 2 ** Math.min(failures, 10));
        await sleep(this.#clock, pauseMs, signal).catch(() => undefined);
      }
    }
  }

  #want(path: string, text: string | undefined, guard: Slot['guard']): void {
    const known = this.#slots.get(path);
    if (known === undefined && text === undefined) return;
    const slot = known ?? this.#slot(path);
    if (slot.wanted === text && slot.guard?.modRevision === guard?.modRevision) return;
    slot.wanted = text;
    slot.guard = guard;
    if (slot.written?.text === text && !slot.doubt) this.#dirty.delete(slot);
    else this.#dirty.add(slot);
    this.#forgetIfDone(slot);
    this.#tellSettled();
    this.#wake();
  }

  #slot(path: string): Slot {
    let slot = this.#slots.get(path);
    if (slot === undefined) {
      slot = { path, wanted: undefined, guard: undefined, written: undefined, doubt: false };
      this.#slots.set(path, slot);
    }
    return slot;
  }

  #forgetIfDone(slot: Slot): void {
    if (slot.wanted !== undefined || slot.written !== undefined || slot.doubt) return;
    this.#dirty.delete(slot);
    this.#slots.delete(slot.path);
  }

  async #flush(lease: Lease, signal: AbortSignal): Promise<void> {
    const slots = [...this.#dirty].slice(0, batchSize);
    if ((await this.#write(lease, slots, signal)) !== undefined) {
      // One of them has lost its right (or its key to another host): let each speak for itself.
      for (const slot of slots) {
        const attempt = { text: slot.wanted, guard: slot.guard };
        const current = await this.#write(lease, [slot], signal);
        if (current !== undefined) this.#refused(slot, attempt, current.get(slot.path), lease);
      }
    }
    this.#tellSettled();
  }

  #tellSettled(): void {
    for (const { slots, done } of [...this.#settling]) {
      for (const slot of slots) if (!this.#dirty.has(slot)) slots.delete(slot);
      if (slots.size === 0) done();
    }
  }

  /** Writes the slots in one transaction. When a condition did not hold: what stands at the keys that conditions name. */
  async #write(
    lease: Lease,
    slots: readonly Slot[],
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, Entry | undefined> | undefined> {
    const conditions = new Map<string, Condition>();
    const operations: Operation[] = [];
    const attempts: { readonly slot: Slot; readonly text: string | undefined; doubt: boolean }[] =
      [];
    for (const slot of slots) {
      const { path, wanted, guard, written, doubt } = slot;
      attempts.push({ slot, text: wanted, doubt });
      if (wanted !== undefined) {
        if (guard !== undefined) {
          conditions.set(guard.path, {
            type: 'unchanged',
            key: guard.path,
            modRevision: guard.modRevision,
          });
        }
        operations.push({ type: 'put', key: path, value: wanted, lease: lease.id });
      } else if (written !== undefined || doubt) {
        // Only what this host wrote is its to remove.
        const modRevision = written?.revision ?? 0n;
        conditions.set(path, { type: 'unchanged', key: path, modRevision });
        operations.push({ type: 'delete', key: path });
      }
    }
    lease.assertAlive();
    if (operations.length === 0) {
      this.#settle(attempts, 0n);
      return undefined;
    }
    for (const { slot } of attempts) slot.doubt = true;
    const result = await this.#store.commit([...conditions.values()], operations, signal);
    if (!result.committed) {
      for (const { slot, doubt } of attempts) slot.doubt = doubt;
      return result.current;
    }
    if (this.#lease === lease) this.#settle(attempts, result.revision);
    return undefined;
  }

  /** Notes what stands now. What was wanted otherwise while the write was under way is still to be written. */
  #settle(attempts: readonly { slot: Slot; text: string | undefined }[], revision: Revision): void {
    for (const { slot, text } of attempts) {
      // Another text may be another address.
      const replaced = slot.written !== undefined && slot.written.text !== text;
      if (isEndpoint(slot) && (text === undefined || replaced)) this.#gone(revision);
      slot.written = text === undefined ? undefined : { text, revision };
      slot.doubt = false;
      if (slot.wanted === text) this.#dirty.delete(slot);
      this.#forgetIfDone(slot);
    }
  }

  /**
   * A put was refused because the placement has changed since: the watch brings the news, and with it a new report. A
   * delete was refused because the key is another host's now, or gone, or this host's by a write whose answer was lost.
   */
  #refused(
    slot: Slot,
    attempt: Pick<Slot, 'guard'> & { readonly text: string | undefined },
    present: Entry | undefined,
    lease: Lease,
  ): void {
    const changed = slot.wanted !== attempt.text || slot.guard !== attempt.guard;
    let again = changed;
    if (attempt.text === undefined) {
      const ours = present !== undefined && present.lease === lease.id;
      slot.doubt = false;
      slot.written = ours ? { text: present.value, revision: present.modRevision } : undefined;
      again ||= ours;
      if (!ours && present !== undefined && isEndpoint(slot)) this.#gone(present.modRevision);
    }
    if (!again) this.#dirty.delete(slot);
    this.#forgetIfDone(slot);
  }

  #sleepUntilWoken(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        signal.removeEventListener('abort', wake);
        this.#wake = () => undefined;
        resolve();
      };
      this.#wake = wake;
      signal.addEventListener('abort', wake, { once: true });
    });
  }
}

function isEndpoint({ path }: Slot): boolean {
  return path.startsWith(endpointRecords.prefix);
}
