import { optRecord } from './message.ts';
import { maxUdpBytes, replyLimit, type Query } from './query.ts';
import { flag, headerBytes, questionEnd, rcode, readRecord, typeNumbers } from './wire.ts';

/** Longest life of a kept answer, and of a kept "there is none", in seconds: a host's cache is not to outlive a move by hours. */
const maxTtlSeconds = 3_600;
const maxNegativeTtlSeconds = 300;

/** A resolver's answer, taken apart as far as keeping it asks for. */
export interface ForeignAnswer {
  /** Without EDNS record, which is between two neighbours and not part of the answer (RFC 6891, 6.2.6). */
  readonly message: Buffer;
  readonly ttlsAt: readonly number[];
  /** How long it may be kept; 0 = not at all. */
  readonly lifeMs: number;
}

/** Undefined when it is not whole, or built in a way that does not let the EDNS record be taken out. */
export function readForeignAnswer(answer: Buffer): ForeignAnswer | undefined {
  if (answer.length < headerBytes || answer.readUInt16BE(4) !== 1) return undefined;
  const start = questionEnd(answer);
  if (start === undefined) return undefined;
  const flags = answer.readUInt16BE(2);
  const counts = [6, 8, 10].map((at) => answer.readUInt16BE(at)) as [number, number, number];
  const ends = [counts[0], counts[0] + counts[1], counts[0] + counts[1] + counts[2]] as const;
  const ttlsAt: number[] = [];
  let shortest = maxTtlSeconds;
  let negative: number | undefined;
  let at = start;
  for (let i = 0; i < ends[2]; i++) {
    const record = readRecord(answer, at);
    if (record === undefined) return undefined;
    if (record.type === typeNumbers.OPT) {
      // What follows it would move when it is taken out, and its upper code bits would be lost.
      if (i !== ends[2] - 1 || i < ends[1] || record.ttl >>> 24 !== 0) return undefined;
      counts[2] -= 1;
      break;
    }
    ttlsAt.push(record.ttlAt);
    // RFC 2181, 8: a TTL with the uppermost bit set means 0.
    const ttl = record.ttl > 0x7fffffff ? 0 : record.ttl;
    shortest = Math.min(shortest, ttl);
    if (i >= ends[0] && i < ends[1] && record.type === typeNumbers.SOA && record.end >= start + 4) {
      // RFC 2308, 5: the lesser of the record's TTL and its last field.
      negative = Math.min(ttl, answer.readUInt32BE(record.end - 4));
    }
    at = record.end;
  }
  const message = Buffer.from(answer.subarray(0, at));
  counts.forEach((count, i) => message.writeUInt16BE(count, 6 + 2 * i));
  return { message, ttlsAt, lifeMs: lifeSeconds() * 1_000 };

  function lifeSeconds(): number {
    if ((flags & flag.truncated) !== 0) return 0;
    const code = flags & 15;
    if (code === rcode.noError && hasAnswer()) return shortest;
    const isNegative = code === rcode.nameError || code === rcode.noError;
    // Without an SOA record nobody knows for how long (RFC 2308, 5).
    if (!isNegative || negative === undefined) return 0;
    return Math.min(shortest, negative, maxNegativeTtlSeconds);
  }

  /** Whether there is a record of the type asked for: a lone CNAME leads to "there is none". */
  function hasAnswer(): boolean {
    const asked = answer.readUInt16BE((start ?? 0) - 4);
    let place: number = start ?? 0;
    for (let i = 0; i < ends[0]; i++) {
      const record = readRecord(answer, place);
      if (record === undefined) return false;
      if (record.type === asked) return true;
      place = record.end;
    }
    return false;
  }
}

/** The answer as `query` wants it: its id, its letters, its size, times to live less by `ageMs`. */
export function foreignReply(
  answer: ForeignAnswer,
  query: Query,
  transport: 'udp' | 'tcp',
  ageMs: number,
): Buffer {
  const opt = query.edns === undefined ? Buffer.alloc(0) : optRecord(0, query.edns.dnssecOk);
  const questionEnds = headerBytes + query.question.length;
  const fits = answer.message.length + opt.length <= replyLimit(query, transport);
  const kept = fits ? answer.message : answer.message.subarray(0, questionEnds);
  const reply = Buffer.concat([kept, opt]);
  reply.writeUInt16BE(query.id, 0);
  query.question.copy(reply, headerBytes);
  let flags = reply.readUInt16BE(2) & ~(flag.authoritative | flag.recursionDesired);
  if (query.recursionDesired) flags |= flag.recursionDesired;
  if (!fits) {
    flags |= flag.truncated;
    reply.fill(0, 6, headerBytes);
  } else if (ageMs >= 1_000) {
    const age = Math.floor(ageMs / 1_000);
    for (const at of answer.ttlsAt) {
      reply.writeUInt32BE(Math.max(0, reply.readUInt32BE(at) - age), at);
    }
  }
  reply.writeUInt16BE(flags, 2);
  if (opt.length > 0) reply.writeUInt16BE(reply.readUInt16BE(10) + 1, 10);
  return reply;
}

/** The query as it goes to the host's resolvers: what matters of it, without cookies and other options of the asker's. */
export function foreignQuery(query: Query): Buffer {
  const header = Buffer.alloc(headerBytes);
  const flags =
    (query.recursionDesired ? flag.recursionDesired : 0) |
    (query.authenticData ? flag.authenticData : 0) |
    (query.checkingDisabled ? flag.checkingDisabled : 0);
  header.writeUInt16BE(query.id, 0);
  header.writeUInt16BE(flags, 2);
  header.writeUInt16BE(1, 4);
  if (query.edns === undefined) return Buffer.concat([header, query.question]);
  header.writeUInt16BE(1, 10);
  return Buffer.concat([header, query.question, optRecord(0, query.edns.dnssecOk)]);
}

/** What queries must have in common to get the same answer: all but id, letters and size. */
export function foreignKey(query: Query): string {
  const bits =
    Number(query.recursionDesired) |
    (Number(query.authenticData) << 1) |
    (Number(query.checkingDisabled) << 2) |
    (Number(query.edns !== undefined) << 3) |
    (Number(query.edns?.dnssecOk === true) << 4);
  return `${bits} ${query.type} ${query.class} ${query.name.toLowerCase()}`;
}

/** Answers longer than this are not kept: few names would fill the memory. */
export const maxKeptBytes = 2 * maxUdpBytes;
