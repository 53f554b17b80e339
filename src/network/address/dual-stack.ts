/**
 * IPv6 addresses of the overlay. Each overlay IPv4 address has exactly one IPv6 address: the overlay's first 96 bits, then the
 * IPv4 address (the layout of RFC 6052, section 2.2, for a prefix of 96 bits). So nothing is leased or recorded for IPv6, and
 * whatever is known of an IPv4 address is known of its twin. Pure.
 */
import { AddressError, tryParseIpv4, type Cidr } from './cidr.ts';

/** The first 96 bits of the overlay's IPv6 addresses. Survives JSON, and equals another one exactly if its JSON does. */
export interface Ipv6Prefix {
  /** Six numbers of 16 bits. */
  readonly groups: readonly number[];
}

/** What is left of an IPv6 address for an IPv4 one, in bits. */
const hostBits = 32;
/** The longest prefix that leaves room for an IPv4 address. */
const longestPrefix = 128 - hostBits;

const hexGroup = /^[0-9a-f]{1,4}$/i;

/** Reads an IPv6 address in any of the spellings of RFC 4291, section 2.2, without a zone. Undefined for anything else. */
export function tryParseIpv6(text: string): bigint | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const [head = '', tail] = halves;
  const left = groupsOf(head, tail === undefined);
  const right = tail === undefined ? [] : groupsOf(tail, true);
  if (left === undefined || right === undefined) return undefined;
  const missing = 8 - left.length - right.length;
  // "::" stands for one group at least: RFC 4291 says "one or more".
  if (tail === undefined ? missing !== 0 : missing < 1) return undefined;
  return numberOf([...left, ...Array.from({ length: missing }, () => 0), ...right]);
}

/** The text of an address as RFC 5952 wants it, which is also how the kernel and its tools print it. */
export function formatIpv6(address: bigint): string {
  const groups = Array.from({ length: 8 }, (_, i) =>
    Number((address >> BigInt(16 * (7 - i))) & 0xffffn),
  );
  const zeros = longestZeros(groups);
  const text = (part: readonly number[]): string =>
    part.map((group) => group.toString(16)).join(':');
  // One group of zeros alone is not shortened (section 4.2.2).
  if (zeros.length < 2) return text(groups);
  return `${text(groups.slice(0, zeros.start))}::${text(groups.slice(zeros.start + zeros.length))}`;
}

/** Parses `fd00:77::/64`; bits after the prefix are dropped, as flannel does it. Throws AddressError. */
export function parseIpv6Prefix(text: string): Ipv6Prefix {
  const slash = text.indexOf('/');
  const address = slash < 0 ? undefined : tryParseIpv6(text.slice(0, slash));
  const digits = text.slice(slash + 1);
  const length = /^(0|[1-9]\d{0,2})$/.test(digits) ? Number(digits) : 129;
  if (address === undefined || length > 128) {
    throw new AddressError(`"${text}" is not an IPv6 network in CIDR form, such as fd00:77::/64`);
  }
  if (length > longestPrefix) {
    throw new AddressError(
      `"${text}" leaves no room for IPv4 addresses: /${longestPrefix} is the longest prefix`,
    );
  }
  const unused = BigInt(128 - length);
  const base = (address >> unused) << unused;
  return {
    groups: Array.from({ length: 6 }, (_, i) => Number((base >> BigInt(16 * (7 - i))) & 0xffffn)),
  };
}

/** The IPv6 twin of an IPv4 address, as RFC 5952 and the kernel write it. */
export function ipv6Of(prefix: Ipv6Prefix, ipv4: number): string {
  return formatIpv6(baseOf(prefix) | BigInt(ipv4));
}

/** The IPv6 twins of a block: `fd00:77::a4d:300/120` for 10.77.3.0/24. */
export function ipv6Cidr(prefix: Ipv6Prefix, cidr: Cidr): string {
  return `${ipv6Of(prefix, cidr.base)}/${longestPrefix + cidr.prefix}`;
}

/** The IPv4 twin of an IPv6 address in any of its spellings; undefined if it does not start with `prefix`, or is no address. */
export function ipv4In(prefix: Ipv6Prefix, text: string): number | undefined {
  const address = tryParseIpv6(text);
  if (address === undefined || address >> BigInt(hostBits) !== baseOf(prefix) >> BigInt(hostBits)) {
    return undefined;
  }
  return Number(address & 0xffff_ffffn);
}

/** Whether the first `bits` of the prefix are those of `address`. */
export function prefixIsIn(prefix: Ipv6Prefix, address: string, bits: number): boolean {
  const other = tryParseIpv6(address);
  if (other === undefined) throw new AddressError(`"${address}" is not an IPv6 address`);
  const shift = BigInt(128 - bits);
  return baseOf(prefix) >> shift === other >> shift;
}

function baseOf({ groups }: Ipv6Prefix): bigint {
  return numberOf([...groups, 0, 0]);
}

function numberOf(groups: readonly number[]): bigint {
  return groups.reduce((value, group) => (value << 16n) | BigInt(group), 0n);
}

/** Undefined when it is not a list of groups. Its last two may be written as an IPv4 address, where that is the end of the whole. */
function groupsOf(text: string, isEnd: boolean): readonly number[] | undefined {
  if (text === '') return [];
  const parts = text.split(':');
  const groups: number[] = [];
  for (const [i, part] of parts.entries()) {
    const ipv4 = isEnd && i === parts.length - 1 ? tryParseIpv4(part) : undefined;
    if (ipv4 !== undefined) groups.push(ipv4 >>> 16, ipv4 & 0xffff);
    else if (hexGroup.test(part)) groups.push(parseInt(part, 16));
    else return undefined;
  }
  return groups;
}

/** The longest run of zeros, the first of several. */
function longestZeros(groups: readonly number[]): {
  readonly start: number;
  readonly length: number;
} {
  let best = { start: 0, length: 0 };
  let start = 0;
  for (let i = 0; i < groups.length; i++) {
    if (groups[i] !== 0) start = i + 1;
    else if (i + 1 - start > best.length) best = { start, length: i + 1 - start };
  }
  return best;
}
