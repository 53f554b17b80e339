/**
 * The constant part of ports that every host answers on ("mesh ports"): the rules that look up in the sets and maps below.
 *
 *     client ──▶ entry host ── DNAT ──▶ (overlay) ──▶ instance's host ──▶ instance
 *        ▲           │                                     │
 *        └───────────┘◀── (overlay) ◀── dup by mark ───────┘
 *
 * The entry host turns a connection to one of the ready instances, wherever it runs, and keeps the client's address. So the
 * instance's host sees a stranger's address come out of the overlay, and must not answer the stranger by itself: only the entry
 * host can turn the answer back. It marks such a connection by the entry host, which the sender's MAC tells, and hands every
 * answer to that host. A map from mark to host does it for any number of hosts; policy routing would need a rule for each.
 *
 * One address and port of a client may lead to one instance through two hosts, for behind a proxy before the hosts there are many
 * clients. The instance's host tracks what comes in by each host in a zone of its own, so that it takes neither connection for the
 * other; answers are in the common zone, so the kernel gives the second another port there, and takes that back from its answers.
 * (`original` zones: Linux 4.3, commit deedb59039f1, "netfilter: nf_conntrack: add direction support for zones".)
 *
 * The kernel's connection tracking carries what is open: it goes on when an instance leaves the pool, until it is stopped.
 */
import { blockSize, formatCidr, formatIpv4, type Cidr } from '../address/cidr.ts';
import { anyMesh, hex, meshMarkBase } from '../nftables/mesh-mark.ts';
import type { SetDeclaration } from '../nftables/nft-elements.ts';
import type { Chain, RulesetInput } from '../nftables/ruleset.ts';
import { hairpinSet, hashSeed } from './virtual-ip-rules.ts';
import type { Peer } from '../overlay/vxlan.ts';

/** Protocol and port → `goto` the chain that chooses. */
export const meshSpreadMap = 'mesh-spread';
/**
 * Port and slot → address and port of an instance. One map for each protocol: nft reads a port as one protocol's, and would have
 * rules for both look at packets of that one alone.
 */
export const meshEndpointMaps = { tcp: 'mesh-tcp', udp: 'mesh-udp' } as const;
export type MeshProtocol = keyof typeof meshEndpointMaps;
/** MAC of another host in the overlay → mark of the connections that come in by it. */
const meshPeerMap = 'mesh-peers';
/** MAC of another host in the overlay → zone of conntrack for what comes in by it. */
const meshZoneMap = 'mesh-zones';
/** Mark → overlay address of that host. */
const meshEntryMap = 'mesh-entries';
/** Addresses of the other hosts outside of the overlay. */
const meshHostSet = 'mesh-hosts';

export const meshSets: readonly SetDeclaration[] = [
  { name: meshSpreadMap, kind: 'map', type: 'typeof meta l4proto . th dport : verdict' },
  ...(['tcp', 'udp'] as const).map((protocol): SetDeclaration => ({
    name: meshEndpointMaps[protocol],
    kind: 'map',
    type: `typeof ${protocol} dport . numgen random mod 2 : ip daddr . ${protocol} dport`,
  })),
  { name: meshPeerMap, kind: 'map', type: 'type ether_addr : mark' },
  { name: meshZoneMap, kind: 'map', type: 'typeof ether saddr : ct zone' },
  { name: meshEntryMap, kind: 'map', type: 'type mark : ipv4_addr' },
  { name: meshHostSet, kind: 'set', type: 'type ipv4_addr' },
];

/** Of connections that have come in by this host itself. */
const ownMark = hex(meshMarkBase + 0xffffff);

/** Takes one of `count` instances at random. */
export function meshSpreadChain(protocol: MeshProtocol, count: number): Chain {
  return chooser(protocol, `spread-${count}`, `numgen random mod ${count}`);
}

/** Takes one of `count` slots by the client's address. */
export function meshHashChain(protocol: MeshProtocol, count: number): Chain {
  return chooser(protocol, `hash-${count}`, `jhash ip saddr mod ${count} seed ${hashSeed}`);
}

function chooser(protocol: MeshProtocol, name: string, slot: string): Chain {
  const lookUp = (from: string): string =>
    `ct mark set ${ownMark} dnat ip to ${protocol} dport . ${from} map @${meshEndpointMaps[protocol]}`;
  // A packet may have come here by the state before an update, and find the slot gone: there is a first one always.
  return { name: `mesh-${protocol}-${name}`, rules: [lookUp(slot), lookUp('numgen random mod 1')] };
}

/** The base chains. @param hideLocal see virtual-ip-rules.ts */
export function meshChains(input: RulesetInput, hideLocal = false): readonly Chain[] {
  const network = formatCidr(input.network);
  const subnet = formatCidr(input.subnet);
  // All addresses of this host but its loopback, from which nothing can be answered elsewhere.
  const choose =
    'fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto { tcp, udp } ' +
    `meta l4proto . th dport vmap @${meshSpreadMap}`;
  const answer = `iifname "${input.bridge}" ct direction reply ct mark != ${ownMark} ${anyMesh}`;
  const fromOutside = `iifname "${input.device}" ip saddr != ${network} ip daddr ${subnet}`;
  return [
    {
      name: 'mesh-prerouting',
      base: { type: 'nat', hook: 'prerouting', priority: -110 },
      rules: [choose],
    },
    { name: 'mesh-output', base: { type: 'nat', hook: 'output', priority: -110 }, rules: [choose] },
    {
      name: 'mesh-postrouting',
      base: { type: 'nat', hook: 'postrouting', priority: 84 },
      rules: [
        `ct mark ${ownMark} ip saddr . ip daddr @${hairpinSet} masquerade fully-random`,
        // An instance's host takes nothing from its own address that comes from elsewhere.
        `ct mark ${ownMark} oifname "${input.device}" ip saddr @${meshHostSet} masquerade fully-random`,
        // From an instance of any project, which has asked for a port of this host: seen under its own address, it would be taken
        // for one that speaks to the instance, which it may not be allowed to (isolation-rules.ts).
        `ct mark ${ownMark} oifname "${input.device}" ip saddr ${network} masquerade fully-random`,
        // The same without the tunnel, where the device has another address.
        ...(input.segment === undefined
          ? []
          : [
              `ct mark ${ownMark} oifname "${input.segment}" ip saddr ${network} snat to ${formatIpv4(input.subnet.base)} fully-random`,
            ]),
        ...(hideLocal
          ? [`ct mark ${ownMark} ip saddr ${subnet} ip daddr ${subnet} masquerade fully-random`]
          : []),
      ],
    },
    {
      name: 'mesh-zone',
      // Before connection tracking.
      base: { type: 'filter', hook: 'prerouting', priority: -300 },
      rules: [`${fromOutside} ct original zone set ether saddr map @${meshZoneMap}`],
    },
    {
      name: 'mesh-mark',
      // After connection tracking (-200).
      base: { type: 'filter', hook: 'prerouting', priority: -145 },
      rules: [`${fromOutside} ct state new ct mark set ether saddr map @${meshPeerMap}`],
    },
    {
      name: 'mesh-return',
      // After answers have their client's own port back (-100).
      base: { type: 'filter', hook: 'prerouting', priority: -95 },
      rules: [
        `${answer} dup to ct mark map @${meshEntryMap} drop`,
        // Nobody could make sense of it: its host is gone.
        `${answer} drop`,
      ],
    },
  ];
}

/** Elements by which answers find back through other hosts: set, key and data. */
export function* returnElements(
  network: Cidr,
  peers: Iterable<Pick<Peer, 'subnet' | 'mac' | 'address'>>,
): Iterable<readonly [set: string, key: string, data: string]> {
  // Elsewhere the place in the overlay would not fit into the mark.
  if (network.prefix < 8) return;
  for (const { subnet, mac, address } of peers) {
    const mark = hex(meshMarkBase + subnet.base - network.base);
    yield [meshPeerMap, mac, mark];
    yield [meshZoneMap, mac, String(zoneOf(network, subnet))];
    yield [meshEntryMap, mark, formatIpv4(subnet.base)];
    yield [meshHostSet, address, ''];
  }
}

/** Another one for each host, where there are fewer than 65,535 subnets. Zone 0 is that of all else. */
function zoneOf(network: Cidr, subnet: Cidr): number {
  const index = (subnet.base - network.base) / blockSize(subnet.prefix);
  return 1 + (index % 65_535);
}
