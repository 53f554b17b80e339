/**
 * The encrypted tunnel between hosts (WireGuard) as pure data: addresses in it, what a record's key must look like, what the
 * device's peers should be and what differs.
 *
 * VXLAN goes through it as it would go through the hosts' own network: each host has one address in the tunnel, and WireGuard takes
 * from a peer nothing that comes from another address than the peer's. Who sends in the overlay is thus proved by a key.
 */
import type { Cidr } from '../address/cidr.ts';
import type { Chain } from '../nftables/ruleset.ts';
import type { Peer } from './vxlan.ts';

/** Default UDP port of the encrypted packets: not WireGuard's usual 51820, which a host may use for something else. */
export const defaultTunnelPort = 51821;

/**
 * By how much a packet grows: IPv4, UDP, WireGuard's header and Poly1305's tag. Source: Donenfeld, "WireGuard: Next Generation Kernel
 * Network Tunnel", 5.4.6 (padding ends at the device's MTU, so the largest packets have none).
 */
export const tunnelOverheadBytes = 20 + 8 + 16 + 16;

/** The tunnel speaks IPv6 inside, of which every link must carry so much. RFC 8200, section 5. */
const leastTunnelMtu = 1280;

/** The least MTU of the hosts' network with which the tunnel can be. */
export const leastUnderlayMtu = leastTunnelMtu + tunnelOverheadBytes;

/**
 * The tunnel's /64, a unique local one with an identifier drawn at random (RFC 4193). IPv6, since all that nap and Docker give
 * addresses to in the overlay is IPv4: nothing can clash, and no instance can send into the tunnel.
 */
const prefixGroups = 'fdc1:7416:16d8';

/** Length of the prefix that all tunnel addresses share. */
export const tunnelPrefixLength = 64;

/** All of the tunnel's addresses. */
export const tunnelNetwork = { base: `${prefixGroups}::`, prefix: tunnelPrefixLength } as const;

/** The address, in the kernel's notation (RFC 5952), of the host that holds `subnet`. */
export function tunnelAddress(subnet: Cidr): string {
  const high = subnet.base >>> 16;
  const low = subnet.base & 0xffff;
  const tail =
    high === 0 ? (low === 0 ? '' : low.toString(16)) : `${high.toString(16)}:${low.toString(16)}`;
  return `${prefixGroups}::${tail}`;
}

/** Whether it is some host's address in the tunnel. */
export function isTunnelAddress(text: string): boolean {
  return text.startsWith(`${prefixGroups}::`);
}

/**
 * Something is sent at least this often, in seconds: a host behind address translation stays reachable, and a session that
 * lives shows it by new handshakes. Source: wg(8), "persistent-keepalive".
 */
export const keepaliveSeconds = 25;

/** Longer than this without a new handshake, a session is dead, in milliseconds. Source: the paper above, 6.1, Reject-After-Time. */
export const sessionLifetimeMs = 180_000;

/** A peer as it should be. */
export interface TunnelPeer {
  /** `address:port`, as the host's record tells it. */
  readonly endpoint: string;
  /** The only address that packets of it may come from. */
  readonly address: string;
}

/** A peer as the device has it. */
export interface ObservedTunnelPeer {
  readonly endpoint: string | undefined;
  /** CIDRs. */
  readonly allowedIps: readonly string[];
  /** 0: off. */
  readonly keepalive: number;
  readonly hasPresharedKey: boolean;
  /** When it last shook hands, in seconds of its own clock; 0: never. */
  readonly handshake: number;
}

/** One change of the device's peers. `set` creates or corrects. */
export type TunnelOp =
  | { readonly type: 'remove'; readonly key: string }
  | {
      readonly type: 'set';
      readonly key: string;
      readonly address: string;
      /** Undefined: it stays as it is. */
      readonly endpoint: string | undefined;
      readonly reason: string;
    };

/** The peers by public key. `peers` must have keys, each its own: `desiredTables` sees to that. */
export function desiredTunnelPeers(
  peers: Iterable<Peer>,
  port: number,
): ReadonlyMap<string, TunnelPeer> {
  const result = new Map<string, TunnelPeer>();
  for (const { subnet, address, publicKey } of peers) {
    if (publicKey === undefined) continue;
    result.set(publicKey, { endpoint: `${address}:${port}`, address: tunnelAddress(subnet) });
  }
  return result;
}

/**
 * The fewest operations that turn `observed` into `desired`, removals first.
 *
 * WireGuard itself moves a peer's endpoint to where its last authentic packet came from, which is right for a host whose
 * address is translated on the way. So an endpoint other than the record's is left while its session lives. It is set when the
 * record tells another one than `before` (what was desired at the last call), or when the session is dead, so that nothing
 * authentic speaks for the endpoint any more.
 * @param isDead whether a peer's session is
 */
export function diffTunnelPeers(
  observed: ReadonlyMap<string, ObservedTunnelPeer>,
  desired: ReadonlyMap<string, TunnelPeer>,
  before: ReadonlyMap<string, TunnelPeer>,
  isDead: (key: string) => boolean,
): readonly TunnelOp[] {
  const ops: TunnelOp[] = [];
  for (const key of observed.keys()) if (!desired.has(key)) ops.push({ type: 'remove', key });
  for (const [key, { endpoint, address }] of desired) {
    const is = observed.get(key);
    const known = before.get(key);
    const isMoved = known !== undefined && known.endpoint !== endpoint;
    const isWrong =
      is?.endpoint === undefined || (is.endpoint !== endpoint && (isMoved || isDead(key)));
    const reason =
      is === undefined
        ? 'missing'
        : is.allowedIps.join() !== `${address}/128`
          ? 'with wrong addresses'
          : is.hasPresharedKey
            ? 'with a preshared key'
            : is.keepalive !== keepaliveSeconds
              ? 'with a wrong keepalive'
              : isWrong
                ? 'with a wrong endpoint'
                : undefined;
    if (reason === undefined) continue;
    ops.push({ type: 'set', key, address, endpoint: isWrong ? endpoint : undefined, reason });
  }
  return ops;
}

/** What the peers are after `ops`. An address belongs to the peer that got it last, as WireGuard has it. */
export function applyTunnelOps(
  peers: ReadonlyMap<string, ObservedTunnelPeer>,
  ops: readonly TunnelOp[],
): ReadonlyMap<string, ObservedTunnelPeer> {
  const result = new Map(peers);
  for (const op of ops) {
    if (op.type === 'remove') {
      result.delete(op.key);
      continue;
    }
    const block = `${op.address}/128`;
    for (const [key, peer] of result) {
      const allowedIps = peer.allowedIps.filter((each) => each !== block);
      if (allowedIps.length !== peer.allowedIps.length) result.set(key, { ...peer, allowedIps });
    }
    const is = result.get(op.key);
    result.set(op.key, {
      endpoint: op.endpoint ?? is?.endpoint,
      allowedIps: [block],
      keepalive: keepaliveSeconds,
      hasPresharedKey: false,
      handshake: is?.handshake ?? 0,
    });
  }
  return result;
}

/** Arguments of `wg set <device>` for one operation. */
export function tunnelArguments(op: TunnelOp): readonly string[] {
  if (op.type === 'remove') return ['peer', op.key, 'remove'];
  return [
    ...['peer', op.key],
    // Takes away a preshared key, if there is one.
    ...['preshared-key', '/dev/null'],
    ...(op.endpoint === undefined ? [] : ['endpoint', op.endpoint]),
    ...['persistent-keepalive', String(keepaliveSeconds)],
    ...['allowed-ips', `${op.address}/128`],
  ];
}

/** A device as `wg show <device> dump` tells of it, without its private key. */
export interface ObservedTunnel {
  readonly publicKey: string | undefined;
  readonly port: number | undefined;
  readonly peers: ReadonlyMap<string, ObservedTunnelPeer>;
}

/** Reads `wg show <device> dump`; undefined when it is something else. Of the private key nothing is kept. Source: wg(8), "show". */
export function parseTunnelDump(stdout: string): ObservedTunnel | undefined {
  const value = (text: string | undefined): string | undefined =>
    text === undefined || text === '(none)' ? undefined : text;
  const [first = '', ...rest] = stdout.trimEnd().split('\n');
  const head = first.split('\t');
  if (head.length !== 4) return undefined;
  const peers = new Map<string, ObservedTunnelPeer>();
  for (const line of rest) {
    const fields = line.split('\t');
    const [key = '', preshared, endpoint, allowed, handshake, , , keepalive] = fields;
    if (fields.length !== 8) return undefined;
    peers.set(key, {
      endpoint: value(endpoint),
      allowedIps: value(allowed)?.split(',') ?? [],
      keepalive: keepalive === 'off' ? 0 : Number(keepalive),
      hasPresharedKey: value(preshared) !== undefined,
      handshake: Number(handshake),
    });
  }
  return { publicKey: value(head[1]), port: Number(head[2]), peers };
}

/**
 * What keeps the tunnel to itself: VXLAN packets come in by it alone (the kernel would take them from any interface), nothing but they and
 * what ping needs comes in by it, and nothing passes through this host into it or out of it.
 */
export function tunnelChains(device: string, vxlanPort: number): readonly Chain[] {
  return [
    {
      name: 'tunnel-prerouting',
      family: 'ip6',
      // Before connection tracking: what is forged need not be remembered.
      base: { type: 'filter', hook: 'prerouting', priority: -300 },
      rules: [
        `iifname != "${device}" udp dport ${vxlanPort} drop`,
        `iifname "${device}" udp dport != ${vxlanPort} drop`,
        `iifname "${device}" meta l4proto != { udp, icmpv6 } drop`,
      ],
    },
    {
      name: 'tunnel-forward',
      family: 'ip6',
      base: { type: 'filter', hook: 'forward', priority: -150 },
      // Docker may hide a container's address behind this host's, and the others would take its packets for the host's.
      rules: [`oifname "${device}" drop`, `iifname "${device}" drop`],
    },
  ];
}
