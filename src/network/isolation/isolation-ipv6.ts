/**
 * Isolation in IPv6: the same rules as in IPv4 (isolation-rules.ts), and for each element its twin. Who may speak to whom is decided
 * once, for addresses of IPv4. Pure.
 */
import { blockSize, tryParseIpv4 } from '../address/cidr.ts';
import { formatIpv6, ipv6Cidr, ipv6Of, type Ipv6Prefix } from '../address/dual-stack.ts';
import {
  allowedSet,
  checkRules,
  groupMap,
  memberMap,
  openSet,
  senderSet,
} from './isolation-rules.ts';
import type { ElementLedger, SetDeclaration } from '../nftables/nft-elements.ts';
import type { Chain, RulesetInput } from '../nftables/ruleset.ts';
import { neighbourDiscovery } from '../nftables/ruleset-ipv6.ts';

/** Under the names of those of table `ip nap`. */
export const isolationIpv6Sets: readonly SetDeclaration[] = [
  { name: openSet, family: 'ip6', kind: 'set', type: 'type ipv6_addr' },
  { name: groupMap, family: 'ip6', kind: 'map', type: 'type ipv6_addr : mark' },
  { name: memberMap, family: 'ip6', kind: 'map', type: 'type ipv6_addr : mark' },
  { name: allowedSet, family: 'ip6', kind: 'set', type: 'type ipv6_addr . mark' },
  { name: senderSet, family: 'ip6', kind: 'set', type: 'type ether_addr . ipv6_addr' },
];

const mirrored: ReadonlySet<string> = new Set(isolationIpv6Sets.map(({ name }) => name));

/** A ledger of IPv4's elements that has their twins written to another one. */
export function withTwins(
  ledger: ElementLedger,
  twins: ElementLedger,
  prefix: Ipv6Prefix,
): Pick<ElementLedger, 'put' | 'remove'> {
  return {
    put(set, key, data) {
      ledger.put(set, key, data);
      const twin = twinKey(prefix, set, key);
      if (twin !== undefined) twins.put(set, twin, data);
    },
    remove(set, key) {
      ledger.remove(set, key);
      const twin = twinKey(prefix, set, key);
      if (twin !== undefined) twins.remove(set, twin);
    },
  };
}

/** Undefined when there is none: of a set that IPv6 does not have, or without an address. */
function twinKey(prefix: Ipv6Prefix, set: string, key: string): string | undefined {
  if (!mirrored.has(set)) return undefined;
  const parts = key.split(' . ');
  const twins = parts.map((part) => {
    const address = tryParseIpv4(part);
    return address === undefined ? part : ipv6Of(prefix, address);
  });
  return twins.every((twin, i) => twin === parts[i]) ? undefined : twins.join(' . ');
}

/** What stands for the chain of that name until it is known who may speak to whom: nobody may to an instance of this host. */
export function closedIpv6Chain(input: RulesetInput, prefix: Ipv6Prefix): Chain {
  return forwardChain(input, prefix, ['drop']);
}

/** The chains of table `ip6 nap`. */
export function isolationIpv6Chains(input: RulesetInput, prefix: Ipv6Prefix): readonly Chain[] {
  const network = ipv6Cidr(prefix, input.network);
  const subnet = ipv6Cidr(prefix, input.subnet);
  const fromBridge = `iifname "${input.bridge}"`;
  const fromDevice = `iifname "${input.device}"`;
  const hostPart = blockSize(input.subnet.prefix) - 1;
  const netmask = formatIpv6((1n << 128n) - 1n - BigInt(hostPart));
  return [
    {
      name: 'isolation6-sources',
      family: 'ip6',
      base: { type: 'filter', hook: 'prerouting', priority: -290 },
      rules: [
        // They stay on the link: no router passes them on. Without, there is no neighbour discovery.
        `${fromBridge} ip6 saddr { ::, fe80::/10 } accept`,
        `${fromBridge} ip6 saddr != ${subnet} drop`,
        `${fromBridge} ${isOwn(input)} drop`,
        `${fromDevice} ip6 saddr ${network} ether saddr . ip6 saddr & ${netmask} != @${senderSet} drop`,
        `iifname != { "${input.bridge}", "${input.device}", "lo" } ip6 saddr ${network} drop`,
      ],
    },
    forwardChain(input, prefix, [
      `ip6 saddr ${network} ip6 daddr @${openSet} accept`,
      'goto isolation6-check',
    ]),
    {
      name: 'isolation6-check',
      family: 'ip6',
      rules: checkRules('ip6'),
    },
  ];
}

/** @param decision what becomes of packets to this host's instances that are let in by nothing else */
function forwardChain(input: RulesetInput, prefix: Ipv6Prefix, decision: readonly string[]): Chain {
  const network = ipv6Cidr(prefix, input.network);
  const subnet = ipv6Cidr(prefix, input.subnet);
  const fromBridge = `iifname "${input.bridge}"`;
  return {
    name: 'isolation6-forward',
    family: 'ip6',
    base: { type: 'filter', hook: 'forward', priority: -145 },
    rules: [
      `oifname "${input.device}" iifname != "${input.bridge}" ct direction original drop`,
      // Within the bridge, where br_netfilter hands frames over: link-local addresses are no way round.
      `${neighbourDiscovery} accept`,
      `${fromBridge} oifname "${input.bridge}" ip6 saddr != ${subnet} drop`,
      `${fromBridge} oifname "${input.bridge}" ip6 daddr != ${subnet} drop`,
      `ip6 daddr != ${subnet} accept`,
      'ct direction reply accept',
      'ct state related accept',
      // No virtual IPs here: what was turned was published.
      'ct status dnat accept',
      `iifname != { "${input.bridge}", "${input.device}" } ip6 saddr != ${network} accept`,
      `iifname != "${input.bridge}" ip6 saddr ${network} ${isOwn(input)} accept`,
      ...decision,
    ],
  };
}

/** A host's own are the first two of its subnet: the overlay's and the bridge's. */
function isOwn({ subnet }: RulesetInput): string {
  return `ip6 saddr & ${formatIpv6(BigInt(blockSize(subnet.prefix) - 2))} == ::`;
}
