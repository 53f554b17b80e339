/**
 * Writing DNS answers. Done here and not with a library, because names want compressing: without, a third as many
 * addresses fit into a UDP packet.
 */
import { tryParseIpv6 } from '../../network/address/dual-stack.ts';
import type { ZoneRecord } from '../../network/names/zone-answer.ts';
import { maxUdpBytes, replyLimit, type Query } from './query.ts';
import { flag, headerBytes, questionEnd, rcode, typeNumbers } from './wire.ts';

/** Says that ANY is not answered in full (RFC 8482, 4.2): else it is what an amplifier of attacks would be asked. */
interface HostInfoRecord {
  readonly type: 'HINFO';
  readonly name: string;
  readonly ttl: number;
}

type ReplyRecord = ZoneRecord | HostInfoRecord;

/** What to say. */
export interface Reply {
  readonly rcode: number;
  readonly authoritative: boolean;
  readonly answers: readonly ReplyRecord[];
  readonly authorities: readonly ReplyRecord[];
  readonly additionals: readonly ReplyRecord[];
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
  const optBytes = query.edns === undefined ? 0 : optRecordBytes;
  const writer = new MessageWriter(query.question, query.name);
  const room = replyLimit(query, transport) - optBytes;
  let answers = 0;
  for (const record of reply.answers) {
    if (!writer.record(record, room)) break;
    answers += 1;
  }
  const truncated = answers < reply.answers.length;
  const authorities = truncated ? 0 : writer.records(reply.authorities, room);
  const additionals = truncated ? 0 : writer.records(reply.additionals, room);
  if (query.edns !== undefined) writer.opt(reply.rcode >> 4, query.edns.dnssecOk);
  const flags =
    flag.response |
    (query.opcode << 11) |
    (reply.authoritative ? flag.authoritative : 0) |
    (truncated ? flag.truncated : 0) |
    (query.recursionDesired ? flag.recursionDesired : 0) |
    flag.recursionAvailable |
    (query.checkingDisabled ? flag.checkingDisabled : 0) |
    (reply.rcode & 15);
  return writer.finish(query.id, flags, [1, answers, authorities, additionals + (optBytes && 1)]);
}

/** FORMERR for a message whose question could not be read. */
export function encodeFormatError(id: number): Buffer {
  const message = Buffer.alloc(headerBytes);
  message.writeUInt16BE(id, 0);
  message.writeUInt16BE(flag.response | flag.recursionAvailable | rcode.formatError, 2);
  return message;
}

/** "Ask again over TCP", made without reading more of `message` than its question; undefined when that is not whole. */
export function encodeAskOverTcp(message: Buffer): Buffer | undefined {
  const end = message.length >= headerBytes ? questionEnd(message) : undefined;
  if (end === undefined || message.readUInt16BE(4) !== 1) return undefined;
  const flags = message.readUInt16BE(2);
  if ((flags & flag.response) !== 0) return undefined;
  const reply = Buffer.alloc(end);
  message.copy(reply, 0, 0, end);
  const kept = flags & (0x7800 | flag.recursionDesired | flag.checkingDisabled);
  reply.writeUInt16BE(kept | flag.response | flag.recursionAvailable | flag.truncated, 2);
  [1, 0, 0, 0].forEach((count, i) => reply.writeUInt16BE(count, 4 + 2 * i));
  return reply;
}

/** The EDNS record of an answer (RFC 6891). */
export function optRecord(extendedRcode: number, dnssecOk: boolean): Buffer {
  const record = Buffer.alloc(optRecordBytes);
  record.writeUInt16BE(typeNumbers.OPT, 1);
  record.writeUInt16BE(maxUdpBytes, 3);
  record[5] = extendedRcode;
  record.writeUInt16BE(dnssecOk ? 0x8000 : 0, 7);
  return record;
}

/** Length of an EDNS record without options. */
const optRecordBytes = 11;

const rfc8482 = Buffer.from('RFC8482');

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
  records(records: readonly ReplyRecord[], limit: number): number {
    let count = 0;
    while (count < records.length && this.record(records[count] as ReplyRecord, limit)) count += 1;
    return count;
  }

  /** Appends a record, unless the message would grow beyond `limit` bytes. */
  record(record: ReplyRecord, limit: number): boolean {
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
      case 'AAAA':
        this.#ipv6(tryParseIpv6(record.address) ?? 0n);
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
      case 'HINFO':
        // CPU "RFC8482", no operating system.
        this.#uint8(rfc8482.length);
        for (const letter of rfc8482) this.#uint8(letter);
        this.#uint8(0);
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

  opt(extendedRcode: number, dnssecOk: boolean): void {
    const record = optRecord(extendedRcode, dnssecOk);
    this.#reserve(record.length);
    this.#length += record.copy(this.#buffer, this.#length);
  }

  finish(id: number, flags: number, counts: readonly number[]): Buffer {
    [id, flags, ...counts].forEach((value, i) => this.#buffer.writeUInt16BE(value, i * 2));
    return this.#buffer.subarray(0, this.#length);
  }

  #name(name: string, compress = true): void {
    const whole = this.#names.get(name);
    if (compress && whole !== undefined) {
      this.#uint16(0xc000 | whole);
      return;
    }
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
    // As it was asked, whatever the bytes; the root needs no pointer.
    if (name !== '') this.#names.set(name, at);
    const labels = name.split('.');
    for (let i = 0, offset = at; i < labels.length; i++) {
      const label = labels[i] ?? '';
      // Only plain names can be found again byte by byte.
      if (!/^[\w-]+$/.test(label)) return;
      this.#names.set(labels.slice(i).join('.'), offset);
      offset += label.length + 1;
    }
  }

  #ipv6(address: bigint): void {
    for (let shift = 96n; shift >= 0n; shift -= 32n) {
      this.#uint32(Number((address >> shift) & 0xffff_ffffn));
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
