import { z } from 'zod';
import { tryParseIpv4 } from '../../../network/address/cidr.ts';
import type { Exec } from '../exec.ts';
import { showAddresses } from '../show-device.ts';
import { parseTool } from '../tool-output.ts';

/** How this host reaches the other hosts. */
export interface Underlay {
  readonly device: string;
  /** IPv4 address of `device`. */
  readonly address: string;
  readonly mtu: number;
}

/** The host has no usable address on the network that joins the hosts. Somebody must say which one to use. */
export class UnderlayError extends Error {
  override readonly name = 'UnderlayError';
  readonly retryable = true;
}

const routeList = z.array(
  z.looseObject({
    dev: z.string().optional(),
    prefsrc: z.string().optional(),
    metric: z.int().optional(),
  }),
);

/**
 * Finds the interface that has `address`; without one, the interface of the default route and its first global
 * address. Throws UnderlayError with what was found.
 */
export async function findUnderlay(
  exec: Exec,
  address: string | undefined,
  signal?: AbortSignal,
): Promise<Underlay> {
  const interfaces = (await showAddresses(exec, '-4', [], signal)).flatMap((entry) => {
    const { ifname, mtu } = entry;
    if (ifname === undefined || mtu === undefined) return [];
    const addresses = (entry.addr_info ?? []).flatMap((info) =>
      info.local === undefined ? [] : [{ local: info.local, global: info.scope === 'global' }],
    );
    return [{ ifname, mtu, addresses }];
  });
  if (address !== undefined) {
    if (tryParseIpv4(address) === undefined) {
      throw new UnderlayError(`the host's address "${address}" is not an IPv4 address`);
    }
    const found = interfaces.find((i) => i.addresses.some((a) => a.local === address));
    if (found !== undefined) return { device: found.ifname, address, mtu: found.mtu };
    const known = interfaces
      .flatMap((i) => i.addresses.filter((a) => a.global))
      .map((a) => a.local);
    throw new UnderlayError(
      `no interface of this host has the address ${address} (it has ${known.join(', ') || 'none'})`,
    );
  }
  const routes = await exec('ip', ['-4', '-j', 'route', 'show', 'default'], {}, signal);
  const best = parseTool(routeList, routes.stdout, 'ip route')
    .filter((route) => route.dev !== undefined)
    .sort((a, b) => (a.metric ?? 0) - (b.metric ?? 0))[0];
  if (best === undefined) {
    throw new UnderlayError('this host has no default route: say its address with --address');
  }
  const device = interfaces.find((i) => i.ifname === best.dev);
  const chosen = best.prefsrc ?? device?.addresses.find((a) => a.global)?.local;
  if (device === undefined || chosen === undefined) {
    throw new UnderlayError(
      `the default route's interface ${best.dev ?? '?'} has no IPv4 address: say the host's address with --address`,
    );
  }
  return { device: device.ifname, address: chosen, mtu: device.mtu };
}
