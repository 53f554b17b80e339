/** IPv4 addresses as unsigned 32-bit numbers and CIDR blocks over them. Pure. */

/** A block of 2^(32 − prefix) addresses that starts at `base` (all host bits zero). */
export interface Cidr {
  readonly base: number;
  readonly prefix: number;
}

/** The text is no IPv4 address or CIDR block. */
export class AddressError extends Error {
  override readonly name = 'AddressError';
  readonly retryable = false;
}

const octet = '(0|[1-9]\\d{0,2})';
const dotted = new RegExp(`^${octet}\\.${octet}\\.${octet}\\.${octet}$`);

/**
 * Strict dotted decimal: no leading zeros, no hexadecimal, no short forms, which tools read differently.
 * Undefined for anything else.
 */
export function tryParseIpv4(text: string): number | undefined {
  const match = dotted.exec(text);
  if (match === null) return undefined;
  let value = 0;
  for (let i = 1; i <= 4; i++) {
    const part = Number(match[i]);
    if (part > 255) return undefined;
    value = value * 256 + part;
  }
  return value;
}

/** As `tryParseIpv4`, but throws AddressError. */
export function parseIpv4(text: string): number {
  const value = tryParseIpv4(text);
  if (value === undefined) throw new AddressError(`"${text}" is not an IPv4 address`);
  return value;
}

/** "10.77.0.1" */
export function formatIpv4(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join('.');
}

/** Number of addresses in a block of this prefix length. */
export function blockSize(prefix: number): number {
  return 2 ** (32 - prefix);
}

/** The block of length `prefix` that holds `address`. */
export function blockOf(address: number, prefix: number): Cidr {
  return { base: address - (address % blockSize(prefix)), prefix };
}

/** Parses `10.77.0.0/16`. Host bits may be set (flannel allows it, too); they are dropped. Throws AddressError. */
export function parseCidr(text: string): Cidr {
  const slash = text.indexOf('/');
  const address = slash < 0 ? undefined : tryParseIpv4(text.slice(0, slash));
  const length = text.slice(slash + 1);
  const prefix = /^(0|[1-9]\d?)$/.test(length) ? Number(length) : 33;
  if (address === undefined || prefix > 32)
    throw new AddressError(`"${text}" is not an IPv4 network in CIDR form`);
  return blockOf(address, prefix);
}

/** "10.77.0.0/16" */
export function formatCidr(cidr: Cidr): string {
  return `${formatIpv4(cidr.base)}/${cidr.prefix}`;
}

/** The last address of the block. */
export function lastOf(cidr: Cidr): number {
  return cidr.base + blockSize(cidr.prefix) - 1;
}

/** Whether the address lies in the block. */
export function containsAddress(cidr: Cidr, address: number): boolean {
  return address >= cidr.base && address <= lastOf(cidr);
}

/** Whether the whole of the inner block lies in the outer one. */
export function containsCidr(outer: Cidr, inner: Cidr): boolean {
  return inner.base >= outer.base && lastOf(inner) <= lastOf(outer);
}

/** Whether the blocks share an address. */
export function overlaps(a: Cidr, b: Cidr): boolean {
  return a.base <= lastOf(b) && b.base <= lastOf(a);
}
