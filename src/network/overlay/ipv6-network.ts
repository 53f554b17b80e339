/** The part of the network config that says where the overlay is in IPv6: flannel's fields, with one meaning for all hosts. Pure. */
import { AddressError } from '../address/cidr.ts';
import {
  ipv6Of,
  parseIpv6Prefix,
  prefixIsIn,
  tryParseIpv6,
  type Ipv6Prefix,
} from '../address/dual-stack.ts';
import { tunnelNetwork } from './tunnel.ts';

/** Networks that mean something else already: base, length and what they are. Sources: RFC 4291, section 2; RFC 6052, section 2.1. */
const reserved: readonly (readonly [base: string, bits: number, what: string])[] = [
  ['ff00::', 8, 'multicast'],
  ['fe80::', 10, 'link-local'],
  ['::', 96, 'where the loopback address ::1 is'],
  ['::ffff:0:0', 96, 'IPv4 itself, mapped'],
  ['64:ff9b::', 96, 'for translation to IPv4 (NAT64)'],
  [tunnelNetwork.base, tunnelNetwork.prefix, "that of nap's encrypted tunnel"],
];

/**
 * The first 96 bits of the overlay's IPv6 addresses; undefined when it has none. Subnets follow from those in IPv4, so flannel's
 * options for them may say that only. Throws AddressError.
 */
export function ipv6NetworkOf(
  raw: {
    readonly EnableIPv6?: boolean | undefined;
    readonly IPv6Network?: unknown;
    readonly IPv6SubnetLen?: unknown;
    readonly IPv6SubnetMin?: unknown;
    readonly IPv6SubnetMax?: unknown;
  },
  ipv4: { readonly subnetLength: number; readonly subnetMin: number; readonly subnetMax: number },
): Ipv6Prefix | undefined {
  if (raw.EnableIPv6 !== true) return undefined;
  const { IPv6Network: text } = raw;
  if (typeof text !== 'string' || text === '') {
    const said = text === undefined ? 'is missing' : `${JSON.stringify(text)} is no network`;
    throw new AddressError(
      `IPv6Network ${said}: with EnableIPv6: true, say one such as "fd00:77::/64"`,
    );
  }
  const prefix = parsed(text);
  const taken = reserved.find(([base, bits]) => prefixIsIn(prefix, base, bits));
  if (taken !== undefined) {
    throw new AddressError(
      `IPv6Network ${text} is ${taken[2]}: choose another one, such as fd00:77::/64`,
    );
  }
  const length = 96 + ipv4.subnetLength;
  if (raw.IPv6SubnetLen !== undefined && raw.IPv6SubnetLen !== 0 && raw.IPv6SubnetLen !== length) {
    throw new AddressError(
      `IPv6SubnetLen ${JSON.stringify(raw.IPv6SubnetLen)}: with SubnetLen ${ipv4.subnetLength} it is ${length}, for IPv6 subnets follow ` +
        'from those in IPv4; leave it out',
    );
  }
  for (const name of ['IPv6SubnetMin', 'IPv6SubnetMax'] as const) {
    const bound = raw[name];
    if (bound === undefined || bound === '') continue;
    const right = ipv6Of(prefix, name === 'IPv6SubnetMin' ? ipv4.subnetMin : ipv4.subnetMax);
    if (typeof bound === 'string' && tryParseIpv6(bound) === tryParseIpv6(right)) continue;
    throw new AddressError(
      `${name} ${JSON.stringify(bound)}: it is ${right}, for IPv6 subnets follow from those in IPv4; leave it out`,
    );
  }
  return prefix;
}

function parsed(text: string): Ipv6Prefix {
  try {
    return parseIpv6Prefix(text);
  } catch (error) {
    throw new AddressError(`IPv6Network: ${(error as Error).message}`);
  }
}
