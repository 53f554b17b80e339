/**
 * The constant part of virtual IPs: the rules that look up in sets and maps what virtual-ips.ts keeps there.
 *
 * A connection to a virtual IP is turned to one of the ready endpoints by its first packet, on the host on which it begins; the
 * kernel's connection tracking carries the rest. Ports stay as they are, so every port and protocol of an instance is
 * served: one element for each endpoint suffices. `vip-spread` says, for each virtual IP that has endpoints, which chain
 * chooses: `spread-N` takes one of N at random, `hash-N` by the client's address. What is not in it is refused at once.
 */
import { formatCidr, formatIpv4, type Cidr } from '../address/cidr.ts';
import type { SetDeclaration } from '../nftables/nft-elements.ts';
import type { Chain, RulesetInput } from '../nftables/ruleset.ts';

/** Virtual IP → `goto` the chain that chooses. */
export const spreadMap = 'vip-spread';
/** Virtual IP and slot → address of an endpoint. */
export const endpointMap = 'vip-endpoints';
/** Pairs of an address with itself, of this host's endpoints: an instance that reached itself through its virtual IP. */
export const hairpinSet = 'vip-hairpin';

export const virtualIpSets: readonly SetDeclaration[] = [
  { name: spreadMap, kind: 'map', type: 'type ipv4_addr : verdict' },
  // The modulus stands for a type only: "an integer of numgen".
  { name: endpointMap, kind: 'map', type: 'typeof ip daddr . numgen random mod 2 : ip daddr' },
  { name: hairpinSet, kind: 'set', type: 'type ipv4_addr . ipv4_addr' },
];

/** The same on all hosts, so that a client finds the same instance wherever it connects from. */
export const hashSeed = '0x6e6170';

/** Takes one of `count` endpoints at random. */
export function spreadChain(count: number): Chain {
  return chooser(`spread-${count}`, `numgen random mod ${count}`);
}

/** Takes one of `count` slots by the client's address. */
export function hashChain(count: number): Chain {
  return chooser(`hash-${count}`, `jhash ip saddr mod ${count} seed ${hashSeed}`);
}

function chooser(name: string, slot: string): Chain {
  const lookUp = (from: string): string => `dnat to ip daddr . ${from} map @${endpointMap}`;
  // A packet may have come here by the state before an update, and find the slot gone: there is a first one always.
  return { name, rules: [lookUp(slot), lookUp('numgen random mod 1')] };
}

/**
 * The base chains, for virtual IPs in `ranges`.
 * @param hideLocal answers between instances of one host do not come by here (local-bridge.ts): only under the host's own
 * address can they speak through a virtual IP
 */
export function virtualIpChains(
  input: RulesetInput,
  ranges: readonly Cidr[],
  hideLocal = false,
): readonly Chain[] {
  if (ranges.length === 0) return [];
  const network = formatCidr(input.network);
  const subnet = formatCidr(input.subnet);
  const inner = ranges.map(formatCidr).join(', ');
  const virtual = ranges.length === 1 ? inner : `{ ${inner} }`;
  const refuse = [
    `ip daddr ${virtual} meta l4proto tcp reject with tcp reset`,
    `ip daddr ${virtual} reject`,
  ];
  const choose = `ip daddr ${virtual} ip daddr vmap @${spreadMap}`;
  // Before Docker's own (-100): the first NAT decision stands.
  const first = -110;
  return [
    {
      name: 'vip-prerouting',
      base: { type: 'nat', hook: 'prerouting', priority: first },
      // From instances only: virtual IPs are no way into the overlay from outside.
      rules: [`iifname "${input.bridge}" ${choose}`],
    },
    {
      name: 'vip-output',
      base: { type: 'nat', hook: 'output', priority: first },
      rules: [choose],
    },
    {
      name: 'vip-postrouting',
      // Before overlay-postrouting (90), which lets the overlay's own addresses pass.
      base: { type: 'nat', hook: 'postrouting', priority: 85 },
      rules: [
        // Nobody takes packets from himself.
        `ip saddr . ip daddr @${hairpinSet} masquerade fully-random`,
        // The host itself must be seen under an address to which instances can answer.
        `ct original ip daddr ${virtual} ip saddr != ${network} masquerade fully-random`,
        `ct original ip daddr ${virtual} oifname "${input.bridge}" ip saddr ${formatIpv4(input.subnet.base)} masquerade fully-random`,
        ...(hideLocal
          ? [
              `ct original ip daddr ${virtual} ip saddr ${subnet} ip daddr ${subnet} masquerade fully-random`,
            ]
          : []),
      ],
    },
    // What has found no endpoint: refused, not lost on its way to nowhere.
    {
      name: 'vip-forward',
      base: { type: 'filter', hook: 'forward', priority: -140 },
      rules: refuse,
    },
    {
      name: 'vip-refuse-local',
      base: { type: 'filter', hook: 'output', priority: 0 },
      rules: refuse,
    },
  ];
}
