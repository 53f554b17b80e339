import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  blockOf,
  containsAddress,
  containsCidr,
  formatCidr,
  formatIpv4,
  lastOf,
  overlaps,
  parseCidr,
  parseIpv4,
  tryParseIpv4,
  type Cidr,
} from './cidr.ts';

const address = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const cidr: fc.Arbitrary<Cidr> = fc
  .tuple(address, fc.integer({ min: 0, max: 32 }))
  .map(([a, prefix]) => blockOf(a, prefix));

describe('addresses', () => {
  it('survive being written and read', () => {
    fc.assert(fc.property(address, (a) => parseIpv4(formatIpv4(a)) === a));
  });

  it.each([
    '',
    '1.2.3',
    '1.2.3.4.5',
    '01.2.3.4',
    '256.1.1.1',
    '0x7f.0.0.1',
    '1.2.3.4 ',
    ' 1.2.3.4',
    '1.2.3.-4',
    '١.2.3.4',
  ])('refuses %j', (text) => {
    expect(tryParseIpv4(text)).toBeUndefined();
    expect(() => parseIpv4(text)).toThrow('is not an IPv4 address');
  });
});

describe('blocks', () => {
  it('survive being written and read', () => {
    fc.assert(
      fc.property(cidr, (c) => {
        expect(parseCidr(formatCidr(c))).toEqual(c);
      }),
    );
  });

  it('hold exactly the addresses from first to last', () => {
    fc.assert(
      fc.property(cidr, address, (c, a) => {
        const inside = blockOf(a, c.prefix).base === c.base;
        expect(containsAddress(c, a)).toBe(inside);
      }),
    );
  });

  it('overlap exactly when one holds the other', () => {
    fc.assert(
      fc.property(cidr, cidr, (a, b) => {
        expect(overlaps(a, b)).toBe(containsCidr(a, b) || containsCidr(b, a));
      }),
    );
  });

  it('reach the end of the address space', () => {
    expect(formatIpv4(lastOf(parseCidr('0.0.0.0/0')))).toBe('255.255.255.255');
    expect(formatIpv4(lastOf(parseCidr('255.255.255.254/31')))).toBe('255.255.255.255');
  });

  it.each([
    '10.0.0.0',
    '10.0.0.0/33',
    '10.0.0.0/',
    '10.0.0.0/08',
    '10.0.0/8',
    '/8',
    '10.0.0.0/8/9',
    '::/0',
  ])('refuses %j', (text) => {
    expect(() => parseCidr(text)).toThrow('is not an IPv4 network in CIDR form');
  });

  it('drops host bits, as flannel does', () => {
    expect(formatCidr(parseCidr('10.77.3.9/16'))).toBe('10.77.0.0/16');
  });
});
