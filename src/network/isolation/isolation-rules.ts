/**
 * The constant part of isolation: the rules that look up in sets and maps what isolation.ts keeps there.
 *
 * They stand on the host of the instance that is spoken to, where whatever has been turned to it (virtual IP, published port) shows
 * the real addresses of both ends. Every packet of a connection's own direction is looked at, not the first alone: what is
 * forbidden ends at once. Answers pass. What is not known is dropped and not refused: an address that is not known *yet* is
 * tried again by whoever has it.
 *
 * An address proves nothing by itself, so what claims one that is not its own is dropped before it is looked at: see the first
 * chain.
 */
import { blockSize, formatCidr, formatIpv4, type Cidr } from '../address/cidr.ts';
import { anyMesh, notMesh } from '../nftables/mesh-mark.ts';
import type { SetDeclaration } from '../nftables/nft-elements.ts';
import type { Chain, RulesetInput } from '../nftables/ruleset.ts';
import type { Peer } from '../overlay/vxlan.ts';

/** Addresses of this host that take in everybody in the overlay. */
export const openSet = 'iso-open';
/** Address → number of its project. */
export const groupMap = 'iso-groups';
/** Address → number of its service. */
export const memberMap = 'iso-members';
/** Address of this host and number of a project or service that it takes in. */
export const allowedSet = 'iso-allowed';
/** MAC of another host in the overlay, and the base of the subnet that it may send from. */
export const senderSet = 'iso-senders';
/** The same for what comes from the segment directly: the host's MAC there. */
const segmentSet = 'iso-segment';

export const isolationSets: readonly SetDeclaration[] = [
  { name: openSet, kind: 'set', type: 'type ipv4_addr' },
  { name: groupMap, kind: 'map', type: 'type ipv4_addr : mark' },
  { name: memberMap, kind: 'map', type: 'type ipv4_addr : mark' },
  { name: allowedSet, kind: 'set', type: 'type ipv4_addr . mark' },
  { name: senderSet, kind: 'set', type: 'type ether_addr . ipv4_addr' },
  { name: segmentSet, kind: 'set', type: 'type ether_addr . ipv4_addr' },
];

/** The chains. @param ranges where virtual IPs are */
export function isolationChains(input: RulesetInput, ranges: readonly Cidr[]): readonly Chain[] {
  const network = formatCidr(input.network);
  const subnet = formatCidr(input.subnet);
  const fromBridge = `iifname "${input.bridge}"`;
  const fromDevice = `iifname "${input.device}"`;
  const hostPart = blockSize(input.subnet.prefix) - 1;
  const netmask = formatIpv4((0xffff_ffff - hostPart) >>> 0);
  // A host's own are the first two of its subnet: the overlay's and the bridge's.
  const beyondOwn = formatIpv4(hostPart - 1);
  const virtual = ranges.map(formatCidr).join(', ');
  // What is turned from an address of the host was published; from a virtual IP, not.
  const published =
    ranges.length === 0
      ? 'ct status dnat accept'
      : `ct status dnat ct original ip daddr != { ${virtual} } accept`;
  return [
    {
      name: 'isolation-sources',
      // Before connection tracking (-200), which would take note of it.
      base: { type: 'filter', hook: 'prerouting', priority: -290 },
      rules: [
        `${fromBridge} ip saddr != ${subnet} drop`,
        `${fromBridge} ip saddr & ${beyondOwn} == 0.0.0.0 drop`,
        `${fromDevice} ip saddr ${network} ether saddr . ip saddr & ${netmask} != @${senderSet} drop`,
        ...(input.segment === undefined
          ? []
          : [
              `iifname "${input.segment}" ip saddr ${network} ether saddr . ip saddr & ${netmask} @${segmentSet} accept`,
            ]),
        `iifname != { "${input.bridge}", "${input.device}", "lo" } ip saddr ${network} drop`,
      ],
    },
    {
      name: 'isolation-forward',
      base: { type: 'filter', hook: 'forward', priority: -145 },
      rules: [
        // Others on this host would be taken for the host itself elsewhere, whose address they get.
        `oifname "${input.device}" iifname != "${input.bridge}" ct direction original ${notMesh} drop`,
        `ip daddr != ${subnet} accept`,
        'ct direction reply accept',
        'ct state related accept',
        published,
        // Led here by another host, whose port was asked for.
        `${anyMesh} accept`,
        // Docker's filter, and the host's owner, say who comes in from elsewhere.
        `iifname != { "${input.bridge}", "${input.device}" } ip saddr != ${network} accept`,
        `iifname != "${input.bridge}" ip saddr ${network} ip saddr & ${beyondOwn} == 0.0.0.0 accept`,
        `ip saddr ${network} ip daddr @${openSet} accept`,
        'goto isolation-check',
      ],
    },
    {
      name: 'isolation-check',
      rules: checkRules('ip'),
    },
  ];
}

/** Who is let in because the sender, or a group that it belongs to, may speak to the receiver. */
export function checkRules(family: 'ip' | 'ip6'): readonly string[] {
  // The packet's mark serves as a place to keep a number in, and is nobody's between containers.
  return [
    'meta mark set 0x00000000',
    ...[groupMap, memberMap].flatMap((map) => [
      `meta mark set ${family} saddr map @${map}`,
      `${family} daddr . meta mark @${allowedSet} meta mark set 0x00000000 accept`,
    ]),
    'drop',
  ];
}

/**
 * Elements by which the other hosts are known, as this one reaches them: set and key.
 * @param segment base of the subnet of a host on this one's segment → its MAC there
 */
export function* senderElements(
  peers: Iterable<Pick<Peer, 'subnet' | 'mac'>>,
  segment: ReadonlyMap<string, string> = new Map(),
): Iterable<readonly [set: string, key: string]> {
  for (const { subnet, mac } of peers) {
    yield [senderSet, `${mac} . ${formatIpv4(subnet.base)}`];
  }
  for (const [base, mac] of segment) yield [segmentSet, `${mac} . ${base}`];
}
