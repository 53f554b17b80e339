import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { blockOf, parseCidr } from '../address/cidr.ts';
import {
  applyTunnelOps,
  desiredTunnelPeers,
  diffTunnelPeers,
  keepaliveSeconds,
  parseTunnelDump,
  tunnelAddress,
  tunnelArguments,
  tunnelChains,
  type ObservedTunnelPeer,
  type TunnelPeer,
} from './tunnel.ts';

const alive = (): boolean => false;
const dead = (): boolean => true;

function observed(changes: Partial<ObservedTunnelPeer> = {}): ObservedTunnelPeer {
  return {
    endpoint: '10.99.0.2:51821',
    allowedIps: ['fdc1:7416:16d8::a4d:200/128'],
    keepalive: keepaliveSeconds,
    hasPresharedKey: false,
    handshake: 5,
    ...changes,
  };
}
const wanted: TunnelPeer = { endpoint: '10.99.0.2:51821', address: 'fdc1:7416:16d8::a4d:200' };

describe('address in the tunnel', () => {
  it.each([
    ['10.77.2.0/24', 'fdc1:7416:16d8::a4d:200'],
    ['10.0.0.0/16', 'fdc1:7416:16d8::a00:0'],
    ['0.0.1.0/24', 'fdc1:7416:16d8::100'],
    ['192.168.255.240/28', 'fdc1:7416:16d8::c0a8:fff0'],
  ])('of the host that has %s is %s', (subnet, address) => {
    expect(tunnelAddress(parseCidr(subnet))).toBe(address);
  });

  it('is another one for every subnet, and written as the kernel writes it', () => {
    const base = fc.integer({ min: 0, max: 2 ** 32 - 1 });
    fc.assert(
      fc.property(base, base, (a, b) => {
        const [one, two] = [blockOf(a, 30), blockOf(b, 30)];
        expect(tunnelAddress(one) === tunnelAddress(two)).toBe(one.base === two.base);
        const text = tunnelAddress(one);
        expect(new URL(`http://[${text}]`).hostname).toBe(`[${text}]`);
      }),
    );
  });
});

const keys = fc.constantFrom('k1', 'k2', 'k3', 'k4');
const endpoints = fc.constantFrom('10.99.0.2:51821', '10.99.0.3:51821', '192.0.2.1:4000');
const addresses = fc.constantFrom(...[1, 2, 3, 4, 5].map((n) => `fdc1:7416:16d8::a4d:${n}00`));
const arbitraryObserved = fc
  .array(
    fc.tuple(
      keys,
      fc.record({
        endpoint: fc.option(endpoints, { nil: undefined }),
        allowedIps: fc.uniqueArray(addresses.map((address) => `${address}/128`)),
        keepalive: fc.constantFrom(0, 25, 60),
        hasPresharedKey: fc.boolean(),
        handshake: fc.constantFrom(0, 9),
      }),
    ),
  )
  // An address belongs to one peer only, as in the kernel.
  .map((entries) => {
    const taken = new Set<string>();
    return new Map(
      entries.map(([key, peer]) => {
        const allowedIps = peer.allowedIps.filter((each) => !taken.has(each));
        for (const each of allowedIps) taken.add(each);
        return [key, { ...peer, allowedIps }];
      }),
    );
  });
const arbitraryDesired = fc
  .uniqueArray(fc.record({ key: keys, endpoint: endpoints, address: addresses }), {
    selector: ({ address }) => address,
  })
  .map((all) => new Map(all.map(({ key, endpoint, address }) => [key, { endpoint, address }])));

describe('difference of peers', () => {
  it('leads from any state to what is wanted, touching nothing that is right', () => {
    fc.assert(
      fc.property(arbitraryObserved, arbitraryDesired, fc.boolean(), (from, to, isDead) => {
        const ops = diffTunnelPeers(from, to, new Map(), () => isDead);
        const after = applyTunnelOps(from, ops);
        expect(new Set(after.keys())).toEqual(new Set(to.keys()));
        for (const [key, { address, endpoint }] of to) {
          const peer = after.get(key);
          expect(peer).toMatchObject({
            allowedIps: [`${address}/128`],
            keepalive: keepaliveSeconds,
            hasPresharedKey: false,
          });
          // One that lives is left where it has moved to.
          const roamed = isDead ? undefined : from.get(key)?.endpoint;
          expect(peer?.endpoint).toBe(roamed ?? endpoint);
        }
        expect(diffTunnelPeers(after, to, to, () => isDead)).toEqual([]);
        expect(new Set(ops.map(({ key }) => key)).size).toBe(ops.length);
      }),
    );
  });

  it('leaves an endpoint to which a living peer has moved, until its record tells another one', () => {
    const roamed = new Map([['k', observed({ endpoint: '192.0.2.1:4000' })]]);
    const record = new Map([['k', wanted]]);
    expect(diffTunnelPeers(roamed, record, record, alive)).toEqual([]);
    expect(diffTunnelPeers(roamed, record, new Map(), alive)).toEqual([]);
    expect(diffTunnelPeers(roamed, record, record, dead)).toMatchObject([
      { type: 'set', endpoint: wanted.endpoint, reason: 'with a wrong endpoint' },
    ]);
    const moved = new Map([['k', { ...wanted, endpoint: '10.99.0.9:51821' }]]);
    expect(diffTunnelPeers(roamed, moved, record, alive)).toMatchObject([
      { type: 'set', endpoint: '10.99.0.9:51821' },
    ]);
  });

  it('replaces a key without taking the address from anybody else', () => {
    const ops = diffTunnelPeers(
      new Map([['old', observed()]]),
      new Map([['new', wanted]]),
      new Map(),
      alive,
    );
    expect(ops.map(({ type, key }) => `${type} ${key}`)).toEqual(['remove old', 'set new']);
    expect(ops.map((op) => tunnelArguments(op).join(' '))).toEqual([
      'peer old remove',
      'peer new preshared-key /dev/null endpoint 10.99.0.2:51821 persistent-keepalive 25 allowed-ips fdc1:7416:16d8::a4d:200/128',
    ]);
  });
});

describe('desired peers', () => {
  it('are reached at their address in the hosts’ network, and may send from their address in the tunnel alone', () => {
    const peer = {
      subnet: parseCidr('10.77.2.0/24'),
      mac: '02:00:00:00:00:02',
      address: '10.99.0.2',
      publicKey: 'k',
    };
    expect([...desiredTunnelPeers([peer], 51821)]).toEqual([['k', wanted]]);
  });
});

describe('what wg shows', () => {
  const key = Buffer.alloc(32, 1).toString('base64');
  const secret = Buffer.alloc(32, 2).toString('base64');

  it('is read, but for the private key', () => {
    const dump = [
      [secret, key, '51821', 'off'],
      ['k1', '(none)', '10.99.0.2:51821', 'fdc1:7416:16d8::a4d:200/128', '5', '0', '0', '25'],
      ['k2', secret, '(none)', '(none)', '0', '0', '0', 'off'],
    ];
    const read = parseTunnelDump(dump.map((fields) => fields.join('\t')).join('\n') + '\n');
    expect(read).toEqual({
      publicKey: key,
      port: 51821,
      peers: new Map([
        ['k1', observed()],
        [
          'k2',
          observed({
            endpoint: undefined,
            allowedIps: [],
            keepalive: 0,
            hasPresharedKey: true,
            handshake: 0,
          }),
        ],
      ]),
    });
    expect(JSON.stringify([read, ...(read?.peers ?? [])])).not.toContain(secret);
  });

  it.each([
    [
      'a new device',
      '(none)\t(none)\t0\toff\n',
      { publicKey: undefined, port: 0, peers: new Map() },
    ],
    ['nothing', '', undefined],
    ['something else', `${key}\t${key}\t1\toff\nk1\t(none)\n`, undefined],
  ])('may be %s', (_, dump, result) => {
    expect(parseTunnelDump(dump)).toEqual(result);
  });
});

it('is kept to VXLAN, and VXLAN to it', () => {
  expect(tunnelChains('nap-wg', 8472).flatMap(({ rules }) => rules)).toEqual([
    'iifname != "nap-wg" udp dport 8472 drop',
    'iifname "nap-wg" udp dport != 8472 drop',
    'iifname "nap-wg" meta l4proto != { udp, icmpv6 } drop',
    'oifname "nap-wg" drop',
    'iifname "nap-wg" drop',
  ]);
});
