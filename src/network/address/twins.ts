/** Which IPv6 addresses and subnets belong to which IPv4 ones, where only the two are at hand (dual-stack.ts says how). Pure. */
import { tryParseIpv4 } from './cidr.ts';
import { parseIpv6Prefix, tryParseIpv6, type Ipv6Prefix } from './dual-stack.ts';

/** The overlay's prefix, of which the IPv6 subnet of a host (`fd00:77::a4d:300/120`) is a part. Throws AddressError. */
export function prefixOfSubnet(subnet: string): Ipv6Prefix {
  return parseIpv6Prefix(`${subnet.split('/')[0] ?? ''}/96`);
}

/** Whether the last 32 bits of the IPv6 address are the IPv4 address. False for what is no address. */
export function areTwins(ipv4: string, ipv6: string): boolean {
  const [short, long] = [tryParseIpv4(ipv4), tryParseIpv6(ipv6)];
  return short !== undefined && long !== undefined && (long & 0xffff_ffffn) === BigInt(short);
}

/** The same of subnets in CIDR form. */
export function areTwinSubnets(ipv4: string, ipv6: string): boolean {
  const [short = '', shortLength = ''] = ipv4.split('/');
  const [long = '', longLength = ''] = ipv6.split('/');
  return Number(longLength) === Number(shortLength) + 96 && areTwins(short, long);
}

/** Whether two texts are spellings of one IPv6 address. */
export function isSameIpv6(a: string, b: string): boolean {
  const address = tryParseIpv6(a);
  return address !== undefined && address === tryParseIpv6(b);
}
