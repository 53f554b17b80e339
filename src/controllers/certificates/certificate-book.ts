import { decide } from '../../registry/decide.ts';
import { RecordWatch } from '../../registry/record-watch.ts';
import {
  acmeAnsweredRecords,
  acmeChallengeRecords,
  acmeOrderRecords,
  type AcmeChallengeRecord,
  type AcmeOrderRecord,
  type RecordKind,
} from '../../registry/records/index.ts';
import type { Operation, Revision, Store } from '../../registry/store.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { Task } from '../../runtime/supervise.ts';
import type { Logger } from '../../telemetry/log.ts';

export interface CertificateBookOptions {
  readonly store: Store;
  /** Throws while this operator does not lead. */
  readonly epoch: () => Revision;
  /** Some record is another. */
  readonly onChange: () => void;
  readonly clock: Clock;
  readonly log: Logger;
}

/** A write that the watch has not shown yet. */
interface Written {
  readonly revision: Revision;
  /** Undefined: removed. */
  readonly value: AcmeOrderRecord | undefined;
}

/**
 * The records by which certificates are obtained. Orders and challenges are written here alone, on condition that this operator
 * still leads; what was written is there to be read at once, though the watch may be late.
 */
export class CertificateBook {
  readonly #options: CertificateBookOptions;
  readonly #orders;
  readonly #challenges;
  readonly #answered;
  /** By host. */
  readonly #written = new Map<string, Written>();

  constructor(options: CertificateBookOptions) {
    this.#options = options;
    const watch = <K, V>(kind: RecordKind<K, V>): RecordWatch<K, V> =>
      new RecordWatch(options.store, kind, options);
    this.#orders = watch(acmeOrderRecords);
    this.#challenges = watch(acmeChallengeRecords);
    this.#answered = watch(acmeAnsweredRecords);
  }

  tasks(): Task[] {
    return [
      { name: 'watch of orders', run: (signal) => this.#orders.run(signal) },
      { name: 'watch of challenges', run: (signal) => this.#challenges.run(signal) },
      { name: 'watch of answers', run: (signal) => this.#answered.run(signal) },
    ];
  }

  async whenSynced(signal: AbortSignal): Promise<void> {
    const watches = [this.#orders, this.#challenges, this.#answered];
    await Promise.all(watches.map((each) => each.whenSynced(signal)));
  }

  /** Makes sure that all is known that an earlier leader has written. */
  async catchUp(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#orders.catchUp(signal), this.#challenges.catchUp(signal)]);
  }

  /** What is written down of a host. */
  order(host: string): AcmeOrderRecord | undefined {
    const written = this.#written.get(host);
    if (written !== undefined && written.revision > this.#orders.revision) return written.value;
    this.#written.delete(host);
    return this.#orders.get({ name: host })?.value;
  }

  /** By host. */
  orders(): Map<string, AcmeOrderRecord> {
    const hosts = [...this.#orders.records.values()].map(({ key }) => key.name);
    const orders = new Map<string, AcmeOrderRecord>();
    for (const host of [...hosts, ...this.#written.keys()]) {
      const order = this.order(host);
      if (order !== undefined) orders.set(host, order);
    }
    return orders;
  }

  /** Hosts of the challenges, by token. What cannot be read is nobody's. */
  challenges(): Map<string, string> {
    const tokens = new Map<string, string>();
    for (const { key, value } of this.#challenges.records.values())
      tokens.set(key.token, value.host);
    for (const path of this.#challenges.broken.keys()) {
      const key = acmeChallengeRecords.parsePath(path);
      if (key !== undefined) tokens.set(key.token, '');
    }
    return tokens;
  }

  /** Whether the router of a host says that it answers. */
  answers(host: string, token: string): boolean {
    return this.#answered.get({ host })?.value.tokens.includes(token) === true;
  }

  async putOrder(host: string, value: AcmeOrderRecord, signal: AbortSignal): Promise<void> {
    const key = acmeOrderRecords.path({ name: host });
    const put: Operation = { type: 'put', key, value: acmeOrderRecords.encode(value) };
    this.#written.set(host, { revision: await this.#decide([put], signal), value });
  }

  async putChallenge(
    token: string,
    value: AcmeChallengeRecord,
    signal: AbortSignal,
  ): Promise<void> {
    const key = acmeChallengeRecords.path({ token });
    await this.#decide([{ type: 'put', key, value: acmeChallengeRecords.encode(value) }], signal);
  }

  async forget(
    hosts: readonly string[],
    tokens: readonly string[],
    signal: AbortSignal,
  ): Promise<void> {
    if (hosts.length === 0 && tokens.length === 0) return;
    const keys = [
      ...hosts.map((name) => acmeOrderRecords.path({ name })),
      ...tokens.map((token) => acmeChallengeRecords.path({ token })),
    ];
    const revision = await this.#decide(
      keys.map((key) => ({ type: 'delete', key })),
      signal,
    );
    for (const host of hosts) this.#written.set(host, { revision, value: undefined });
  }

  /** Rejects unless this operator leads at this moment. */
  async assertLeads(signal: AbortSignal): Promise<void> {
    await this.#decide([], signal);
  }

  async #decide(operations: readonly Operation[], signal: AbortSignal): Promise<Revision> {
    const { store, epoch } = this.#options;
    const { revision } = await decide(store, epoch(), [], operations, signal);
    return revision;
  }
}
