import { flag, headerBytes, questionEnd, readRecord, typeNumbers } from './wire.ts';

/** Largest UDP message without EDNS, and the largest that is sent with it: fits every path. RFC 1035; DNS Flag Day 2020. */
const plainUdpBytes = 512;
export const maxUdpBytes = 1232;
const maxTcpBytes = 65_535;

/** A question as it came in. */
export interface Query {
  readonly id: number;
  readonly opcode: number;
  readonly recursionDesired: boolean;
  readonly checkingDisabled: boolean;
  readonly authenticData: boolean;
  /** Without final dot, letters as asked; a dot inside of a label is written `\.`, so that it is none between labels. */
  readonly name: string;
  /** `A`, `SRV`, …; `TYPE<n>` for one without a name here. */
  readonly type: string;
  /** `IN`, `CH`, `HS`, `ANY` or `CLASS<n>`. */
  readonly class: string;
  /** The question section as it was: answers repeat it bit by bit. */
  readonly question: Buffer;
  readonly edns: Edns | undefined;
}

export interface Edns {
  readonly version: number;
  readonly udpBytes: number;
  readonly dnssecOk: boolean;
  /** Length of its options: cookies and the like, of which none is used. */
  readonly optionBytes: number;
}

/** A message that cannot be answered properly: with `id` by FORMERR, without by silence. */
export interface Malformed {
  readonly malformed: true;
  readonly id: number | undefined;
}

const typeNames = new Map<number, string>(
  Object.entries(typeNumbers).map(([name, number]) => [number, name]),
);
const classNames = new Map([
  [1, 'IN'],
  [3, 'CH'],
  [4, 'HS'],
  [255, 'ANY'],
]);

/** Reads a query. Never throws: what is not one is Malformed. */
export function decodeQuery(message: Buffer): Query | Malformed {
  if (message.length < headerBytes) return { malformed: true, id: undefined };
  const id = message.readUInt16BE(0);
  const flags = message.readUInt16BE(2);
  // Answering an answer makes loops.
  if ((flags & flag.response) !== 0) return { malformed: true, id: undefined };
  const end = message.readUInt16BE(4) === 1 ? questionEnd(message) : undefined;
  const edns = end === undefined ? 'malformed' : findEdns(message, end);
  if (end === undefined || edns === 'malformed') return { malformed: true, id };
  const type = message.readUInt16BE(end - 4);
  const class_ = message.readUInt16BE(end - 2);
  return {
    id,
    opcode: (flags >> 11) & 15,
    recursionDesired: (flags & flag.recursionDesired) !== 0,
    checkingDisabled: (flags & flag.checkingDisabled) !== 0,
    authenticData: (flags & flag.authenticData) !== 0,
    name: nameText(message, headerBytes),
    type: typeNames.get(type) ?? `TYPE${type}`,
    class: classNames.get(class_) ?? `CLASS${class_}`,
    question: message.subarray(headerBytes, end),
    edns,
  };
}

/** How many bytes the asker takes: over UDP 512, with EDNS at most 1,232. */
export function replyLimit(query: Query, transport: 'udp' | 'tcp'): number {
  if (transport === 'tcp') return maxTcpBytes;
  if (query.edns === undefined) return plainUdpBytes;
  return Math.min(maxUdpBytes, Math.max(plainUdpBytes, query.edns.udpBytes));
}

/** The EDNS record after `at`, where the question ends. All records must be whole, and it must be one at most (RFC 6891, 6.1.1). */
function findEdns(message: Buffer, at: number): Edns | undefined | 'malformed' {
  const before = message.readUInt16BE(6) + message.readUInt16BE(8);
  const total = before + message.readUInt16BE(10);
  let edns: Edns | undefined;
  for (let i = 0; i < total; i++) {
    const record = readRecord(message, at);
    if (record === undefined) return 'malformed';
    if (i >= before && record.type === typeNumbers.OPT) {
      if (edns !== undefined || message[at] !== 0) return 'malformed';
      edns = {
        version: (record.ttl >> 16) & 255,
        udpBytes: record.class,
        dnssecOk: (record.ttl & 0x8000) !== 0,
        optionBytes: record.end - record.dataAt,
      };
    }
    at = record.end;
  }
  return edns;
}

/** The name at `at`, which `questionEnd` has found whole. */
function nameText(message: Buffer, at: number): string {
  let name = '';
  for (let length = message[at] ?? 0; length !== 0; length = message[at] ?? 0) {
    const label = message.toString('latin1', at + 1, at + 1 + length);
    if (name !== '') name += '.';
    name += label.includes('.') ? label.replaceAll('.', '\\.') : label;
    at += 1 + length;
  }
  return name;
}
