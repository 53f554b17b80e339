/**
 * Traffic between two instances of one host. A bridge would hand it over by itself, past nftables' `ip` tables: an answer to a
 * connection through a virtual IP would come from a stranger's address, and isolation would not be asked. So frames between this
 * host's instances are turned to the bridge's own address as they come in, and the host routes them like all others. This is
 * one constant rule, needs no module that changes other bridges, and nothing at the start of an instance.
 *
 * Where `br_netfilter` is in force for all bridges (other software likes it so), connections through virtual IPs are turned within the
 * bridge, and one from an instance to itself would have to leave by the port it came in: ports are allowed that.
 */
import { z } from 'zod';
import { formatCidr, formatIpv4, type Cidr } from '../../network/cidr.ts';
import type { Chain } from '../../network/ruleset.ts';
import { ExecError, type Exec } from './exec.ts';
import { ensureChains } from './nft.ts';
import { parseTool } from './tool-output.ts';

const linkList = z.array(
  z.looseObject({
    ifname: z.string().optional(),
    address: z.string().optional(),
    flags: z.array(z.string()).optional(),
  }),
);
const addressList = z.array(
  z.looseObject({
    ifname: z.string().optional(),
    addr_info: z.array(z.looseObject({ local: z.string().optional() })).optional(),
  }),
);
const portList = z.array(
  z.looseObject({
    ifname: z.string(),
    master: z.string().optional(),
    hairpin: z.boolean().optional(),
  }),
);

export interface LocalBridge {
  readonly bridge: string;
  /** This host's. */
  readonly subnet: Cidr;
}

/** The chain that has frames between instances routed. @param mac the bridge's own */
export function localRoutingChain(subnet: Cidr, mac: string): Chain {
  const own = formatCidr(subnet);
  return {
    name: 'local-prerouting',
    family: 'bridge',
    base: { type: 'filter', hook: 'prerouting', priority: -300 },
    rules: [
      // Not broadcast and multicast.
      `ip saddr ${own} ip daddr ${own} ether daddr & 01:00:00:00:00:00 == 00:00:00:00:00:00 ` +
        `ether daddr set ${mac} meta pkttype set host`,
    ],
  };
}

/** How what instances of one host send each other comes to the host's packet filter. */
export interface LocalRouting {
  /** What was changed. */
  readonly changes: readonly string[];
  /** Why it does not; undefined when it does. */
  readonly problem?: string;
}

/** Has instances of this host meet in the host's routing. Does nothing before the bridge exists. Throws ExecError. */
export async function ensureLocalRouting(
  exec: Exec,
  { bridge, subnet }: LocalBridge,
  signal?: AbortSignal,
): Promise<LocalRouting> {
  const mac = (await bridgeLink(exec, bridge, signal))?.address;
  if (mac === undefined) return { changes: [] };
  const isFiltered = await ensureHairpin(exec, bridge, signal);
  try {
    return { changes: await ensureChains(exec, [localRoutingChain(subnet, mac)], [], signal) };
  } catch (error) {
    if (!(error instanceof ExecError) || error.notFound || error.cancelled) throw error;
    if (isFiltered) return { changes: [] };
    return {
      changes: [],
      problem:
        'the kernel has no nftables for bridges: instances of this host see connections of others on it through virtual IPs ' +
        `under the host's address (load nf_tables_bridge or br_netfilter): ${error.message}`,
    };
  }
}

/**
 * Gives the bridge its address back and sets it up, as Docker does it once, when it makes the network: without, containers have no
 * gateway and no name server. Does nothing to a bridge that is not `known`, for Docker may be at it. Throws ExecError.
 */
export async function ensureBridge(
  exec: Exec,
  { bridge, subnet }: LocalBridge,
  known: boolean,
  signal?: AbortSignal,
): Promise<{ readonly exists: boolean; readonly changes: readonly string[] }> {
  const link = await bridgeLink(exec, bridge, signal);
  if (link === undefined || !known) return { exists: link !== undefined, changes: [] };
  const changes: string[] = [];
  if (link.flags?.includes('UP') !== true) {
    await exec('ip', ['link', 'set', 'dev', bridge, 'up'], {}, signal);
    changes.push(`bridge ${bridge} set up`);
  }
  const { stdout } = await exec('ip', ['-4', '-j', 'addr', 'show', 'dev', bridge], {}, signal);
  // A device without addresses is not in the list.
  const held = parseTool(addressList, stdout, 'ip addr').find(({ ifname }) => ifname === bridge);
  const gateway = formatIpv4(subnet.base + 1);
  if (held?.addr_info?.some(({ local }) => local === gateway) !== true) {
    const last = formatIpv4(subnet.base + 2 ** (32 - subnet.prefix) - 1);
    const address = ['addr', 'replace', `${gateway}/${subnet.prefix}`, 'brd', last, 'dev', bridge];
    await exec('ip', address, {}, signal);
    changes.push(`address ${gateway} of bridge ${bridge} restored`);
  }
  return { exists: true, changes };
}

async function bridgeLink(exec: Exec, bridge: string, signal?: AbortSignal) {
  try {
    const { stdout } = await exec('ip', ['-j', 'link', 'show', 'dev', bridge], {}, signal);
    return parseTool(linkList, stdout, 'ip link').find(({ ifname }) => ifname === bridge);
  } catch (error) {
    if (error instanceof ExecError && error.exitCode === 1) return undefined;
    throw error;
  }
}

/**
 * Lets an instance reach itself, where that takes a setting of its port. Returns whether bridges hand their frames to
 * iptables and nftables' `ip` tables.
 */
export async function ensureHairpin(
  exec: Exec,
  bridge: string,
  signal?: AbortSignal,
): Promise<boolean> {
  const setting = 'net/bridge/bridge-nf-call-iptables';
  const filtered = await exec('sysctl', ['-n', '-e', setting], {}, signal);
  if (filtered.stdout.trim() !== '1') return false;
  const { stdout } = await exec('bridge', ['-j', '-d', 'link', 'show'], {}, signal);
  const ports = parseTool(portList, stdout, 'bridge link').filter(
    ({ master, hairpin }) => master === bridge && hairpin !== true,
  );
  if (ports.length === 0) return true;
  const input = ports.map(({ ifname }) => `link set dev ${ifname} hairpin on\n`).join('');
  // An instance may have ended meanwhile.
  await exec('bridge', ['-force', '-batch', '-'], { input }, signal).catch((error: unknown) => {
    if (signal?.aborted === true) throw error;
  });
  return true;
}
