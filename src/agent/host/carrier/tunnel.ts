import type { Cidr } from '../../../network/address/cidr.ts';
import type { Ipv6Prefix } from '../../../network/address/dual-stack.ts';
import {
  desiredTunnelPeers,
  diffTunnelPeers,
  leastUnderlayMtu,
  sessionLifetimeMs,
  tunnelAddress,
  tunnelArguments,
  tunnelChains,
  tunnelOverheadBytes,
  type ObservedTunnel,
  type TunnelOp,
  type TunnelPeer,
} from '../../../network/overlay/tunnel.ts';
import { vxlanOverheadBytes, type Peer } from '../../../network/overlay/vxlan.ts';
import type { Clock } from '../../../runtime/clock.ts';
import { findings, type Finding } from '../../audit/finding.ts';
import type { Carrier } from './carrier.ts';
import { ensureDeadEnd, removeOldDeadEnds } from './dead-end.ts';
import type { Exec } from '../exec.ts';
import { EncryptionError, ensureTunnelDevice, readTunnel } from './tunnel-device.ts';
import type { TunnelKey } from './tunnel-key-file.ts';

export interface TunnelOptions {
  readonly exec: Exec;
  readonly clock: Clock;
  readonly device: string;
  /** The whole overlay, and this host's part. */
  readonly network: Cidr;
  readonly subnet: Cidr;
  /** Of the overlay's own IPv6 addresses, if it carries IPv6. */
  readonly ipv6?: Ipv6Prefix | undefined;
  readonly key: TunnelKey;
  /** UDP port of the encrypted packets, on every host. */
  readonly port: number;
  /** UDP port of VXLAN inside. */
  readonly vxlanPort: number;
  /** The largest packet that hosts send each other, in bytes. */
  readonly underlayMtu: number;
}

/** So many peers are changed by one call of `wg`: their arguments must fit onto a command line. */
const opsPerCall = 200;

/**
 * An encrypted way to the other hosts: WireGuard over the hosts' network, with VXLAN inside. VXLAN is bound to the tunnel's
 * device: when the device is gone, the kernel takes the VXLAN device with it, and what is for the overlay comes to a dead end.
 * Calls must not overlap.
 */
export class Tunnel implements Carrier {
  readonly device: string;
  readonly address: string;
  readonly overheadBytes = tunnelOverheadBytes + vxlanOverheadBytes.ipv6;
  readonly ownDevices: readonly string[];
  readonly chains: Carrier['chains'];
  readonly #options: TunnelOptions;
  #observed: ObservedTunnel | undefined;
  /** What the peers were to be at the last call. */
  #stood: ReadonlyMap<string, TunnelPeer> | undefined;
  /** By key: the last handshake that was seen, and since when, in monotonic milliseconds. */
  readonly #handshakes = new Map<string, { readonly at: number; readonly seen: number }>();

  constructor(options: TunnelOptions) {
    const { device, subnet, vxlanPort } = options;
    this.#options = options;
    this.device = device;
    this.address = tunnelAddress(subnet);
    this.ownDevices = [device];
    this.chains = tunnelChains(device, vxlanPort);
  }

  async ensure(signal?: AbortSignal): Promise<readonly Finding[]> {
    const { exec, device: name, port, key, underlayMtu } = this.#options;
    const deadEnd = findings('route', await ensureDeadEnd(exec, this.#options, signal));
    await removeOldDeadEnds(exec, this.#options, signal);
    if (underlayMtu < leastUnderlayMtu) {
      throw new EncryptionError(
        `the hosts' network carries packets of ${underlayMtu} bytes at most, and an encrypted overlay needs ${leastUnderlayMtu}`,
      );
    }
    const mtu = underlayMtu - tunnelOverheadBytes;
    const spec = { name, port, key, mtu, address: this.address };
    const { changes, observed } = await ensureTunnelDevice(exec, spec, signal);
    this.#take(observed);
    return [...deadEnd, ...findings('tunnel', changes)];
  }

  async ensurePeers(
    peers: readonly Peer[],
    audit: boolean,
    signal?: AbortSignal,
  ): ReturnType<Carrier['ensurePeers']> {
    const { exec, device, port } = this.#options;
    const observed = await readTunnel(exec, device, signal);
    this.#take(observed);
    const desired = desiredTunnelPeers(peers, port);
    const isDead = (key: string): boolean => this.#isDead(key);
    const before = this.#stood;
    const ops = diffTunnelPeers(observed.peers, desired, before ?? new Map(), isDead);
    for (let i = 0; i < ops.length; i += opsPerCall) {
      const args = ops.slice(i, i + opsPerCall).flatMap(tunnelArguments);
      await exec('wg', ['set', device, ...args], { timeoutMs: 30_000 }, signal);
    }
    this.#stood = desired;
    const strange =
      audit && before !== undefined ? diffTunnelPeers(observed.peers, before, before, isDead) : [];
    return { operations: ops.length, repairs: peerFindings(strange) };
  }

  remoteOf(peer: Peer): string {
    return tunnelAddress(peer.subnet);
  }

  knownAt(remote: string): Pick<Peer, 'address' | 'publicKey'> | undefined {
    for (const [publicKey, { allowedIps, endpoint }] of this.#observed?.peers ?? []) {
      if (endpoint === undefined || !allowedIps.includes(`${remote}/128`)) continue;
      return { publicKey, address: endpoint.slice(0, endpoint.lastIndexOf(':')) };
    }
    return undefined;
  }

  #take(observed: ObservedTunnel): void {
    this.#observed = observed;
    const now = this.#options.clock.monotonic();
    for (const [key, { handshake }] of observed.peers) {
      if (this.#handshakes.get(key)?.at !== handshake) {
        this.#handshakes.set(key, { at: handshake, seen: now });
      }
    }
    for (const key of this.#handshakes.keys()) {
      if (!observed.peers.has(key)) this.#handshakes.delete(key);
    }
  }

  /** Judged by what was seen here: the time in a handshake is that of a clock which may be set meanwhile. */
  #isDead(key: string): boolean {
    const last = this.#handshakes.get(key);
    if (last === undefined || last.at === 0) return true;
    return this.#options.clock.monotonic() - last.seen > sessionLifetimeMs;
  }
}

/** One finding for each way in which peers were wrong. */
function peerFindings(ops: readonly TunnelOp[]): readonly Finding[] {
  const counts = new Map<string, number>();
  for (const op of ops) {
    const what = `peers of the tunnel ${op.type === 'remove' ? 'that nobody knows removed' : `${op.reason} restored`}`;
    counts.set(what, (counts.get(what) ?? 0) + 1);
  }
  return [...counts].map(([what, count]) => ({ kind: 'tunnel-peer', count, what }));
}
