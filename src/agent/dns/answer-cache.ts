import type { Asker, ServiceName } from '../../network/names/zone.ts';
import { BoundedCache } from './bounded-cache.ts';

/** Answers ready to be sent, that come round one after the other. */
interface Ready {
  readonly replies: Buffer[];
  /** Number of replies to make before they come round. */
  readonly wanted: number;
  next: number;
  /** The zone that they were made from. */
  readonly version: number;
  /** Monotonic time at which they end. */
  readonly until: number;
}

/** Longest query that is kept: with it a name of usual length and an EDNS record. */
const maxQueryBytes = 300;
/** Of an answer with several addresses so many orders are kept, for as long as clients may keep one of them. */
const orders = 8;
const orderLifeMs = 1_000;

/**
 * Answers by the very bytes of the query and by who asks: repeating one costs a look-up and a copy. All of it is void as soon as the
 * zone changes. Letters are part of the bytes, so an asker that varies them is answered the long way.
 */
export class AnswerCache {
  readonly #ready: BoundedCache<Ready>;
  /** Askers' parts of keys. */
  readonly #askers = new WeakMap<ServiceName, string>();

  /** @param capacity the most queries that are kept. */
  constructor(capacity = 32_768) {
    this.#ready = new BoundedCache(capacity);
  }

  /** Undefined for a message that is not kept. */
  key(message: Buffer, asker: Asker): string | undefined {
    // An ordinary query begins with a byte that no asker's name does, so that the two kinds of keys cannot meet.
    if (message.length > maxQueryBytes || ((message[2] ?? 0xff) & 0xf8) !== 0) return undefined;
    const bytes = message.toString('latin1', 2, message.length);
    if (asker === undefined) return bytes;
    return (asker === 'stranger' ? '?' : this.#askerKey(asker)) + bytes;
  }

  /** The next answer, with the id of another message. Of all askers the same bytes: they are only to be read. */
  get(key: string, version: number, now: number): Buffer | undefined {
    const ready = this.#ready.get(key);
    if (ready === undefined || ready.version !== version || now >= ready.until) return undefined;
    if (ready.replies.length < ready.wanted) return undefined;
    const reply = ready.replies[ready.next];
    ready.next = (ready.next + 1) % ready.wanted;
    return reply;
  }

  /** Keeps an answer that is the same whenever it is made, until monotonic time `until`. */
  keep(key: string, reply: Buffer, version: number, until: number): void {
    this.#ready.set(key, { replies: [Buffer.from(reply)], wanted: 1, next: 0, version, until });
  }

  /** Keeps one of several orders of an answer. */
  keepOrder(key: string, reply: Buffer, version: number, now: number): void {
    const ready = this.#ready.get(key);
    if (ready !== undefined && ready.version === version && now < ready.until) {
      if (ready.replies.length < ready.wanted) ready.replies.push(Buffer.from(reply));
      return;
    }
    const until = now + orderLifeMs;
    this.#ready.set(key, {
      replies: [Buffer.from(reply)],
      wanted: orders,
      next: 0,
      version,
      until,
    });
  }

  #askerKey(asker: ServiceName): string {
    let key = this.#askers.get(asker);
    if (key === undefined) {
      key = `${asker.namespace}/${asker.project}/${asker.service} `;
      this.#askers.set(asker, key);
    }
    return key;
  }
}
