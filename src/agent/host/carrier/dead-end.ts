import { z } from 'zod';
import { formatCidr, type Cidr } from '../../../network/address/cidr.ts';
import { ipv6Cidr, tryParseIpv6, type Ipv6Prefix } from '../../../network/address/dual-stack.ts';
import type { Exec } from '../exec.ts';
import { showAddresses } from '../show-device.ts';
import { parseTool } from '../tool-output.ts';

/** Marks the route as nap's. A number that nobody else has. */
const protocol = '179';

const which = ['type', 'unreachable', 'proto', protocol];

const routeList = z.array(
  z.looseObject({
    dst: z.string(),
    type: z.string().optional(),
    protocol: z.string().optional(),
  }),
);

type Family = '-4' | '-6';
const ipv4: readonly Family[] = ['-4'];
const both: readonly Family[] = ['-4', '-6'];

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

/**
 * Takes back those of networks that the overlay was before, once this host has no address in them: until then what is left there is
 * still to go nowhere. Throws ExecError.
 */
export async function removeOldDeadEnds(
  exec: Exec,
  networks: OverlayNetworks,
  signal?: AbortSignal,
): Promise<void> {
  const wanted = texts(networks);
  for (const family of networks.ipv6 === undefined ? ipv4 : both) {
    for (const { dst } of await deadEnds(exec, family, signal)) {
      if (wanted.some((text) => isSameCidr(text, dst))) continue;
      const held = await addressesIn(exec, family, dst, signal);
      for (const text of wanted.filter((each) => familyOf(each) === family)) {
        for (const address of await addressesIn(exec, family, text, signal)) held.delete(address);
      }
      if (held.size > 0) continue;
      await exec('ip', ['route', 'del', 'unreachable', dst, 'proto', protocol], {}, signal);
    }
  }
}

/** Takes all of IPv4 back, wherever the overlay was, for one that is not encrypted. Throws ExecError. */
export async function removeIpv4DeadEnds(exec: Exec, signal?: AbortSignal): Promise<void> {
  await exec('ip', ['-4', 'route', 'flush', ...which], {}, signal);
}

/** All of IPv6, for one that is not encrypted, or carries IPv4 only. Throws ExecError. */
export async function removeIpv6DeadEnds(exec: Exec, signal?: AbortSignal): Promise<void> {
  await exec('ip', ['-6', 'route', 'flush', ...which], {}, signal);
}

/** Whether there is one in IPv4, which every encrypted overlay has. Throws ExecError. */
export async function hasDeadEnd(exec: Exec, signal?: AbortSignal): Promise<boolean> {
  return (await deadEnds(exec, '-4', signal)).length > 0;
}

type Route = z.infer<typeof routeList>[number];

function isDeadEnd(route: Route): boolean {
  return route.type === 'unreachable' && route.protocol === protocol;
}

function familyOf(text: string): Family {
  return text.includes(':') ? '-6' : '-4';
}

function isSameCidr(a: string, b: string): boolean {
  if (familyOf(a) !== familyOf(b)) return false;
  const [address = '', length] = a.split('/');
  const [otherAddress = '', otherLength] = b.split('/');
  if (length !== otherLength) return false;
  return familyOf(a) === '-4'
    ? address === otherAddress
    : tryParseIpv6(address) === tryParseIpv6(otherAddress);
}

async function deadEnds(
  exec: Exec,
  family: Family,
  signal?: AbortSignal,
): Promise<readonly Route[]> {
  const { stdout } = await exec('ip', [family, '-j', 'route', 'show', ...which], {}, signal);
  return parseTool(routeList, stdout, 'ip route');
}

/** This host's addresses in a network. */
async function addressesIn(
  exec: Exec,
  family: Family,
  network: string,
  signal?: AbortSignal,
): Promise<Set<string>> {
  const devices = await showAddresses(exec, family, ['to', network], signal);
  return new Set(
    devices.flatMap(({ addr_info: held = [] }) => held.flatMap(({ local }) => local ?? [])),
  );
}

async function routesTo(
  exec: Exec,
  network: string,
  signal?: AbortSignal,
): Promise<readonly Route[]> {
  const show = [familyOf(network), '-j', 'route', 'show', 'exact', network];
  const { stdout } = await exec('ip', show, {}, signal);
  return parseTool(routeList, stdout, 'ip route');
}
