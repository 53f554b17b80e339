import { describe, expect, it } from 'vitest';
import { parseIpv6Prefix } from '../../../network/address/dual-stack.ts';
import { overlayConfig } from '../../../network/overlay/overlay-config.ts';
import { ExecError, type Exec } from '../exec.ts';
import { stopPlainTraffic } from './prepare-carrier.ts';

const plain = overlayConfig({ Network: '10.77.0.0/16', Backend: { Type: 'vxlan' } });
const encrypted = { ...plain, encryption: { port: 51821 } };
const dual = { ...encrypted, ipv6: parseIpv6Prefix('fd00:77::/64') };

/** What is left by an agent that sent in the clear, through the tunnel and directly. */
function leftOver(hasIpv6 = true) {
  const changes: string[] = [];
  const exec: Exec = (command, args, options = {}) => {
    const line = [command, ...args].join(' ');
    const answer = (found: unknown) =>
      Promise.resolve({ stdout: JSON.stringify(found), stderr: '' });
    if (line.startsWith('sysctl ')) {
      return hasIpv6
        ? answer(1)
        : Promise.reject(new ExecError(line, { exitCode: 255, stderr: 'No such file' }));
    }
    if (options.input !== undefined) {
      changes.push(...options.input.trim().split('\n'));
      return answer([]);
    }
    if (line.includes('rule show')) {
      const [src, dst] = ['10.77.0.0', '10.77.0.0'];
      return answer([{ priority: 17781, src, srclen: 16, dst, dstlen: 16, table: '1778' }]);
    }
    if (line.endsWith('table 1778')) return answer([{ dst: '10.77.2.0/24', gateway: '10.99.0.2' }]);
    if (line.includes('addr show')) {
      return answer([
        { mtu: 1450, linkinfo: { info_kind: 'vxlan', info_data: { local: '10.99.0.1' } } },
      ]);
    }
    if (line.includes(' show ')) return answer([]);
    changes.push(line);
    return answer([]);
  };
  return { exec, changes };
}

const ended = [
  'ip route replace unreachable 10.77.0.0/16 proto 179',
  'rule del pref 17781 from 10.77.0.0/16 to 10.77.0.0/16 lookup 1778',
  'route del 10.77.2.0/24 table 1778',
];
const dropped = 'ip link del dev nap.1';

describe('stopPlainTraffic', () => {
  it('leaves all as it is where nothing is to be encrypted', async () => {
    const { exec, changes } = leftOver();
    await stopPlainTraffic(exec, plain, 'nap.1');
    expect(changes).toEqual([]);
  });

  it('ends what goes directly, and what goes through the tunnel, once there is a dead end', async () => {
    const { exec, changes } = leftOver();
    await stopPlainTraffic(exec, encrypted, 'nap.1');
    expect(changes).toEqual([...ended, dropped]);
  });

  it('has a dead end in IPv6, too, before the device goes', async () => {
    const { exec, changes } = leftOver();
    await stopPlainTraffic(exec, dual, 'nap.1');
    expect(changes.slice(-2)).toEqual([
      'ip route replace unreachable fd00:77::a4d:0/112 proto 179',
      dropped,
    ]);
  });

  it('does so though the kernel has no IPv6, which the overlay is to carry', async () => {
    const { exec, changes } = leftOver(false);
    await expect(stopPlainTraffic(exec, dual, 'nap.1')).rejects.toThrow(/kernel has none/);
    expect(changes).toEqual([...ended, dropped]);
  });
});
