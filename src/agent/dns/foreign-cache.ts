import type { Clock } from '../../runtime/clock.ts';
import { BoundedCache } from './bounded-cache.ts';
import {
  foreignKey,
  foreignQuery,
  foreignReply,
  maxKeptBytes,
  readForeignAnswer,
  type ForeignAnswer,
} from './foreign-answer.ts';
import type { Forwarder } from './forwarder.ts';
import type { Query } from './query.ts';

export interface ForeignCacheOptions {
  readonly forwarder: Pick<Forwarder, 'forward'>;
  readonly clock: Clock;
  /** The most answers that are kept. Default 10,000: with answers of the usual size 2 to 3 MB. */
  readonly maxAnswers?: number;
}

interface Kept {
  readonly answer: ForeignAnswer;
  readonly since: number;
}

/** Answers of the host's resolvers, kept for as long as they allow. Many who ask the same at once make one query. */
export class ForeignCache {
  readonly #options: ForeignCacheOptions;
  readonly #kept: BoundedCache<Kept>;
  readonly #asked = new Map<string, Promise<Buffer | undefined>>();

  constructor(options: ForeignCacheOptions) {
    this.#options = options;
    this.#kept = new BoundedCache(options.maxAnswers ?? 10_000);
  }

  /** Number of answers kept. */
  get size(): number {
    return this.#kept.size;
  }

  /** The kept answer, and for how long exactly this one holds: then a second has gone from its times to live, or it has ended. */
  kept(
    query: Query,
    transport: 'udp' | 'tcp',
  ): { readonly reply: Buffer; readonly forMs: number } | undefined {
    const key = foreignKey(query);
    const kept = this.#kept.get(key);
    if (kept === undefined) return undefined;
    const ageMs = this.#options.clock.monotonic() - kept.since;
    if (ageMs >= kept.answer.lifeMs) {
      this.#kept.delete(key);
      return undefined;
    }
    const forMs = 1_000 - (ageMs % 1_000);
    return { reply: foreignReply(kept.answer, query, transport, ageMs), forMs };
  }

  /** Asks the host's resolvers; undefined when none answers. */
  async ask(
    query: Query,
    transport: 'udp' | 'tcp',
    signal?: AbortSignal,
  ): Promise<Buffer | undefined> {
    const { forwarder, clock } = this.#options;
    // Letters are part of the key here: a resolver's answer must repeat them.
    const key = `${transport} ${foreignKey(query)} ${query.name}`;
    let asked = this.#asked.get(key);
    if (asked === undefined) {
      asked = forwarder.forward(foreignQuery(query), transport, signal).finally(() => {
        this.#asked.delete(key);
      });
      this.#asked.set(key, asked);
    }
    const bytes = await asked;
    if (bytes === undefined) return undefined;
    const answer = readForeignAnswer(bytes);
    if (answer === undefined) {
      // Not ours to judge: handed on as it came.
      const reply = Buffer.from(bytes);
      reply.writeUInt16BE(query.id, 0);
      return reply;
    }
    if (answer.lifeMs > 0 && answer.message.length <= maxKeptBytes) {
      this.#kept.set(foreignKey(query), { answer, since: clock.monotonic() });
    }
    return foreignReply(answer, query, transport, 0);
  }
}
