/** The bones of DNS messages (RFC 1035, section 4), read without trust and without following pointers: no loop is possible. */

export const headerBytes = 12;

/** Numbers of record types. */
export const typeNumbers = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  HINFO: 13,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  OPT: 41,
  HTTPS: 65,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
} as const;

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

/** Bits of the second 16-bit word. */
export const flag = {
  response: 0x8000,
  authoritative: 0x0400,
  truncated: 0x0200,
  recursionDesired: 0x0100,
  recursionAvailable: 0x0080,
  authenticData: 0x0020,
  checkingDisabled: 0x0010,
} as const;

/** Where one resource record lies. */
export interface RawRecord {
  readonly type: number;
  readonly class: number;
  readonly ttl: number;
  readonly ttlAt: number;
  readonly dataAt: number;
  readonly end: number;
}

/** Where the only question ends; undefined when it is cut off. A first name has nothing to point back to. */
export function questionEnd(message: Buffer): number | undefined {
  let at = headerBytes;
  for (;;) {
    const length = message[at];
    if (length === undefined || length > 63) return undefined;
    at += 1 + length;
    if (length === 0) break;
  }
  return at - headerBytes <= 255 && at + 4 <= message.length ? at + 4 : undefined;
}

/** The record at `at`; undefined when it is not whole. */
export function readRecord(message: Buffer, at: number): RawRecord | undefined {
  const fixed = nameEnd(message, at);
  if (fixed === undefined || fixed + 10 > message.length) return undefined;
  const dataAt = fixed + 10;
  const end = dataAt + message.readUInt16BE(fixed + 8);
  if (end > message.length) return undefined;
  return {
    type: message.readUInt16BE(fixed),
    class: message.readUInt16BE(fixed + 2),
    ttl: message.readUInt32BE(fixed + 4),
    ttlAt: fixed + 4,
    dataAt,
    end,
  };
}

/** Where the name at `at` ends: after its root or its pointer. */
export function nameEnd(message: Buffer, at: number): number | undefined {
  const start = at;
  for (;;) {
    const length = message[at];
    if (length === undefined) return undefined;
    if (length >= 0xc0) return at + 2 <= message.length ? at + 2 : undefined;
    if (length > 63 || at - start > 255) return undefined;
    at += 1 + length;
    if (length === 0) return at;
  }
}
