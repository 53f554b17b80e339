/**
 * Packet filter rules of one host: nftables in a table of our own, and the few iptables rules without which Docker's
 * `FORWARD` policy (DROP) stops the overlay. A packet must pass every base chain, so no rule of our own table
 * can undo Docker's drop: the accept has to stand in Docker's user chain.
 */
import { createHash } from 'node:crypto';
import { formatCidr, type Cidr } from '../address/cidr.ts';
import type { Ipv6Prefix } from '../address/dual-stack.ts';
import { meshForwardRule, notMesh } from './mesh-mark.ts';

/** What the rules depend on. */
export interface RulesetInput {
  /** The whole overlay. */
  readonly network: Cidr;
  /** This host's part. */
  readonly subnet: Cidr;
  /** VXLAN device, for example `nap.1`. */
  readonly device: string;
  /** Docker's bridge, for example `nap0`. */
  readonly bridge: string;
  /** Device of the underlay, where hosts on its segment are reached without the tunnel. */
  readonly segment?: string;
  /** Present: the overlay carries IPv6, too (ruleset-ipv6.ts). */
  readonly ipv6?: Ipv6Prefix;
}

/** A chain of table `nap` (family `ip`, if not said otherwise), under a name that no other family has. Without `base`, others go to it. */
export interface Chain {
  readonly name: string;
  readonly family?: 'bridge' | 'ip6';
  readonly base?: BaseHook;
  readonly rules: readonly string[];
}

/** Where the kernel calls a chain. `priority` is a number because nft 1.0.6 refuses names in some hooks. */
export interface BaseHook {
  readonly type: 'nat' | 'filter';
  readonly hook: 'prerouting' | 'output' | 'postrouting' | 'forward';
  readonly priority: number;
}

/** Name of nap's nftables tables. */
export const tableName = 'nap';

/** Name of nap's iptables chain, to which `DOCKER-USER` jumps. */
export const dockerChain = 'NAP-FORWARD';

/** The chains of table `ip nap`. */
export function overlayChains(input: RulesetInput): readonly Chain[] {
  const network = formatCidr(input.network);
  const subnet = formatCidr(input.subnet);
  return [
    {
      name: 'overlay-postrouting',
      // Before iptables' nat chain (100): the first NAT decision stands.
      base: { type: 'nat', hook: 'postrouting', priority: 90 },
      rules: [
        // Inside the overlay the container's own address must arrive: names and isolation depend on it.
        `ip saddr ${network} ip daddr ${network} accept`,
        // To the outside, containers speak with the host's address. Multicast is never routed (flannel's rule).
        `ip saddr ${subnet} oifname != "${input.bridge}" ip daddr != 224.0.0.0/4 masquerade fully-random`,
        // Into the overlay from elsewhere (another bridge of this host): answers must find back through this host.
        `oifname "${input.device}" ip saddr != ${network} ${notMesh} masquerade fully-random`,
      ],
    },
    {
      name: 'overlay-forward',
      // iptables' mangle.
      base: { type: 'filter', hook: 'forward', priority: -150 },
      rules: [
        // Networks with a larger MTU (other bridges) would else send segments that do not fit into the tunnel.
        `oifname "${input.device}" tcp flags syn tcp option maxseg size set rt mtu`,
      ],
    },
  ];
}

/** Identifies one rule in a listing: its place and its text. */
export function ruleTag(chain: Chain, index: number): string {
  const text = `${chain.name} ${index} ${chain.rules[index] ?? ''}`;
  return `nap:${createHash('sha256').update(text).digest('hex').slice(0, 16)}`;
}

/** Where a chain is, as nft commands name it. */
export function chainPath({ family, name }: Chain): string {
  return `${family ?? 'ip'} ${tableName} ${name}`;
}

/** The lines that make chains exactly so. All are there before the first rule, for rules may go to other chains. */
export function chainLines(chains: readonly Chain[]): readonly string[] {
  const heads = chains.flatMap((chain) => {
    const { base } = chain;
    const hook =
      base === undefined
        ? ''
        : ` { type ${base.type} hook ${base.hook} priority ${base.priority}; policy accept; }`;
    return [`add chain ${chainPath(chain)}${hook}`, `flush chain ${chainPath(chain)}`];
  });
  const rules = chains.flatMap((chain) =>
    chain.rules.map(
      (rule, i) => `add rule ${chainPath(chain)} ${rule} comment "${ruleTag(chain, i)}"`,
    ),
  );
  return [...heads, ...rules];
}

/**
 * A script for `nft -f -` that makes the chains exactly so, in one transaction: no packet ever meets a half-made
 * table. Other chains, sets and maps of the table stay; elements of declared sets, too.
 */
export function rulesetScript(
  chains: readonly Chain[],
  declarations: readonly string[] = [],
): string {
  const families = new Set(['ip', ...chains.map(({ family }) => family ?? 'ip')]);
  const tables = [...families].map((family) => `add table ${family} ${tableName}`);
  return [...tables, ...declarations, ...chainLines(chains)].join('\n') + '\n';
}

/** Tags of the rules that a listing (`nft -j list table`) should show, by chain, in order. */
export function expectedTags(chains: readonly Chain[]): ReadonlyMap<string, readonly string[]> {
  return new Map(chains.map((chain) => [chain.name, chain.rules.map((_, i) => ruleTag(chain, i))]));
}

/** Arguments, after the chain's name, of the rules of `NAP-FORWARD`, in order, as `iptables -S` prints them. */
export function dockerForwardRules(input: RulesetInput): readonly string[] {
  return [
    `-i ${input.device} -o ${input.bridge} -j ACCEPT`,
    `-i ${input.bridge} -o ${input.device} -j ACCEPT`,
    ...(input.segment === undefined
      ? []
      : [
          `-s ${formatCidr(input.network)} -i ${input.segment} -o ${input.bridge} -j ACCEPT`,
          `-d ${formatCidr(input.network)} -i ${input.bridge} -o ${input.segment} -j ACCEPT`,
        ]),
    // Instances of one host meet on the bridge; what goes through virtual IPs is routed.
    `-i ${input.bridge} -o ${input.bridge} -j ACCEPT`,
    meshForwardRule,
  ];
}
