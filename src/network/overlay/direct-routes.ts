/**
 * Direct routing (flannel's option `DirectRouting`) as pure data: packets between containers of hosts on one layer-2 segment go
 * from host to host as they are, not through the tunnel. Source of the semantics: flannel-io/flannel pkg/backend/vxlan/vxlan_network.go.
 *
 * flannel puts the direct route where the tunnel's was. Here the tunnel's routes stay what they are, and the direct ones lie in
 * a table of their own, to which one rule leads what goes from the overlay's network to the overlay's network. So
 *
 * - what comes from elsewhere keeps to the tunnel: clients of mesh ports, whose addresses the physical network may drop and whose
 *   entry host the tunnel's MAC tells (mesh-rules.ts), and what is handed to another host as its next hop;
 * - the host itself still chooses its address of the overlay as its source, by the tunnel's route;
 * - whatever is missing here goes through the tunnel at once: a direct route may be cut or taken back at any time, and nothing is lost;
 * - reverse path filters ask the same rule, with the addresses swapped.
 *
 * A second table, for marked packets alone, has the routes to all hosts that might be reached directly: by it one finds out
 * whether they are (direct-paths.ts), before anybody's packets depend on it.
 */
import { formatCidr, type Cidr } from '../address/cidr.ts';
import type { OverlayTables } from './vxlan.ts';

/** Routing tables, rules and marks that nobody else has. */
export const directTable = '1778';
export const probeTable = '1779';
const rulePriorities = { probe: 17780, direct: 17781 };
/** Of packets that try a direct path. */
export const probeMark = 0x6e617064;

/** What the kernel holds for direct routing. */
export interface DirectTables {
  /** Priority → selector and table, as `ip rule add` takes them. */
  readonly rules: ReadonlyMap<number, string>;
  /** "table destination" → next hop. */
  readonly routes: ReadonlyMap<string, string>;
}

export const emptyDirectTables: DirectTables = { rules: new Map(), routes: new Map() };

/** Another host as a possible next hop. */
export interface DirectPeer {
  /** CIDR. */
  readonly subnet: string;
  /** On the underlay. */
  readonly address: string;
  /** `tried`: it is on the segment, but whether it takes direct packets is not known. */
  readonly path: 'direct' | 'tried' | 'tunnel';
}

/** A host that the tunnel's tables lead to. */
export interface TunnelPeer {
  /** CIDR. */
  readonly subnet: string;
  /** In the overlay. */
  readonly via: string;
  /** Of its VXLAN device. */
  readonly vtep: string;
  /** On the underlay. */
  readonly address: string;
}

/** The hosts that the tunnel's tables lead to. */
export function* peersIn(tables: OverlayTables): Iterable<TunnelPeer> {
  for (const [subnet, via] of tables.routes) {
    // IPv6 keeps to the tunnel.
    if (subnet.includes(':')) continue;
    const vtep = tables.neighbours.get(via) ?? '';
    const address = tables.forwarding.get(vtep);
    if (address !== undefined) yield { subnet, via, vtep, address };
  }
}

/** @param source this host's own address in the overlay */
export function desiredDirectTables(
  network: Cidr,
  source: string,
  peers: Iterable<DirectPeer>,
): DirectTables {
  const all = formatCidr(network);
  const rules = new Map([
    [
      rulePriorities.probe,
      `from ${source}/32 to ${all} fwmark 0x${probeMark.toString(16)} lookup ${probeTable}`,
    ],
    [rulePriorities.direct, `from ${all} to ${all} lookup ${directTable}`],
  ]);
  const routes = new Map<string, string>();
  for (const { subnet, address, path } of peers) {
    if (path === 'tunnel') continue;
    routes.set(`${probeTable} ${subnet}`, address);
    if (path === 'direct') routes.set(`${directTable} ${subnet}`, address);
  }
  return { rules, routes };
}

/**
 * Commands of `ip -batch` that turn `observed` into `desired`, for an underlay `device`. What is there is replaced, and only then is anything
 * deleted; the tunnel stands behind it all.
 */
export function diffDirectTables(
  observed: DirectTables,
  desired: DirectTables,
  device: string,
): readonly string[] {
  const lines: string[] = [];
  for (const [key, via] of desired.routes) {
    if (observed.routes.get(key) === via) continue;
    lines.push(`route replace ${placed(key)} via ${via} dev ${device} proto ${ownProtocol}`);
  }
  for (const [priority, rule] of desired.rules) {
    if (observed.rules.get(priority) === rule) continue;
    lines.push(`rule add pref ${priority} ${rule} protocol ${ownProtocol}`);
  }
  for (const [priority, rule] of observed.rules) {
    if (desired.rules.get(priority) !== rule) lines.push(`rule del pref ${priority} ${rule}`);
  }
  for (const key of observed.routes.keys()) {
    if (!desired.routes.has(key)) lines.push(`route del ${placed(key)}`);
  }
  return lines;
}

/** Marks what is nap's, as the routes of virtual IPs. */
const ownProtocol = '178';

function placed(key: string): string {
  const [table = '', destination = ''] = key.split(' ');
  return `${destination} table ${table}`;
}
