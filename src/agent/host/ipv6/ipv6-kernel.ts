/** What the kernel must allow before there is IPv6 in the overlay. */
import { z } from 'zod';
import { ExecError, type Exec } from '../exec.ts';
import { showAddresses } from '../show-device.ts';
import { ensureSysctls } from '../sysctl.ts';
import { parseTool } from '../tool-output.ts';

/** The overlay is to carry IPv6, and this host cannot. */
export class Ipv6Error extends Error {
  override readonly name = 'Ipv6Error';
  readonly retryable = true;
}

/** Below, the kernel has no IPv6 on a device. RFC 8200, section 5. */
const leastMtu = 1280;

const forwardingKey = 'net/ipv6/conf/all/forwarding';

const routeList = z.array(z.looseObject({ dev: z.string().optional() }));

/** Throws Ipv6Error when the kernel has no IPv6. */
export async function requireIpv6(exec: Exec, signal?: AbortSignal): Promise<void> {
  try {
    await exec('sysctl', ['-n', forwardingKey], {}, signal);
  } catch (error) {
    if (!(error instanceof ExecError) || !/No such file/.test(error.stderr)) throw error;
    throw new Ipv6Error(
      "the overlay is to carry IPv6 (EnableIPv6), and this host's kernel has none: start it without ipv6.disable=1",
    );
  }
}

/** Throws Ipv6Error when what fits through the overlay, in bytes, is too little for IPv6. */
export function requireIpv6Mtu(mtu: number): void {
  if (mtu >= leastMtu) return;
  throw new Ipv6Error(
    `the overlay is to carry IPv6 (EnableIPv6), which needs packets of ${leastMtu} bytes, and on this host only ${mtu} bytes fit ` +
      "through it: raise the MTU of the hosts' network, or MTU in /coreos.com/network/config",
  );
}

/** Lets a device have IPv6 addresses, wherever else on the host they are switched off. Returns what was changed. */
export function allowIpv6(
  exec: Exec,
  device: string,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  return ensureSysctls(exec, { [`net/ipv6/conf/${device}/disable_ipv6`]: '0' }, signal);
}

/**
 * Lets the host pass packets of IPv6 on, with what docker-forward.ts says of IPv4. A host that does so takes no more router
 * advertisements, by which it may have its own addresses and routes: where they are in use, it is told to go on taking them. That is looked
 * at each time, for dockerd may have been the first to have the host pass packets on, as it is after a reboot. Returns what was changed. Source: Linux, Documentation/networking/ip-sysctl.rst, accept_ra.
 */
export async function ensureIpv6Forwarding(
  exec: Exec,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const { stdout } = await exec('sysctl', ['-n', forwardingKey], {}, signal);
  const isForwarding = stdout.trim() === '1';
  const changes: string[] = [];
  for (const device of await advertisedDevices(exec, isForwarding, signal)) {
    const key = `net/ipv6/conf/${device}/accept_ra`;
    const accepts = await exec('sysctl', ['-n', '-e', key], {}, signal);
    // 0: something else than the kernel sees to them, or nobody.
    if (accepts.stdout.trim() !== '1') continue;
    changes.push(...(await ensureSysctls(exec, { [key]: '2' }, signal)));
  }
  if (isForwarding) return changes;
  await exec('ip6tables', ['-w', '5', '-P', 'FORWARD', 'DROP'], {}, signal);
  return [...changes, ...(await ensureSysctls(exec, { [forwardingKey]: '1' }, signal))];
}

/**
 * Devices with routes or addresses that a router has told of. Of a host that passes packets on, routes only: addresses that last for a
 * time may come from elsewhere there, while routes are from before it took no more advertisements.
 */
async function advertisedDevices(
  exec: Exec,
  isForwarding: boolean,
  signal?: AbortSignal,
): Promise<ReadonlySet<string>> {
  const routes = await exec('ip', ['-6', '-j', 'route', 'show', 'proto', 'ra'], {}, signal);
  const names = parseTool(routeList, routes.stdout, 'ip route').map(({ dev }) => dev);
  if (!isForwarding) {
    const devices = await showAddresses(exec, '-6', ['dynamic'], signal);
    const held = devices.filter(({ addr_info: addresses }) =>
      addresses?.some(({ local }) => local !== undefined),
    );
    names.push(...held.map(({ ifname }) => ifname));
  }
  return new Set(names.filter((name) => name !== undefined));
}
