/**
 * DNS messages: questions are read with dns-packet; answers are written here, because dns-packet does not compress
 * names, and without compression a third as many addresses fit into a UDP packet.
 */
import dnsPacket from 'dns-packet';
import type { ZoneRecord } from '../../network/zone-answer.ts';

/** Response codes, RFC 1035 and RFC 6891. */
export const rcode = {
  noError: 0,
  formatError: 1,
  serverFailure: 2,
  nameError: 3,
  notImplemented: 4,
  refused: 5,
  badVersion: 16,
} as const;

/** Largest UDP message without EDNS, and the largest that is sent with it: fits every path. RFC 1035; DNS Flag Day 2020. */
const plainUdpBytes = 512;
const maxUdpBytes = 1232;
const maxTcpBytes = 65_535;

/** A question as it came in. */
export interface Query {
  readonly id: number;
  readonly opcode: number;
  readonly recursionDesired: boolean;
  readonly checkingDisabled: boolean;
  /** Without final dot, letters as asked. */
  readonly name: string;
  readonly type: string;
  readonly class: string;
  /** The question section as it was: answers repeat it bit by bit. */
  readonly question: Buffer;
  readonly edns: { readonly version: number; readonly udpBytes: number } | undefined;
}

/** A message that cannot be answered properly: with `id` by FORMERR, without by silence. */
export interface Malformed {
  readonly malformed: true;
  readonly id: number | undefined;
}

/** Reads a query. Never throws: what is not one is Malformed. */
export function decodeQuery(message: Buffer): Query | Malformed {
  if (message.length < 12) return { malformed: true, id: undefined };
  const id = message.readUInt16BE(0);
  const flags = message.readUInt16BE(2);
  // Answering an answer makes loops.
  if ((flags & 0x8000) !== 0) return { malformed: true, id: undefined };
  const opcode = (flags >> 11) & 15;
  const end = message.readUInt16BE(4) === 1 ? questionEnd(message) : undefined;
  if (end === undefined) return { malformed: true, id };
  let packet: dnsPacket.DecodedPacket;
  try {
    packet = dnsPacket.decode(message);
  } catch {
    return { malformed: true, id };
  }
  const question = packet.questions?.[0];
  if (question === undefined) return { malformed: true, id };
  const opts = (packet.additionals ?? []).filter((record) => record.type === 'OPT');
  if (opts.length > 1) return { malformed: true, id };
  const opt = opts[0];
  return {
    id,
    opcode,
    recursionDesired: (flags & 0x0100) !== 0,
    checkingDisabled: (flags & 0x0010) !== 0,
    name: question.name === '.' ? '' : question.name,
    type: question.type,
    class: question.class ?? 'IN',
    question: message.subarray(12, end),
    edns:
      opt === undefined ? undefined : { version: opt.ednsVersion, udpBytes: opt.udpPayloadSize },
  };
}

/** Where the only question ends; undefined when it is cut off. A first name has nothing to point back to. */
export function questionEnd(message: Buffer): number | undefined {
  let at = 12;
  for (;;) {
    const length = message[at];
    if (length === undefined || length > 63 || at - 12 > 255) return undefined;
    at += 1 + length;
    if (length === 0) break;
  }
  return at + 4 <= message.length ? at + 4 : undefined;
}

/** What to say. */
export interface Reply {
  readonly rcode: number;
  readonly authoritative: boolean;
  readonly answers: readonly ZoneRecord[];
  readonly authorities: readonly ZoneRecord[];
  readonly additionals: readonly ZoneRecord[];
}

/** A reply without records. */
export function bareReply(code: number): Reply {
  return { rcode: code, authoritative: false, answers: [], authorities: [], additionals: [] };
}

/**
 * Writes a reply. Over UDP it keeps to what the asker takes (512 bytes, with EDNS at most 1,232): answers that do not
 * fit are left out and the TC bit tells so; the first ones are kept, for some resolvers never ask over TCP.
 */
export function encodeReply(query: Query, reply: Reply, transport: 'udp' | 'tcp'): Buffer {
  const limit =
    transport === 'tcp'
      ? maxTcpBytes
      : query.edns === undefined
        ? plainUdpBytes
        : Math.min(maxUdpBytes, Math.max(plainUdpBytes, query.edns.udpBytes));
  const optBytes = query.edns === undefined ? 0 : 11;
  const writer = new MessageWriter(query.question, query.name);
  const room = limit - optBytes;
  let answers = 0;
  for (const record of reply.answers) {
    if (!writer.record(record, room)) break;
    answers += 1;
  }
  const truncated = answers < reply.answers.length;
  const authorities = truncated ? 0 : writer.records(reply.authorities, room);
  const additionals = truncated ? 0 : writer.records(reply.additionals, room);
  if (query.edns !== undefined) writer.opt(reply.rcode >> 4);
  const flags =
    0x8000 |
    (query.opcode << 11) |
    (reply.authoritative ? 0x0400 : 0) |
    (truncated ? 0x0200 : 0) |
    (query.recursionDesired ? 0x0100 : 0) |
    0x0080 |
    (query.checkingDisabled ? 0x0010 : 0) |
    (reply.rcode & 15);
  return writer.finish(query.id, flags, [1, answers, authorities, additionals + (optBytes && 1)]);
}

/** FORMERR for a message whose question could not be read. */
export function encodeFormatError(id: number): Buffer {
  const message = Buffer.alloc(12);
  message.writeUInt16BE(id, 0);
  message.writeUInt16BE(0x8080 | rcode.formatError, 2);
  return message;
}

const typeNumbers = { A: 1, SOA: 6, PTR: 12, SRV: 33 } as const;

/** Builds a message after its question. Names are compressed against all that stands before them (RFC 1035, 4.1.4). */
class MessageWriter {
  #buffer = Buffer.alloc(1024);
  #length = 12;
  /** Name (as written) → where it stands. */
  readonly #names = new Map<string, number>();
  /** Names that the present record added. */
  #added: string[] = [];

  constructor(question: Buffer, name: string) {
    this.#reserve(question.length);
    question.copy(this.#buffer, this.#length);
    this.#remember(name, this.#length);
    this.#length += question.length;
  }

  /** Appends as many records as fit into `limit` bytes in all; gives their number. */
  records(records: readonly ZoneRecord[], limit: number): number {
    let count = 0;
    while (count < records.length && this.record(records[count] as ZoneRecord, limit)) count += 1;
    return count;
  }

  /** Appends a record, unless the message would grow beyond `limit` bytes. */
  record(record: ZoneRecord, limit: number): boolean {
    const start = this.#length;
    this.#added = [];
    this.#name(record.name);
    this.#uint16(typeNumbers[record.type]);
    this.#uint16(1);
    this.#uint32(record.ttl);
    const lengthAt = this.#length;
    this.#uint16(0);
    switch (record.type) {
      case 'A':
        for (const part of record.address.split('.')) this.#uint8(Number(part));
        break;
      case 'PTR':
        this.#name(record.target);
        break;
      case 'SRV':
        this.#uint16(record.priority);
        this.#uint16(record.weight);
        this.#uint16(record.port);
        // Not to be compressed: RFC 2782.
        this.#name(record.target, false);
        break;
      case 'SOA':
        this.#name(record.primary);
        this.#name(record.mailbox);
        // Refresh, retry and expire matter to secondaries only, and there are none.
        for (const value of [record.serial, 3600, 600, 86_400, record.minimum]) this.#uint32(value);
        break;
    }
    this.#buffer.writeUInt16BE(this.#length - lengthAt - 2, lengthAt);
    if (this.#length <= limit) return true;
    this.#length = start;
    for (const name of this.#added) this.#names.delete(name);
    return false;
  }

  /** The EDNS record (RFC 6891). */
  opt(extendedRcode: number): void {
    this.#uint8(0);
    this.#uint16(41);
    this.#uint16(maxUdpBytes);
    this.#uint8(extendedRcode);
    this.#uint8(0);
    this.#uint16(0);
    this.#uint16(0);
  }

  finish(id: number, flags: number, counts: readonly number[]): Buffer {
    [id, flags, ...counts].forEach((value, i) => this.#buffer.writeUInt16BE(value, i * 2));
    return this.#buffer.subarray(0, this.#length);
  }

  #name(name: string, compress = true): void {
    const labels = name
      .replace(/\.$/, '')
      .split('.')
      .filter((label) => label !== '');
    for (let i = 0; i < labels.length; i++) {
      const rest = labels.slice(i).join('.');
      const known = this.#names.get(rest);
      if (compress && known !== undefined) {
        this.#uint16(0xc000 | known);
        return;
      }
      if (this.#length < 0x3fff && known === undefined) {
        this.#names.set(rest, this.#length);
        this.#added.push(rest);
      }
      const label = Buffer.from(labels[i] ?? '', 'latin1').subarray(0, 63);
      this.#reserve(label.length + 1);
      this.#buffer[this.#length] = label.length;
      label.copy(this.#buffer, this.#length + 1);
      this.#length += label.length + 1;
    }
    this.#uint8(0);
  }

  /** Notes the name that stands at `at`, and its parents. */
  #remember(name: string, at: number): void {
    const labels = name.split('.');
    for (let i = 0, offset = at; i < labels.length; i++) {
      const label = labels[i] ?? '';
      // Only plain names can be found again byte by byte.
      if (!/^[\w-]+$/.test(label)) return;
      this.#names.set(labels.slice(i).join('.'), offset);
      offset += label.length + 1;
    }
  }

  #uint8(value: number): void {
    this.#reserve(1);
    this.#length = this.#buffer.writeUInt8(value, this.#length);
  }

  #uint16(value: number): void {
    this.#reserve(2);
    this.#length = this.#buffer.writeUInt16BE(value, this.#length);
  }

  #uint32(value: number): void {
    this.#reserve(4);
    this.#length = this.#buffer.writeUInt32BE(value >>> 0, this.#length);
  }

  #reserve(bytes: number): void {
    if (this.#length + bytes <= this.#buffer.length) return;
    const grown = Buffer.alloc((this.#buffer.length + bytes) * 2);
    this.#buffer.copy(grown);
    this.#buffer = grown;
  }
}
