import type { OverlayConfig } from '../../../network/overlay/overlay-config.ts';
import type { Chain } from '../../../network/nftables/ruleset.ts';
import { vxlanOverheadBytes, type Peer } from '../../../network/overlay/vxlan.ts';
import type { Finding } from '../../audit/finding.ts';
import type { Underlay } from './underlay.ts';

/** What the overlay's packets go through between hosts: the hosts' own network, or an encrypted tunnel over it. */
export interface Carrier {
  /** Interface and address of this host that VXLAN sends from. */
  readonly device: string;
  readonly address: string;
  /** By how much a packet of the overlay is larger on the hosts' network. */
  readonly overheadBytes: number;
  /** Interfaces that the carrier has made, whose going is worth an audit. */
  readonly ownDevices: readonly string[];
  /** Packet rules that the carrier needs. */
  readonly chains: readonly Chain[];
  /** Brings into being what VXLAN needs to start from. Returns what had to be changed. Throws EncryptionError, DeviceConflictError or ExecError. */
  ensure(signal?: AbortSignal): Promise<readonly Finding[]>;
  /**
   * Opens the way to these hosts, and closes that to all others. Returns the number of changes, and, of an audit, what somebody else had
   * changed. Throws ExecError; the next call reads anew.
   */
  ensurePeers(
    peers: readonly Peer[],
    audit: boolean,
    signal?: AbortSignal,
  ): Promise<{ readonly operations: number; readonly repairs: readonly Finding[] }>;
  /** Where VXLAN reaches a host. */
  remoteOf(peer: Peer): string;
  /** What is known of the host that VXLAN reaches at `remote`, from what is there already; undefined: nothing. */
  knownAt(remote: string): Pick<Peer, 'address' | 'publicKey'> | undefined;
}

/** The hosts' own network: everything goes in the clear. */
export function plainCarrier({ device, address }: Underlay): Carrier {
  return {
    device,
    address,
    overheadBytes: vxlanOverheadBytes.ipv4,
    ownDevices: [],
    chains: [],
    ensure: () => Promise.resolve([]),
    ensurePeers: () => Promise.resolve({ operations: 0, repairs: [] }),
    remoteOf: (peer) => peer.address,
    knownAt: (remote) => ({ address: remote }),
  };
}

/** The largest packet that hosts send each other. */
export function underlayMtu(config: OverlayConfig, underlay: Underlay): number {
  return Math.min(config.underlayMtu ?? underlay.mtu, underlay.mtu);
}
