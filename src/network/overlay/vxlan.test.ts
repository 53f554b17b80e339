import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { blockOf, formatCidr, parseCidr } from '../address/cidr.ts';
import { parseIpv6Prefix } from '../address/dual-stack.ts';
import { peersIn } from './direct-routes.ts';
import {
  applyTableOps,
  desiredTables,
  diffTables,
  emptyTables,
  normalizeMac,
  peerFromLease,
  randomMac,
  type OverlayTables,
  type Peer,
} from './vxlan.ts';

const self = {
  network: parseCidr('10.77.0.0/16'),
  subnet: parseCidr('10.77.1.0/24'),
  mac: '02:00:00:00:00:01',
  address: '10.99.0.1',
};

function peer(n: number, changes: Partial<Peer> = {}): Peer {
  return {
    subnet: parseCidr(`10.77.${n}.0/24`),
    mac: `02:00:00:00:00:0${n}`,
    address: `10.99.0.${n}`,
    ...changes,
  };
}

const few = (from: string): fc.Arbitrary<string> =>
  fc.integer({ min: 0, max: 5 }).map((n) => from + String(n));
const arbitraryTables: fc.Arbitrary<OverlayTables> = fc.record({
  routes: fc.array(fc.tuple(few('r'), few('v'))).map((entries) => new Map(entries)),
  neighbours: fc.array(fc.tuple(few('v'), few('m'))).map((entries) => new Map(entries)),
  forwarding: fc.array(fc.tuple(few('m'), few('a'))).map((entries) => new Map(entries)),
});
const arbitraryPeer: fc.Arbitrary<Peer> = fc
  .tuple(
    fc.integer({ min: 1, max: 9 }),
    fc.integer({ min: 1, max: 9 }),
    fc.integer({ min: 1, max: 9 }),
  )
  .map(([s, m, a]) => ({
    subnet: blockOf(parseCidr('10.77.0.0/16').base + s * 256, 24),
    mac: `02:00:00:00:00:0${m}`,
    address: `10.99.0.${a}`,
  }));

describe('tables with IPv6', () => {
  it('have the twin of each route, by the same MAC', () => {
    const ipv6 = parseIpv6Prefix('fd00:77::/64');
    const { tables } = desiredTables({ ...self, ipv6 }, [peer(2)]);
    const ipv4 = desiredTables(self, [peer(2)]).tables;
    expect(tables).toEqual({
      routes: new Map([...ipv4.routes, ['fd00:77::a4d:200/120', 'fd00:77::a4d:200']]),
      neighbours: new Map([...ipv4.neighbours, ['fd00:77::a4d:200', '02:00:00:00:00:02']]),
      forwarding: ipv4.forwarding,
    });
    expect([...peersIn(tables)]).toEqual([...peersIn(ipv4)]);
  });
});

describe('difference of tables', () => {
  it('leads from any state to any other, touching nothing that is right', () => {
    fc.assert(
      fc.property(arbitraryTables, arbitraryTables, (from, to) => {
        const ops = diffTables(from, to);
        expect(applyTableOps(from, ops)).toEqual(to);
        expect(diffTables(to, to)).toEqual([]);
        for (const op of ops) {
          if (op.type === 'set-route') expect(from.routes.get(op.destination)).not.toBe(op.via);
        }
      }),
    );
  });

  it('never has a route without neighbour and forwarding entry on the way', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(arbitraryPeer, { selector: (p) => p.subnet.base }),
        fc.uniqueArray(arbitraryPeer, { selector: (p) => p.subnet.base }),
        (before, after) => {
          const from = desiredTables(self, before).tables;
          const ops = diffTables(from, desiredTables(self, after).tables);
          ops.forEach((_, i) => {
            const { routes, neighbours, forwarding } = applyTableOps(from, ops.slice(0, i));
            for (const via of routes.values()) {
              expect(forwarding.has(neighbours.get(via) ?? '')).toBe(true);
            }
          });
        },
      ),
    );
  });

  it('costs three entries for a host, and nothing for the others', () => {
    const from = desiredTables(self, [peer(2), peer(3)]).tables;
    const ops = diffTables(from, desiredTables(self, [peer(2), peer(3), peer(4)]).tables);
    expect(ops).toEqual([
      { type: 'set-forwarding', mac: '02:00:00:00:00:04', address: '10.99.0.4' },
      { type: 'set-neighbour', ip: '10.77.4.0', mac: '02:00:00:00:00:04' },
      { type: 'set-route', destination: '10.77.4.0/24', via: '10.77.4.0' },
    ]);
  });
});

describe('desired tables', () => {
  it('do not let a record take over this host or another one', () => {
    const { tables, refused } = desiredTables(self, [
      peer(2),
      peer(3, { mac: self.mac }),
      peer(4, { address: self.address }),
      peer(5, { mac: peer(2).mac }),
    ]);
    expect([...tables.routes.keys()]).toEqual(['10.77.2.0/24']);
    expect(refused.map((r) => r.subnet)).toEqual(['10.77.3.0/24', '10.77.4.0/24', '10.77.5.0/24']);
  });

  it.each([
    [
      '10.99.0.0/24',
      'the network of the hosts',
      /not part of the overlay's network 10\.77\.0\.0\/16/,
    ],
    ['0.0.0.0/1', 'half of the internet', /not part of the overlay/],
    ['10.77.0.0/16', 'the whole overlay', /overlaps/],
    ['10.77.1.128/25', 'half of our own subnet', /overlaps/],
    ['10.77.2.0/25', "half of another host's subnet", /overlaps/],
  ])('lead nothing of %s (%s) away', (subnet, _, reason) => {
    const { tables, refused } = desiredTables(self, [
      peer(9, { subnet: parseCidr(subnet) }),
      peer(2),
    ]);
    expect([...tables.routes.keys()]).toEqual(['10.77.2.0/24']);
    expect(refused).toEqual([{ subnet, reason: expect.stringMatching(reason) as string }]);
  });

  it('send nothing into the overlay through the overlay', () => {
    const { tables, refused } = desiredTables(self, [peer(2, { address: '10.77.3.4' })]);
    expect(tables).toEqual(emptyTables);
    expect(refused).toHaveLength(1);
  });

  it('take in hosts with subnets of another size where they are free', () => {
    const odd = peer(9, { subnet: parseCidr('10.77.8.0/22') });
    expect([...desiredTables(self, [peer(2), odd]).tables.routes.keys()]).toEqual([
      '10.77.2.0/24',
      '10.77.8.0/22',
    ]);
  });

  it('know each key once, and none that is also that of this host', () => {
    const [own, one, two] = ['own', 'one', 'two'] as const;
    const { tables, accepted, refused } = desiredTables(
      { ...self, publicKey: own },
      [
        peer(2, { publicKey: one }),
        peer(3, { publicKey: one }),
        peer(4, { publicKey: own }),
        peer(5, { publicKey: two }),
      ],
      ({ mac }) => `to ${mac}`,
    );
    expect(accepted.map(({ publicKey }) => publicKey)).toEqual([one, two]);
    expect([...tables.forwarding.values()]).toEqual([
      'to 02:00:00:00:00:02',
      'to 02:00:00:00:00:05',
    ]);
    expect(refused.map(({ subnet, reason }) => `${subnet} ${reason}`)).toEqual([
      expect.stringContaining('10.77.3.0/24 its WireGuardPublicKey is also that of another host'),
      expect.stringContaining('10.77.4.0/24 its WireGuardPublicKey is also that of this host'),
    ]);
  });

  it('are empty without peers', () => {
    expect(desiredTables(self, []).tables).toEqual(emptyTables);
  });
});

describe('records of other hosts', () => {
  const subnet = parseCidr('10.77.2.0/24');
  const lease = {
    PublicIP: '10.99.0.2',
    BackendType: 'vxlan',
    BackendData: { VNI: 1, VtepMAC: 'AA:BB:CC:00:11:22' },
  };

  it('are read as flannel writes them', () => {
    expect(peerFromLease(subnet, lease, 1)).toEqual({
      subnet,
      mac: 'aa:bb:cc:00:11:22',
      address: '10.99.0.2',
    });
  });

  it.each([
    [{ BackendType: 'host-gw' }, 'backend is "host-gw"'],
    [{ PublicIP: 'x; reboot' }, 'PublicIP "x; reboot"'],
    [{ BackendData: null }, 'no valid VtepMAC'],
    [{ BackendData: { VtepMAC: '02:00\nlink del eth0' } }, 'no valid VtepMAC'],
    [{ BackendData: { VtepMAC: '01:00:5e:00:00:01' } }, 'no valid VtepMAC'],
    [{ BackendData: { VNI: 7, VtepMAC: '02:00:00:00:00:02' } }, 'VNI is 7'],
  ])('are refused with %j', (changes, reason) => {
    const result = peerFromLease(subnet, { ...lease, ...changes }, 1);
    expect('reason' in result ? result.reason : formatCidr(result.subnet)).toContain(reason);
  });
});

describe('records of hosts that encrypt', () => {
  const subnet = parseCidr('10.77.2.0/24');
  const key = Buffer.alloc(32, 7).toString('base64');
  const lease = (WireGuardPublicKey?: unknown) => ({
    PublicIP: '10.99.0.2',
    BackendType: 'vxlan',
    BackendData: {
      VtepMAC: '02:00:00:00:00:02',
      ...(WireGuardPublicKey === undefined ? {} : { WireGuardPublicKey }),
    },
  });

  it('carry their key', () => {
    expect(peerFromLease(subnet, lease(key), 1, true)).toMatchObject({ publicKey: key });
  });

  it.each([
    ['none', undefined, 'it has no WireGuardPublicKey, and this host sends nothing in the clear'],
    ['null', null, 'it has no WireGuardPublicKey'],
    ['a number', 5, 'its WireGuardPublicKey 5 is not a key'],
    ['a word', 'x; reboot', 'its WireGuardPublicKey "x; reboot" is not a key'],
    ['31 bytes', Buffer.alloc(31, 7).toString('base64'), 'is not a key'],
    ['bits that are not used', key.slice(0, -2) + 'd=', 'is not a key'],
    ['another alphabet', key.replaceAll('H', '-'), 'is not a key'],
    ['zeros', Buffer.alloc(32).toString('base64'), 'is not a key'],
  ])('are refused with %s for a key', (_, value, reason) => {
    const result = peerFromLease(subnet, lease(value), 1, true);
    expect('reason' in result && result.reason).toContain(reason);
  });

  it('are refused by a host that does not', () => {
    const result = peerFromLease(subnet, lease(key), 1);
    expect('reason' in result && result.reason).toContain(
      'its host encrypts, and this one does not',
    );
  });

  it.each([undefined, null])('are of one that does not, with %s for a key', (none) => {
    expect(peerFromLease(subnet, lease(none), 1)).toEqual({
      ...{ subnet, mac: '02:00:00:00:00:02', address: '10.99.0.2' },
    });
  });
});

it('makes MACs that a device may have', () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), {
        minLength: 6,
        maxLength: 6,
      }),
      (numbers) => {
        let i = 0;
        const mac = randomMac(() => numbers[i++] ?? 0);
        expect(normalizeMac(mac)).toBe(mac);
      },
    ),
  );
});
