/**
 * Packet filter rules of one host: nftables in a table of our own, and the few iptables rules without which Docker's
 * `FORWARD` policy (DROP) stops the overlay. A packet must pass every base chain, so no rule of our own table
 * can undo Docker's drop: the accept has to stand in Docker's user chain.
 */
import { createHash } from 'node:crypto';
import { formatCidr, type Cidr } from './cidr.ts';

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
}

/** A base chain of table `ip nap`. `priority` is a number because nft 1.0.6 refuses names in some hooks. */
export interface BaseChain {
  readonly name: string;
  readonly type: 'nat' | 'filter';
  readonly hook: 'postrouting' | 'forward';
  readonly priority: number;
  readonly rules: readonly string[];
}

/** Name of nap's nftables table (family `ip`). */
export const tableName = 'nap';

/** Name of nap's iptables chain, to which `DOCKER-USER` jumps. */
export const dockerChain = 'NAP-FORWARD';

/** The chains of table `ip nap`. */
export function overlayChains(input: RulesetInput): readonly BaseChain[] {
  const network = formatCidr(input.network);
  const subnet = formatCidr(input.subnet);
  return [
    {
      name: 'overlay-postrouting',
      type: 'nat',
      hook: 'postrouting',
      // Before iptables' nat chain (100): the first NAT decision stands.
      priority: 90,
      rules: [
        // Inside the overlay the container's own address must arrive: names and isolation depend on it.
        `ip saddr ${network} ip daddr ${network} accept`,
        // To the outside, containers speak with the host's address. Multicast is never routed (flannel's rule).
        `ip saddr ${subnet} oifname != "${input.bridge}" ip daddr != 224.0.0.0/4 masquerade fully-random`,
        // Into the overlay from elsewhere (another bridge of this host): answers must find back through this host.
        `oifname "${input.device}" ip saddr != ${network} masquerade fully-random`,
      ],
    },
    {
      name: 'overlay-forward',
      type: 'filter',
      hook: 'forward',
      // iptables' mangle.
      priority: -150,
      rules: [
        // Networks with a larger MTU (other bridges) would else send segments that do not fit into the tunnel.
        `oifname "${input.device}" tcp flags syn tcp option maxseg size set rt mtu`,
      ],
    },
  ];
}

/** Identifies one rule in a listing: its place and its text. */
export function ruleTag(chain: BaseChain, index: number): string {
  const text = `${chain.name} ${index} ${chain.rules[index] ?? ''}`;
  return `nap:${createHash('sha256').update(text).digest('hex').slice(0, 16)}`;
}

/**
 * A script for `nft -f -` that makes the chains exactly so, in one transaction: no packet ever meets a half-made
 * table. Other chains, sets and maps of the table stay.
 */
export function rulesetScript(chains: readonly BaseChain[]): string {
  const lines = [`add table ip ${tableName}`];
  for (const chain of chains) {
    const at = `ip ${tableName} ${chain.name}`;
    lines.push(
      `add chain ${at} { type ${chain.type} hook ${chain.hook} priority ${chain.priority}; policy accept; }`,
      `flush chain ${at}`,
      ...chain.rules.map((rule, i) => `add rule ${at} ${rule} comment "${ruleTag(chain, i)}"`),
    );
  }
  return lines.join('\n') + '\n';
}

/** Tags of the rules that a listing (`nft -j list table`) should show, by chain, in order. */
export function expectedTags(chains: readonly BaseChain[]): ReadonlyMap<string, readonly string[]> {
  return new Map(chains.map((chain) => [chain.name, chain.rules.map((_, i) => ruleTag(chain, i))]));
}

/** Arguments, after the chain's name, of the rules of `NAP-FORWARD`, in order, as `iptables -S` prints them. */
export function dockerForwardRules(input: RulesetInput): readonly string[] {
  return [
    `-i ${input.device} -o ${input.bridge} -j ACCEPT`,
    `-i ${input.bridge} -o ${input.device} -j ACCEPT`,
  ];
}
