/**
 * The VXLAN overlay of one host as pure data: what the kernel should hold, what differs, what to do.
 *
 * The layout is flannel's (flannel-io/flannel pkg/backend/vxlan/vxlan.go tells how it came about): one device per
 * host, and for each remote host one route, one neighbour and one forwarding entry, all static, no learning and no
 * multicast. The device's address is the first of the host's subnet with length 32, so the kernel picks it as the
 * source for what the host itself sends into the overlay, and the remote device's address is the route's next hop.
 * Tables thus hold one entry per host, however many containers there are.
 */
import {
  containsAddress,
  containsCidr,
  formatCidr,
  formatIpv4,
  overlaps,
  tryParseIpv4,
  type Cidr,
} from '../address/cidr.ts';
import { ipv6Cidr, ipv6Of, type Ipv6Prefix } from '../address/dual-stack.ts';
import { isTunnelKey, keyProblem } from './tunnel-key.ts';

/**
 * VXLAN header, UDP, IP and inner Ethernet: what the device's MTU must lie below that of what carries it, by the version of IP
 * that carries it. RFC 7348.
 */
export const vxlanOverheadBytes = { ipv4: 8 + 8 + 20 + 14, ipv6: 8 + 8 + 40 + 14 } as const;

/** Another host of the overlay. */
export interface Peer {
  readonly subnet: Cidr;
  /** Address of its VXLAN device on the inner Ethernet, in `normalizeMac` form. */
  readonly mac: string;
  /** IPv4 address on the network of the hosts. */
  readonly address: string;
  /** WireGuard's, of hosts that encrypt. */
  readonly publicKey?: string;
}

/** The kernel's tables of the VXLAN device. All keys and values in the kernel's own notation. */
export interface OverlayTables {
  /** Destination CIDR → next hop. */
  readonly routes: ReadonlyMap<string, string>;
  /** Next hop → MAC. */
  readonly neighbours: ReadonlyMap<string, string>;
  /** MAC → address that VXLAN sends to. */
  readonly forwarding: ReadonlyMap<string, string>;
}

export const emptyTables: OverlayTables = {
  routes: new Map(),
  neighbours: new Map(),
  forwarding: new Map(),
};

/** One change of the tables. `set` creates or replaces. */
export type TableOp =
  | { readonly type: 'set-neighbour'; readonly ip: string; readonly mac: string }
  | { readonly type: 'set-forwarding'; readonly mac: string; readonly address: string }
  | { readonly type: 'set-route'; readonly destination: string; readonly via: string }
  | { readonly type: 'delete-route'; readonly destination: string }
  | { readonly type: 'delete-neighbour'; readonly ip: string }
  | { readonly type: 'delete-forwarding'; readonly mac: string; readonly address: string };

/** A MAC address in the kernel's notation (lower case, colons), or undefined when `text` is none or is a group address. */
export function normalizeMac(text: string): string | undefined {
  const mac = text.toLowerCase();
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac)) return undefined;
  if ((parseInt(mac.slice(0, 2), 16) & 1) === 1 || mac === '00:00:00:00:00:00') return undefined;
  return mac;
}

/** A random locally administered unicast MAC. `random` gives numbers in [0, 1). */
export function randomMac(random: () => number): string {
  const bytes = Array.from({ length: 6 }, () => Math.floor(random() * 256));
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/** How two hosts come to have one key, and what to do. */
const copied =
  ' (its disk was copied, perhaps): delete wireguard.key in the state directory of one of the two and restart its agent';

/** Why a record of another host is not used. */
export interface RefusedPeer {
  readonly subnet: string;
  readonly reason: string;
}

/**
 * The tables that connect this host to `peers`. Peers that would clash (the same MAC twice, an address or MAC that is
 * this host's own, a subnet that overlaps another, or one outside of the overlay's network) are refused: a broken or
 * hostile record must not take another host's traffic, and least of all that to the hosts themselves, which would cut all of
 * them off. Of two that clash, the one whose subnet is of the usual size wins, then the one with the lower subnet.
 * @param remoteOf where VXLAN reaches a peer. Default: its address on the network of the hosts
 */
export function desiredTables(
  self: {
    readonly network: Cidr;
    readonly subnet: Cidr;
    readonly mac: string;
    readonly address: string;
    readonly publicKey?: string | undefined;
    /** Present: they are reached by IPv6, too. */
    readonly ipv6?: Ipv6Prefix | undefined;
  },
  peers: Iterable<Peer>,
  remoteOf: (peer: Peer) => string = ({ address }) => address,
): {
  readonly tables: OverlayTables;
  readonly accepted: readonly Peer[];
  readonly refused: readonly RefusedPeer[];
} {
  const routes = new Map<string, string>();
  const neighbours = new Map<string, string>();
  const forwarding = new Map<string, string>();
  const accepted: Peer[] = [];
  const refused: RefusedPeer[] = [];
  const keys = new Set<string>();
  const usual = (peer: Peer): number => (peer.subnet.prefix === self.subnet.prefix ? 0 : 1);
  const sorted = [...peers].sort((a, b) => usual(a) - usual(b) || a.subnet.base - b.subnet.base);
  // Blocks of one size do not overlap unless they are the same: only the unusual are compared with all.
  const taken: Cidr[] = [self.subnet];
  for (const peer of sorted) {
    const subnet = formatCidr(peer.subnet);
    const address = tryParseIpv4(peer.address);
    const clash =
      usual(peer) === 0
        ? subnet === formatCidr(self.subnet)
        : taken.some((other) => overlaps(other, peer.subnet));
    const reason =
      peer.mac === self.mac || peer.address === self.address
        ? 'it claims the address of this host'
        : forwarding.has(peer.mac)
          ? `its MAC ${peer.mac} is also that of another host`
          : peer.publicKey !== undefined &&
              (peer.publicKey === self.publicKey || keys.has(peer.publicKey))
            ? `its WireGuardPublicKey is also that of ${peer.publicKey === self.publicKey ? 'this' : 'another'} host${copied}`
            : !containsCidr(self.network, peer.subnet)
              ? `it is not part of the overlay's network ${formatCidr(self.network)}`
              : clash
                ? 'it overlaps the subnet of another host'
                : address === undefined || containsAddress(self.network, address)
                  ? `its host's address ${peer.address} is itself in the overlay`
                  : undefined;
    if (reason !== undefined) {
      refused.push({ subnet, reason });
      continue;
    }
    const via = formatIpv4(peer.subnet.base);
    accepted.push(peer);
    taken.push(peer.subnet);
    if (peer.publicKey !== undefined) keys.add(peer.publicKey);
    routes.set(subnet, via);
    neighbours.set(via, peer.mac);
    if (self.ipv6 !== undefined) {
      const twin = ipv6Of(self.ipv6, peer.subnet.base);
      routes.set(ipv6Cidr(self.ipv6, peer.subnet), twin);
      neighbours.set(twin, peer.mac);
    }
    forwarding.set(peer.mac, remoteOf(peer));
  }
  return { tables: { routes, neighbours, forwarding }, accepted, refused };
}

/**
 * The fewest operations that turn `observed` into `desired`, in an order that never leaves a route without the
 * entries that it needs: forwarding first, then neighbours, then routes, and deletions the other way round.
 */
export function diffTables(observed: OverlayTables, desired: OverlayTables): readonly TableOp[] {
  const ops: TableOp[] = [];
  for (const [mac, address] of changed(observed.forwarding, desired.forwarding)) {
    ops.push({ type: 'set-forwarding', mac, address });
  }
  for (const [ip, mac] of changed(observed.neighbours, desired.neighbours)) {
    ops.push({ type: 'set-neighbour', ip, mac });
  }
  for (const [destination, via] of changed(observed.routes, desired.routes)) {
    ops.push({ type: 'set-route', destination, via });
  }
  for (const [destination] of removed(observed.routes, desired.routes)) {
    ops.push({ type: 'delete-route', destination });
  }
  for (const [ip] of removed(observed.neighbours, desired.neighbours)) {
    ops.push({ type: 'delete-neighbour', ip });
  }
  for (const [mac, address] of removed(observed.forwarding, desired.forwarding)) {
    ops.push({ type: 'delete-forwarding', mac, address });
  }
  return ops;
}

/** What the tables are after `ops`. */
export function applyTableOps(tables: OverlayTables, ops: readonly TableOp[]): OverlayTables {
  const routes = new Map(tables.routes);
  const neighbours = new Map(tables.neighbours);
  const forwarding = new Map(tables.forwarding);
  for (const op of ops) {
    switch (op.type) {
      case 'set-neighbour':
        neighbours.set(op.ip, op.mac);
        break;
      case 'set-forwarding':
        forwarding.set(op.mac, op.address);
        break;
      case 'set-route':
        routes.set(op.destination, op.via);
        break;
      case 'delete-route':
        routes.delete(op.destination);
        break;
      case 'delete-neighbour':
        neighbours.delete(op.ip);
        break;
      case 'delete-forwarding':
        forwarding.delete(op.mac);
        break;
    }
  }
  return { routes, neighbours, forwarding };
}

/**
 * A subnet record of the store as a peer, or the reason why it cannot be one. Its type must be `vxlan`, the VNI ours, and it must
 * have a key for WireGuard exactly if this host encrypts.
 */
export function peerFromLease(
  subnet: Cidr,
  lease: {
    readonly PublicIP: string;
    readonly BackendType: string;
    readonly BackendData?:
      | {
          readonly VNI?: number | undefined;
          readonly VtepMAC: string;
          readonly WireGuardPublicKey?: unknown;
        }
      | null
      | undefined;
  },
  vni: number,
  isEncrypted = false,
): Peer | { readonly reason: string } {
  if (lease.BackendType !== 'vxlan') {
    return { reason: `its backend is "${lease.BackendType}", not "vxlan"` };
  }
  if (tryParseIpv4(lease.PublicIP) === undefined) {
    return { reason: `its PublicIP "${lease.PublicIP}" is not an IPv4 address` };
  }
  const mac = normalizeMac(lease.BackendData?.VtepMAC ?? '');
  if (mac === undefined) return { reason: 'it has no valid VtepMAC' };
  const theirVni = lease.BackendData?.VNI ?? vni;
  if (theirVni !== vni) return { reason: `its VNI is ${theirVni}, this host's ${vni}` };
  const key = lease.BackendData?.WireGuardPublicKey;
  if (isEncrypted) {
    if (!isTunnelKey(key)) return { reason: keyProblem(key) };
    return { subnet, mac, address: lease.PublicIP, publicKey: key };
  }
  // `null` is how some write that there is none.
  if (key !== undefined && key !== null) {
    return {
      reason:
        'it has a WireGuardPublicKey, so its host encrypts, and this one does not: restart the agent whose host does not go by /coreos.com/network/config',
    };
  }
  return { subnet, mac, address: lease.PublicIP };
}

/** The holder of `subnet` as the kernel's tables have it: at most one. */
export function peerInTables(tables: OverlayTables, subnet: Cidr): readonly Peer[] {
  const via = formatIpv4(subnet.base);
  const mac = tables.neighbours.get(via);
  const address = mac === undefined ? undefined : tables.forwarding.get(mac);
  if (mac === undefined || address === undefined) return [];
  return tables.routes.get(formatCidr(subnet)) === via ? [{ subnet, mac, address }] : [];
}

function* changed(
  from: ReadonlyMap<string, string>,
  to: ReadonlyMap<string, string>,
): Iterable<readonly [string, string]> {
  for (const entry of to) if (from.get(entry[0]) !== entry[1]) yield entry;
}

function* removed(
  from: ReadonlyMap<string, string>,
  to: ReadonlyMap<string, string>,
): Iterable<readonly [string, string]> {
  for (const entry of from) if (!to.has(entry[0])) yield entry;
}
