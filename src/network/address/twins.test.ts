import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatCidr, formatIpv4, blockOf } from './cidr.ts';
import { ipv6Cidr, ipv6Of, parseIpv6Prefix } from './dual-stack.ts';
import { areTwins, areTwinSubnets, isSameIpv6, prefixOfSubnet } from './twins.ts';

const prefix = parseIpv6Prefix('fd00:77::/64');

describe('twins', () => {
  it('are known without the prefix, and the prefix by a subnet', () => {
    fc.assert(
      fc.property(fc.nat(0xffff_ffff), fc.integer({ min: 8, max: 30 }), (address, length) => {
        const subnet = blockOf(address, length);
        expect(areTwins(formatIpv4(address), ipv6Of(prefix, address))).toBe(true);
        expect(areTwins(formatIpv4((address ^ 1) >>> 0), ipv6Of(prefix, address))).toBe(false);
        expect(areTwinSubnets(formatCidr(subnet), ipv6Cidr(prefix, subnet))).toBe(true);
        expect(prefixOfSubnet(ipv6Cidr(prefix, subnet))).toEqual(prefix);
      }),
    );
  });

  it.each([
    ['10.77.1.0/24', 'fd00:77::a4d:100/119'],
    ['10.77.1.0/24', 'fd00:77::a4d:200/120'],
    ['10.77.1.0/24', 'fd00:77::/64'],
    ['10.77.1.0/24', ''],
    ['', ''],
  ])('%s and "%s" are none', (ipv4, ipv6) => {
    expect(areTwinSubnets(ipv4, ipv6)).toBe(false);
  });

  it('may be spelt in several ways', () => {
    expect(areTwins('10.77.1.2', 'FD00:77:0::10.77.1.2')).toBe(true);
    expect(isSameIpv6('fd00:77::a4d:102', 'fd00:0077:0:0:0:0:0a4d:0102')).toBe(true);
    expect(isSameIpv6('', '')).toBe(false);
  });
});
