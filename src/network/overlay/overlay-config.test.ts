import { describe, expect, it } from 'vitest';
import { formatIpv4 } from '../address/cidr.ts';
import { parseIpv6Prefix } from '../address/dual-stack.ts';
import { defaultNetworkConfig, overlayConfig, type RawNetworkConfig } from './overlay-config.ts';

function raw(changes: Partial<RawNetworkConfig>): RawNetworkConfig {
  return { Network: '10.77.0.0/16', Backend: { Type: 'vxlan' }, ...changes };
}

function encrypted(options: Record<string, unknown>): Partial<RawNetworkConfig> {
  return { Backend: { Type: 'vxlan', Encryption: 'wireguard', ...options } };
}

function ipv6(options: Partial<RawNetworkConfig>): Partial<RawNetworkConfig> {
  return { EnableIPv6: true, IPv6Network: 'fd00:77::/64', ...options };
}

describe('overlay config', () => {
  it('completes the default one as flannel would', () => {
    const config = overlayConfig(defaultNetworkConfig);
    expect(config).toMatchObject({ subnetLength: 24, vni: 1, port: 8472 });
    expect(formatIpv4(config.subnetMin)).toBe('10.77.1.0');
    expect(formatIpv4(config.subnetMax)).toBe('10.77.255.0');
  });

  it('has hosts of one segment route directly only where it is asked for', () => {
    const direct = (value: unknown) =>
      overlayConfig(raw({ Backend: { Type: 'vxlan', DirectRouting: value } })).directRouting;
    expect([undefined, false, null, true].map(direct)).toEqual([
      undefined,
      undefined,
      undefined,
      true,
    ]);
  });

  it('splits a small network into four', () => {
    const config = overlayConfig(raw({ Network: '192.168.9.0/26' }));
    expect(config.subnetLength).toBe(28);
    expect(formatIpv4(config.subnetMin)).toBe('192.168.9.16');
    expect(formatIpv4(config.subnetMax)).toBe('192.168.9.48');
  });

  it('encrypts if asked to, and only then', () => {
    const port = (options: Record<string, unknown>): number | undefined =>
      overlayConfig(raw(encrypted(options))).encryption?.port;
    expect(port({})).toBe(51821);
    expect(port({ EncryptionPort: 443, MTU: 1340 })).toBe(443);
    expect(overlayConfig(raw({}))).not.toHaveProperty('encryption');
  });

  it('carries IPv6 if asked to, and only then', () => {
    const prefix = parseIpv6Prefix('fd00:77::/96');
    const derived = {
      IPv6SubnetLen: 120,
      IPv6SubnetMin: 'fd00:77:0::10.77.1.0',
      IPv6SubnetMax: 'fd00:77::a4d:ff00',
    };
    expect(overlayConfig(raw(ipv6({}))).ipv6).toEqual(prefix);
    expect(overlayConfig(raw(ipv6(derived))).ipv6).toEqual(prefix);
    expect(overlayConfig(raw(ipv6({ EnableIPv6: false })))).toEqual(overlayConfig(raw({})));
    expect(overlayConfig(raw({}))).not.toHaveProperty('ipv6');
  });

  it.each<[string, Partial<RawNetworkConfig>, string]>([
    ['a network that is none', { Network: 'ten' }, 'not an IPv4 network'],
    ['an IPv6 network', { Network: 'fd00::/48' }, 'not an IPv4 network'],
    ['a network that is too small', { Network: '10.0.0.0/29' }, '/28 is the least'],
    ['subnets that are too small', { SubnetLen: 31 }, '30 is the most'],
    ['fewer than four subnets', { SubnetLen: 17 }, 'fewer than four subnets'],
    ['a bound outside', { SubnetMin: '10.78.0.0' }, 'SubnetMin "10.78.0.0" is not an address of'],
    ['a bound between subnets', { SubnetMax: '10.77.9.1' }, 'not the start of a /24'],
    ['bounds that cross', { SubnetMin: '10.77.9.0', SubnetMax: '10.77.8.0' }, 'lies after'],
    ['another backend', { Backend: { Type: 'udp' } }, 'nap speaks "vxlan" only'],
    ['one without a tunnel', { Backend: { Type: 'host-gw' } }, '"DirectRouting": true}'],
    [
      'one that encrypts',
      { Backend: { Type: 'wireguard' } },
      'to encrypt, say "Backend": {"Type": "vxlan", "Encryption": "wireguard"}',
    ],
    [
      'encryption of an unknown kind',
      encrypted({ Encryption: 'ipsec' }),
      'Encryption "ipsec" is unknown: say "wireguard", or leave it out to send in the clear',
    ],
    ['encryption that is no word', encrypted({ Encryption: true }), 'Encryption true is unknown'],
    ['no encryption, but null', encrypted({ Encryption: null }), 'Encryption null is unknown'],
    [
      'a port of encryption out of range',
      encrypted({ EncryptionPort: 65536 }),
      'EncryptionPort 65536 is not in 1..65535',
    ],
    [
      'a port of encryption that is none',
      encrypted({ EncryptionPort: '51821' }),
      'EncryptionPort "51821" is not in 1..65535',
    ],
    [
      "VXLAN's port for encryption",
      encrypted({ EncryptionPort: 8472 }),
      "EncryptionPort 8472 is also VXLAN's port: choose another one, such as 51821",
    ],
    [
      'a port of encryption without encryption',
      { Backend: { Type: 'vxlan', EncryptionPort: 51821 } },
      'EncryptionPort 51821 is set, but not Encryption: say "Encryption": "wireguard"',
    ],
    [
      'an MTU that leaves too little for a tunnel',
      encrypted({ MTU: 1339 }),
      'MTU 1339 is too small with Encryption: 1340 is the least',
    ],
    [
      'direct routing of what is to be encrypted',
      encrypted({ DirectRouting: true }),
      'DirectRouting: true sends in the clear what Encryption: "wireguard" is to encrypt',
    ],
    [
      'IPv6 nowhere',
      { EnableIPv6: true },
      'IPv6Network is missing: with EnableIPv6: true, say one',
    ],
    ['IPv6 by number', ipv6({ IPv6Network: 6 }), 'IPv6Network 6 is no network: with'],
    [
      'an IPv6 network of IPv4',
      ipv6({ IPv6Network: '10.0.0.0/8' }),
      'IPv6Network: "10.0.0.0/8" is',
    ],
    ['a small IPv6 network', ipv6({ IPv6Network: 'fd00::/112' }), '/96 is the longest prefix'],
    ['multicast', ipv6({ IPv6Network: 'ff02::/16' }), 'IPv6Network ff02::/16 is multicast'],
    ['link-local addresses', ipv6({ IPv6Network: 'fe80::/64' }), 'is link-local: choose another'],
    ['loopback', ipv6({ IPv6Network: '::/64' }), 'is where the loopback address ::1 is'],
    ['IPv4 mapped', ipv6({ IPv6Network: '::ffff:0:0/96' }), 'is IPv4 itself, mapped'],
    [
      "the tunnel's network",
      ipv6({ IPv6Network: 'fdc1:7416:16d8::/64' }),
      "is that of nap's encrypted tunnel",
    ],
    [
      'other IPv6 subnets',
      ipv6({ IPv6SubnetLen: 64 }),
      'IPv6SubnetLen 64: with SubnetLen 24 it is 120',
    ],
    [
      'another first IPv6 subnet',
      ipv6({ IPv6SubnetMin: 'fd00:77::' }),
      'IPv6SubnetMin "fd00:77::": it is fd00:77::a4d:100',
    ],
    [
      'another last IPv6 subnet',
      ipv6({ IPv6SubnetMax: 5 }),
      'IPv6SubnetMax 5: it is fd00:77::a4d:ff00',
    ],
    ['an overlay without IPv4', { EnableIPv4: false }, 'EnableIPv4: false'],
    ['a VNI out of range', { Backend: { Type: 'vxlan', VNI: 0 } }, 'VNI 0'],
    ['a port out of range', { Backend: { Type: 'vxlan', Port: 70000 } }, 'port 70000'],
    ['an MTU that is none', { Backend: { Type: 'vxlan', MTU: 'big' } }, 'MTU "big"'],
    [
      'direct routing that is neither on nor off',
      { Backend: { Type: 'vxlan', DirectRouting: 'yes' } },
      'DirectRouting "yes" is not true or false',
    ],
  ])('refuses %s and says why', (_, changes, message) => {
    expect(() => overlayConfig(raw(changes))).toThrow(message);
  });
});
