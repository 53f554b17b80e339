import { describe, expect, it } from 'vitest';
import { parseCidr } from '../../../network/address/cidr.ts';
import type { Peer } from '../../../network/overlay/vxlan.ts';
import { VirtualClock } from '../../../../test/support/virtual-clock.ts';
import { ExecError, type Exec } from '../exec.ts';
import { Tunnel, type TunnelOptions } from './tunnel.ts';

const own = Buffer.alloc(32, 1).toString('base64');
const key = (n: number): string => Buffer.alloc(32, n).toString('base64');

function peer(n: number): Peer {
  return {
    subnet: parseCidr(`10.77.${n}.0/24`),
    mac: `02:00:00:00:00:0${n}`,
    address: `10.99.0.${n}`,
    publicKey: key(n),
  };
}

interface Device {
  kind: string;
  peers: { n: number; endpoint: string; handshake: number }[];
}

/** A tunnel on a host whose device is as `device` says, and the changes that it asks for. */
function tunnel(
  device: Device = { kind: 'tun', peers: [] },
  options: Partial<TunnelOptions> = {},
  failing: (command: string, args: readonly string[]) => ExecError | undefined = () => undefined,
) {
  const clock = new VirtualClock();
  const changes: string[] = [];
  const exec: Exec = (command, args) => {
    const failure = failing(command, args);
    if (failure !== undefined) return Promise.reject(failure);
    const said = (stdout: string) => Promise.resolve({ stdout, stderr: '' });
    if (command === 'ip' && args.includes('route')) {
      return said('[{"type":"unreachable","dst":"10.77.0.0/16","protocol":"179","flags":[]}]');
    }
    if (command === 'ip' && args.includes('show')) {
      const link = {
        ...{ mtu: 1440, flags: ['UP'], linkinfo: { info_kind: device.kind } },
        addr_info: [
          { family: 'inet6', local: 'fdc1:7416:16d8::a4d:100', prefixlen: 64, scope: 'global' },
        ],
      };
      return said(JSON.stringify([link]));
    }
    if (command === 'sysctl') return said('0\n');
    if (command === 'wg' && args[0] === 'show') {
      const lines = device.peers.map(({ n, endpoint, handshake }) =>
        [key(n), '(none)', endpoint, `fdc1:7416:16d8::a4d:${n}00/128`, handshake, 0, 0, 25].join(
          '\t',
        ),
      );
      return said([`x\t${own}\t51821\toff`, ...lines].join('\n') + '\n');
    }
    changes.push([command, ...args].join(' '));
    return said('');
  };
  const carrier = new Tunnel({
    ...{ exec, clock, device: 'nap-wg', subnet: parseCidr('10.77.1.0/24') },
    network: parseCidr('10.77.0.0/16'),
    ...{ key: { publicKey: own, path: '/key' }, port: 51821, vxlanPort: 8472, underlayMtu: 1500 },
    ...options,
  });
  return { clock, changes, carrier };
}

describe('Tunnel', () => {
  it('touches nothing of a device that is as it should be', async () => {
    const device = {
      kind: 'wireguard',
      peers: [{ n: 2, endpoint: '10.99.0.2:51821', handshake: 7 }],
    };
    const { changes, carrier } = tunnel(device);
    expect(await carrier.ensure()).toEqual([]);
    expect(await carrier.ensurePeers([peer(2)], true)).toEqual({ operations: 0, repairs: [] });
    expect(changes).toEqual([]);
    expect(carrier.knownAt('fdc1:7416:16d8::a4d:200')).toEqual({
      address: '10.99.0.2',
      publicKey: key(2),
    });
    expect(carrier.knownAt('fdc1:7416:16d8::a4d:300')).toBeUndefined();
  });

  it('leaves a peer where it has moved to for as long as it shakes hands, whatever the time on its clock', async () => {
    const moved = { n: 2, endpoint: '192.0.2.1:4000', handshake: 7 };
    const { clock, changes, carrier } = tunnel({ kind: 'tun', peers: [moved] });
    for (const handshake of [7, 100, 50]) {
      moved.handshake = handshake;
      expect((await carrier.ensurePeers([peer(2)], true)).operations).toBe(0);
      await clock.advance(170_000);
    }
    expect((await carrier.ensurePeers([peer(2)], true)).operations).toBe(0);
    await clock.advance(20_000);
    expect(await carrier.ensurePeers([peer(2)], true)).toMatchObject({
      operations: 1,
      repairs: [{ kind: 'tunnel-peer', count: 1 }],
    });
    expect(changes).toEqual([expect.stringContaining('endpoint 10.99.0.2:51821 ')]);
  });

  it('gives many peers by few calls', async () => {
    const { changes, carrier } = tunnel();
    const peers = Array.from({ length: 500 }, (_, i) => ({ ...peer(2), publicKey: `k${i}` }));
    expect((await carrier.ensurePeers(peers, false)).operations).toBe(500);
    expect(changes).toHaveLength(3);
  });

  it('makes no noise about what it changes itself', async () => {
    const { carrier } = tunnel();
    expect(await carrier.ensurePeers([peer(2)], true)).toEqual({ operations: 1, repairs: [] });
  });

  it.each<[string, RegExp, Parameters<typeof tunnel>]>([
    [
      'packets that are too small',
      /carries packets of 1339 bytes at most, and an encrypted overlay needs 1340/,
      [undefined, { underlayMtu: 1339 }],
    ],
    [
      'a name that something else has',
      /interface nap-wg exists, but is a "bridge"/,
      [{ kind: 'bridge', peers: [] }],
    ],
    [
      'a kernel without IPv6',
      /kernel has no IPv6.*ipv6\.disable=1/,
      [
        undefined,
        {},
        (command) =>
          command === 'sysctl'
            ? new ExecError(command, { exitCode: 1, stderr: 'sysctl: cannot stat: No such file' })
            : undefined,
      ],
    ],
    [
      'a device that nobody answers for',
      /nothing answers for interface nap-wg/,
      [
        undefined,
        {},
        (command) =>
          command === 'wg'
            ? new ExecError(command, {
                exitCode: 1,
                stderr: 'Unable to access interface: Protocol not supported',
              })
            : undefined,
      ],
    ],
  ])('says what is wrong with %s', async (_, message, input) => {
    const { changes, carrier } = tunnel(...input);
    await expect(carrier.ensure()).rejects.toThrow(message);
    expect(changes).toEqual([]);
  });
});
