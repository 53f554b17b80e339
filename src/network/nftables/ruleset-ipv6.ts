/**
 * What ruleset.ts says of IPv4, for IPv6: chains of table `ip6 nap`, and what ip6tables must let pass. There are no virtual IPs and no
 * mesh ports in IPv6, and all of it goes through the tunnel. Pure.
 */
import { ipv6Cidr, type Ipv6Prefix } from '../address/dual-stack.ts';
import type { Chain, RulesetInput } from './ruleset.ts';

/** For nftables: neighbour discovery on a link. What has been routed has a lesser hop limit (RFC 4861, section 7.1). */
export const neighbourDiscovery =
  'icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255';

/** The chains of table `ip6 nap` that the overlay needs. */
export function overlayIpv6Chains(input: RulesetInput, prefix: Ipv6Prefix): readonly Chain[] {
  const network = ipv6Cidr(prefix, input.network);
  const subnet = ipv6Cidr(prefix, input.subnet);
  return [
    {
      name: 'overlay6-postrouting',
      family: 'ip6',
      base: { type: 'nat', hook: 'postrouting', priority: 90 },
      rules: [
        `ip6 saddr ${network} ip6 daddr ${network} accept`,
        `ip6 saddr ${subnet} oifname != "${input.bridge}" ip6 daddr != ff00::/8 masquerade fully-random`,
        `oifname "${input.device}" ip6 saddr != ${network} masquerade fully-random`,
      ],
    },
    {
      name: 'overlay6-forward',
      family: 'ip6',
      base: { type: 'filter', hook: 'forward', priority: -150 },
      rules: [`oifname "${input.device}" tcp flags syn tcp option maxseg size set rt mtu`],
    },
  ];
}

/** Arguments, after the chain's name, of the rules of `NAP-FORWARD`, in order, as `ip6tables -S` prints them. */
export function dockerForwardIpv6Rules({
  device,
  bridge,
}: Pick<RulesetInput, 'device' | 'bridge'>): readonly string[] {
  return [
    `-i ${device} -o ${bridge} -j ACCEPT`,
    `-i ${bridge} -o ${device} -j ACCEPT`,
    `-i ${bridge} -o ${bridge} -j ACCEPT`,
  ];
}

/**
 * What dockerd lets pass for a bridge of its own, where it looks after ip6tables. Where it does not, it may have had the host pass IPv6
 * on without the policy DROP (after a reboot, it is the first to do so): nothing else comes in.
 */
export function dockerBridgeIpv6Rules({ bridge }: Pick<RulesetInput, 'bridge'>): readonly string[] {
  return [
    `-i ${bridge} ! -o ${bridge} -j ACCEPT`,
    `-o ${bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
    `-o ${bridge} -j DROP`,
  ];
}

/** Rules, for the chain of bridges that local-bridge.ts keeps, by which frames between instances of this host are routed. @param mac the bridge's own */
export function localRoutingIpv6Rules(
  { subnet }: Pick<RulesetInput, 'subnet'>,
  prefix: Ipv6Prefix,
  mac: string,
): readonly string[] {
  const own = ipv6Cidr(prefix, subnet);
  const between = `ip6 saddr ${own} ip6 daddr ${own}`;
  return [
    // It tells of the link, and would be worth nothing behind a router.
    `${between} ${neighbourDiscovery} accept`,
    `${between} ether daddr & 01:00:00:00:00:00 == 00:00:00:00:00:00 ether daddr set ${mac} meta pkttype set host`,
  ];
}

/**
 * What is left to go from instance to instance within the bridge: neighbour discovery. Each instance has a link-local address of
 * its own making, by which it could else speak to all others of its host.
 */
export function bridgedIpv6Chain(bridge: string): Chain {
  const within = `meta ibrname "${bridge}"`;
  return {
    name: 'local6-forward',
    family: 'bridge',
    base: { type: 'filter', hook: 'forward', priority: -200 },
    rules: [
      `${within} ${neighbourDiscovery} accept`,
      // Also under a VLAN's tag: receivers take off those of VLAN 0, however many there are. The first is off here already.
      `${within} meta protocol { ip6, 8021q, 8021ad } drop`,
    ],
  };
}
