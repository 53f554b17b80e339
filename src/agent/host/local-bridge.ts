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
import { formatCidr, type Cidr } from '../../network/cidr.ts';
import type { Chain } from '../../network/ruleset.ts';
import { ExecError, type Exec } from './exec.ts';
import { ensureChains } from './nft.ts';
import { parseTool } from './tool-output.ts';

const linkList = z.array(
  z.looseObject({ ifname: z.string().optional(), address: z.string().optional() }),
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
  const mac = await bridgeAddress(exec, bridge, signal);
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

async function bridgeAddress(
  exec: Exec,
  bridge: string,
  signal?: AbortSignal,
): Promise<string | undefined> {
  try {
    const { stdout } = await exec('ip', ['-j', 'link', 'show', 'dev', bridge], {}, signal);
    return parseTool(linkList, stdout, 'ip link').find(({ ifname }) => ifname === bridge)?.address;
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
  for (const { ifname } of ports) {
    // An instance may have ended meanwhile.
    await exec('bridge', ['link', 'set', 'dev', ifname, 'hairpin', 'on'], {}, signal).catch(
      (error: unknown) => {
        if (signal?.aborted === true) throw error;
      },
    );
  }
  return true;
}
