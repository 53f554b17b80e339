import { z } from 'zod';
import { formatCidr, type Cidr } from '../../../network/cidr.ts';
import { ipv6Cidr, type Ipv6Prefix } from '../../../network/dual-stack.ts';
import type { Exec } from '../exec.ts';
import { parseTool } from '../tool-output.ts';

/** Marks the route as nap's. A number that nobody else has. */
const protocol = '179';

const routeList = z.array(
  z.looseObject({ type: z.string().optional(), protocol: z.string().optional() }),
);

/** The whole overlay: in IPv4, and in IPv6 if it carries that. */
export interface OverlayNetworks {
  readonly network: Cidr;
  readonly ipv6?: Ipv6Prefix | undefined;
}

/** As `ip route` has them. */
function texts({ network, ipv6 }: OverlayNetworks): readonly string[] {
  return [formatCidr(network), ...(ipv6 === undefined ? [] : [ipv6Cidr(ipv6, network)])];
}

/**
 * Has packets for the overlay end on this host for which there is no way in the overlay: its host is refused, or the tunnel is just gone.
 * They would take the default route, and show in the clear what is to be encrypted. All routes of the overlay are narrower, so
 * they go before. Returns what was changed. Throws ExecError.
 */
export async function ensureDeadEnd(
  exec: Exec,
  networks: OverlayNetworks,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const changes: string[] = [];
  for (const text of texts(networks)) {
    if ((await routesTo(exec, text, signal)).some(isDeadEnd)) continue;
    await exec('ip', ['route', 'replace', 'unreachable', text, 'proto', protocol], {}, signal);
    changes.push(`what has no way in the overlay ${text} made to go nowhere`);
  }
  return changes;
}

/** Takes it back, for an overlay that is not encrypted. Throws ExecError. */
export async function removeDeadEnd(
  exec: Exec,
  networks: OverlayNetworks,
  signal?: AbortSignal,
): Promise<void> {
  for (const text of texts(networks)) {
    if (!(await routesTo(exec, text, signal)).some(isDeadEnd)) continue;
    await exec('ip', ['route', 'del', 'unreachable', text, 'proto', protocol], {}, signal);
  }
}

/** Takes back all of IPv6, wherever the overlay was, for one that carries IPv4 only. Throws ExecError. */
export async function removeIpv6DeadEnds(exec: Exec, signal?: AbortSignal): Promise<void> {
  await exec('ip', ['-6', 'route', 'flush', 'type', 'unreachable', 'proto', protocol], {}, signal);
}

type Route = z.infer<typeof routeList>[number];

function isDeadEnd(route: Route): boolean {
  return route.type === 'unreachable' && route.protocol === protocol;
}

async function routesTo(
  exec: Exec,
  network: string,
  signal?: AbortSignal,
): Promise<readonly Route[]> {
  const family = network.includes(':') ? '-6' : '-4';
  const show = [family, '-j', 'route', 'show', 'exact', network];
  const { stdout } = await exec('ip', show, {}, signal);
  return parseTool(routeList, stdout, 'ip route');
}
