/**
 * Traffic between two instances of one host. A bridge would hand it over by itself, past nftables' `ip` tables: an answer to a
 * connection through a virtual IP would come from a stranger's address, and isolation would not be asked. So frames between this
 * host's instances are turned to the bridge's own address as they come in, and the host routes them like all others. This is
 * one constant rule, needs no module that changes other bridges, and nothing at the start of an instance.
 *
 * Where `br_netfilter` is in force for all bridges (other software likes it so), connections through virtual IPs are turned within the
 * bridge, and one from an instance to itself would have to leave by the port it came in: ports are allowed that.
 *
 * In IPv6 instances have link-local addresses besides, by which they need no host: what is not neighbour discovery ends on the
 * bridge. Where nftables cannot tell bridges apart (the module nft_meta_bridge), `br_netfilter` is put in force for this bridge's IPv6
 * alone, and the rules of isolation see to it.
 */
import { z } from 'zod';
import { formatCidr, formatIpv4, type Cidr } from '../../network/address/cidr.ts';
import { ipv6Of, type Ipv6Prefix } from '../../network/address/dual-stack.ts';
import type { Chain } from '../../network/nftables/ruleset.ts';
import { bridgedIpv6Chain, localRoutingIpv6Rules } from '../../network/nftables/ruleset-ipv6.ts';
import { ExecError, type Exec } from './exec.ts';
import { ensureHairpin, type KernelFiles } from './hairpin.ts';
import { allowIpv6 } from './ipv6/ipv6-kernel.ts';
import { ensureChains } from './nft.ts';
import { showAddresses } from './show-device.ts';
import { parseTool } from './tool-output.ts';

const linkList = z.array(
  z.looseObject({
    ifname: z.string().optional(),
    address: z.string().optional(),
    flags: z.array(z.string()).optional(),
    linkinfo: z
      .looseObject({
        info_data: z.looseObject({ nf_call_ip6tables: z.number().optional() }).optional(),
      })
      .optional(),
  }),
);
export interface LocalBridge {
  readonly bridge: string;
  /** This host's. */
  readonly subnet: Cidr;
  /** Present: instances have IPv6 addresses, too. */
  readonly ipv6?: Ipv6Prefix | undefined;
  /** Where this network's part of the kernel's files is; see `ensureHairpin`. */
  readonly files?: KernelFiles | undefined;
}

/** The chain that has frames between instances routed. @param mac the bridge's own */
function localRoutingChain(subnet: Cidr, mac: string, ipv6?: Ipv6Prefix): Chain {
  const own = formatCidr(subnet);
  return {
    name: 'local-prerouting',
    family: 'bridge',
    base: { type: 'filter', hook: 'prerouting', priority: -300 },
    rules: [
      // Not broadcast and multicast.
      `ip saddr ${own} ip daddr ${own} ether daddr & 01:00:00:00:00:00 == 00:00:00:00:00:00 ` +
        `ether daddr set ${mac} meta pkttype set host`,
      ...(ipv6 === undefined ? [] : localRoutingIpv6Rules({ subnet }, ipv6, mac)),
    ],
  };
}

/** How what instances of one host send each other comes to the host's packet filter. */
export interface LocalRouting {
  /** What was changed. */
  readonly changes: readonly string[];
  /** Why it does not; undefined when it does. */
  readonly problem?: string;
  /** The same of IPv6. */
  readonly ipv6Problem?: string;
}

/** Has instances of this host meet in the host's routing. Does nothing before the bridge exists. Throws ExecError. */
export async function ensureLocalRouting(
  exec: Exec,
  { bridge, subnet, ipv6, files }: LocalBridge,
  signal?: AbortSignal,
): Promise<LocalRouting> {
  const mac = (await bridgeLink(exec, bridge, signal))?.address;
  if (mac === undefined) return { changes: [] };
  const routed = await ensureRouted(
    exec,
    { bridge, files },
    localRoutingChain(subnet, mac, ipv6),
    signal,
  );
  if (ipv6 === undefined) return routed;
  const apart = await keepIpv6Apart(exec, bridge, signal);
  return { ...routed, ...apart, changes: [...routed.changes, ...apart.changes] };
}

async function ensureRouted(
  exec: Exec,
  { bridge, files }: Pick<LocalBridge, 'bridge' | 'files'>,
  chain: Chain,
  signal?: AbortSignal,
): Promise<LocalRouting> {
  const isFiltered = await ensureHairpin(exec, bridge, files, signal);
  try {
    return { changes: await ensureChains(exec, [chain], [], signal) };
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

/** Has instances of this host not speak IPv6 with each other past the packet filter. */
async function keepIpv6Apart(
  exec: Exec,
  bridge: string,
  signal?: AbortSignal,
): Promise<LocalRouting> {
  const { stdout } = await exec('ip', ['-d', '-j', 'link', 'show', 'dev', bridge], {}, signal);
  const link = parseTool(linkList, stdout, 'ip link').find(({ ifname }) => ifname === bridge);
  if (link?.linkinfo?.info_data?.nf_call_ip6tables === 1) return { changes: [] };
  try {
    return { changes: await ensureChains(exec, [bridgedIpv6Chain(bridge)], [], signal) };
  } catch (error) {
    if (!(error instanceof ExecError) || error.notFound || error.cancelled) throw error;
    const setting = 'net/bridge/bridge-nf-call-ip6tables';
    const netfilter = await exec('sysctl', ['-n', '-e', setting], {}, signal);
    if (netfilter.stdout.trim() === '') {
      return {
        changes: [],
        ipv6Problem:
          'the kernel has no packet filter for IPv6 within a bridge: instances of this host reach each other in IPv6 whatever the ' +
          `isolation says (load nft_meta_bridge or br_netfilter): ${error.message}`,
      };
    }
    const filtered = ['type', 'bridge', 'nf_call_ip6tables', '1'];
    await exec('ip', ['link', 'set', 'dev', bridge, ...filtered], {}, signal);
    return { changes: [`IPv6 within bridge ${bridge} handed to the packet filter`] };
  }
}

/**
 * Gives the bridge its address back and sets it up, as Docker does it once, when it makes the network: without, containers have no
 * gateway and no name server. Does nothing to a bridge that is not `known`, for Docker may be at it. Throws ExecError.
 */
export async function ensureBridge(
  exec: Exec,
  { bridge, subnet, ipv6 }: LocalBridge,
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
  const gateway = formatIpv4(subnet.base + 1);
  if (!(await holds(exec, bridge, '-4', gateway, signal))) {
    const last = formatIpv4(subnet.base + 2 ** (32 - subnet.prefix) - 1);
    const address = ['addr', 'replace', `${gateway}/${subnet.prefix}`, 'brd', last, 'dev', bridge];
    await exec('ip', address, {}, signal);
    changes.push(`address ${gateway} of bridge ${bridge} restored`);
  }
  if (ipv6 === undefined) return { exists: true, changes };
  changes.push(...(await allowIpv6(exec, bridge, signal)));
  const twin = ipv6Of(ipv6, subnet.base + 1);
  if (!(await holds(exec, bridge, '-6', twin, signal))) {
    const address = ['addr', 'replace', `${twin}/${96 + subnet.prefix}`, 'dev', bridge, 'nodad'];
    await exec('ip', address, {}, signal);
    changes.push(`address ${twin} of bridge ${bridge} restored`);
  }
  return { exists: true, changes };
}

async function holds(
  exec: Exec,
  bridge: string,
  family: '-4' | '-6',
  address: string,
  signal?: AbortSignal,
): Promise<boolean> {
  const devices = await showAddresses(exec, family, ['dev', bridge], signal);
  const held = devices.find(({ ifname }) => ifname === bridge);
  return held?.addr_info?.some(({ local }) => local === address) === true;
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
