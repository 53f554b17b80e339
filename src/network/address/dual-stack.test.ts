import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { blockOf, parseCidr, parseIpv4, type Cidr } from './cidr.ts';
import {
  formatIpv6,
  ipv4In,
  ipv6Cidr,
  ipv6Of,
  parseIpv6Prefix,
  prefixIsIn,
  tryParseIpv6,
} from './dual-stack.ts';

const ipv4 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const ipv6 = fc.bigInt({ min: 0n, max: 2n ** 128n - 1n });
/** With runs of zeros, which random numbers hardly ever have. */
const sparse = fc
  .array(fc.constantFrom(0, 0, 0, 1, 0xa4d, 0xffff), { minLength: 8, maxLength: 8 })
  .map((groups) => groups.reduce((value, group) => (value << 16n) | BigInt(group), 0n));
const prefix = fc
  .tuple(ipv6, fc.integer({ min: 0, max: 96 }))
  .map(([address, length]) => parseIpv6Prefix(`${formatIpv6(address)}/${length}`));
const cidr: fc.Arbitrary<Cidr> = fc
  .tuple(ipv4, fc.integer({ min: 0, max: 32 }))
  .map(([address, length]) => blockOf(address, length));

describe('IPv6 addresses', () => {
  it('survive being written and read', () => {
    fc.assert(fc.property(fc.oneof(ipv6, sparse), (a) => tryParseIpv6(formatIpv6(a)) === a));
  });

  it('are written as the URL standard writes them, which is RFC 5952', () => {
    fc.assert(
      fc.property(fc.oneof(ipv6, sparse), (a) => {
        expect(`[${formatIpv6(a)}]`).toBe(new URL(`http://[${formatIpv6(a)}]/`).hostname);
      }),
    );
  });

  it.each([
    ['0:0:0:0:0:0:0:0', '::'],
    ['::1', '::1'],
    ['FD00:0077:0::0A4D:0305', 'fd00:77::a4d:305'],
    ['fd00:77::10.77.3.5', 'fd00:77::a4d:305'],
    ['::ffff:10.0.0.1', '::ffff:a00:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
  ])('%s is read, and written %s', (text, written) => {
    const address = tryParseIpv6(text);
    expect(address).toBeDefined();
    expect(formatIpv6(address ?? 0n)).toBe(written);
  });

  it.each([
    '',
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7:8::',
    '1:2:3:4::5:6:7:8',
    '12345::',
    'g::',
    '::1%eth0',
    ' ::1',
    '[::1]',
    '10.0.0.1',
    '10.0.0.1::',
    '::10.0.0.1:1',
    '::10.0.0.256',
    '1:2:3:4:5:6:7:10.0.0.1',
    ':1::',
    '::1:',
  ])('refuses %j', (text) => {
    expect(tryParseIpv6(text)).toBeUndefined();
  });
});

describe('twins', () => {
  it('lead from IPv4 to IPv6 and back, in any spelling', () => {
    fc.assert(
      fc.property(prefix, ipv4, (p, a) => {
        const text = ipv6Of(p, a);
        expect(ipv4In(p, text)).toBe(a);
        expect(ipv4In(p, text.toUpperCase())).toBe(a);
      }),
    );
  });

  it('are nobody’s outside of the prefix', () => {
    fc.assert(
      fc.property(prefix, ipv6, (p, a) => {
        const found = ipv4In(p, formatIpv6(a));
        expect(found === undefined || ipv6Of(p, found) === formatIpv6(a)).toBe(true);
      }),
    );
    expect(ipv4In(parseIpv6Prefix('fd00:77::/64'), 'fd00:78::a4d:305')).toBeUndefined();
    expect(ipv4In(parseIpv6Prefix('fd00:77::/64'), '10.77.3.5')).toBeUndefined();
  });

  it('of a block are the twins of its addresses', () => {
    fc.assert(
      fc.property(prefix, cidr, ipv4, (p, block, a) => {
        const [, length] = ipv6Cidr(p, block).split('/');
        expect(ipv6Cidr(p, block).split('/')[0]).toBe(ipv6Of(p, block.base));
        expect(Number(length)).toBe(96 + block.prefix);
        const inside = blockOf(a, block.prefix).base === block.base;
        const twin = tryParseIpv6(ipv6Of(p, a)) ?? 0n;
        const base = tryParseIpv6(ipv6Of(p, block.base)) ?? 0n;
        const shift = BigInt(128 - Number(length));
        expect(twin >> shift === base >> shift).toBe(inside);
      }),
    );
  });

  it('are as the README says', () => {
    const p = parseIpv6Prefix('fd00:77::/64');
    expect(ipv6Of(p, parseIpv4('10.77.3.5'))).toBe('fd00:77::a4d:305');
    expect(ipv6Cidr(p, parseCidr('10.77.3.0/24'))).toBe('fd00:77::a4d:300/120');
    expect(ipv6Cidr(p, parseCidr('10.77.0.0/16'))).toBe('fd00:77::a4d:0/112');
  });
});

describe('prefixes', () => {
  it('lose what comes after their length, and stay what they are in JSON', () => {
    const p = parseIpv6Prefix('fd00:77:0:0:1:2:3:4/64');
    expect(p).toEqual(parseIpv6Prefix('fd00:77::/96'));
    expect(JSON.parse(JSON.stringify(p))).toEqual(p);
    expect(prefixIsIn(p, 'fd00::', 8)).toBe(true);
    expect(prefixIsIn(p, 'fe00::', 8)).toBe(false);
  });

  it.each([
    ['fd00:77::', 'not an IPv6 network'],
    ['fd00:77::/129', 'not an IPv6 network'],
    ['fd00:77::/064', 'not an IPv6 network'],
    ['10.77.0.0/16', 'not an IPv6 network'],
    ['fd00:77::/97', 'leaves no room for IPv4 addresses: /96 is the longest prefix'],
  ])('refuses %s', (text, message) => {
    expect(() => parseIpv6Prefix(text)).toThrow(message);
  });
});
