import { describe, expect, it } from 'vitest';
import { ExecError, type Exec } from '../exec.ts';
import { ensureIpv6Forwarding, Ipv6Error, requireIpv6, requireIpv6Mtu } from './ipv6-kernel.ts';

/** A host that answers with `values` of kernel parameters, and the changes that it is asked for. */
function host(
  values: Record<string, string>,
  said: { readonly routes?: unknown; readonly addresses?: unknown } = {},
): { exec: Exec; changes: string[] } {
  const changes: string[] = [];
  const exec: Exec = (command, args) => {
    const answer = (stdout: string) => Promise.resolve({ stdout, stderr: '' });
    const isRoute = args.includes('route');
    if (command === 'ip')
      return answer(JSON.stringify((isRoute ? said.routes : said.addresses) ?? []));
    if (command !== 'sysctl' || args.includes('-w')) {
      changes.push([command, ...args].join(' '));
      return answer('');
    }
    const keys = args.filter((arg) => !arg.startsWith('-'));
    const unknown = keys.find((key) => values[key] === undefined);
    if (unknown === undefined) return answer(keys.map((key) => `${values[key] ?? ''}\n`).join(''));
    const stderr = `sysctl: cannot stat /proc/sys/${unknown}: No such file or directory`;
    return Promise.reject(new ExecError('sysctl', { exitCode: 255, stderr }));
  };
  return { exec, changes };
}

const forwarding = 'net/ipv6/conf/all/forwarding';

describe('a host of an overlay with IPv6', () => {
  it('needs a kernel with IPv6, and packets that are large enough', async () => {
    const without = requireIpv6(host({}).exec);
    await expect(without).rejects.toBeInstanceOf(Ipv6Error);
    await expect(without).rejects.toThrow(
      "this host's kernel has none: start it without ipv6.disable=1",
    );
    const { exec } = host({ [forwarding]: '0' });
    await requireIpv6(exec);
    expect(() => {
      requireIpv6Mtu(1279);
    }).toThrow('only 1279 bytes fit through it');
    requireIpv6Mtu(1280);
  });

  it('goes on taking router advertisements where it lives by them, before it passes packets on', async () => {
    const { exec, changes } = host(
      {
        [forwarding]: '0',
        'net/ipv6/conf/eth0/accept_ra': '1',
        'net/ipv6/conf/eth1.5/accept_ra': '1',
        'net/ipv6/conf/eth2/accept_ra': '0',
      },
      {
        routes: [
          { dst: 'default', gateway: 'fe80::1', dev: 'eth0' },
          { dst: 'default', dev: 'eth2' },
        ],
        addresses: [
          {},
          { ifname: 'eth1.5', addr_info: [{ local: 'fd99::1' }] },
          { ifname: 'eth3', addr_info: [] },
        ],
      },
    );
    const told = await ensureIpv6Forwarding(exec);
    expect(changes).toEqual([
      'sysctl -q -w net/ipv6/conf/eth0/accept_ra=2',
      'sysctl -q -w net/ipv6/conf/eth1.5/accept_ra=2',
      'ip6tables -w 5 -P FORWARD DROP',
      `sysctl -q -w ${forwarding}=1`,
    ]);
    expect(told).toHaveLength(3);
  });

  it('is left alone where it passes packets on already', async () => {
    const { exec, changes } = host({ [forwarding]: '1' });
    expect(await ensureIpv6Forwarding(exec)).toEqual([]);
    expect(changes).toEqual([]);
  });

  it('is told to go on taking router advertisements though somebody else was first to have it pass packets on', async () => {
    const { exec, changes } = host(
      {
        [forwarding]: '1',
        'net/ipv6/conf/eth0/accept_ra': '1',
        'net/ipv6/conf/eth1/accept_ra': '1',
        'net/ipv6/conf/eth2/accept_ra': '2',
      },
      {
        routes: [
          { dst: 'default', gateway: 'fe80::1', dev: 'eth0' },
          { dst: 'fd98::/64', dev: 'eth2' },
        ],
        addresses: [{ ifname: 'eth1', addr_info: [{ local: 'fd99::1' }] }],
      },
    );
    expect(await ensureIpv6Forwarding(exec)).toHaveLength(1);
    expect(changes).toEqual(['sysctl -q -w net/ipv6/conf/eth0/accept_ra=2']);
  });
});
