import type { Store } from '../../registry/store.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { Logger } from '../../telemetry/log.ts';
import type { AuditBook } from '../audit/audit-book.ts';
import type { ServiceFeed } from '../service-feed.ts';
import type { Exec, Follow } from './exec.ts';
import type { OverlayAddresses } from './isolation-keeper.ts';

/** The host's place in the overlay. The first five fields are what Docker's network `nap` must be made with. */
export interface OverlayInfo {
  /** CIDR, for example `10.77.3.0/24`. */
  readonly subnet: string;
  /** First usable address of the subnet: the bridge's, where the agent's DNS listens. */
  readonly gateway: string;
  readonly bridge: string;
  /** Largest packet, in bytes, that reaches other hosts. */
  readonly mtu: number;
  /**
   * Driver options without which the overlay is not one: Docker must not hide containers behind the host's address,
   * for then nobody could tell who asks; going outside is nap's own rule.
   */
  readonly dockerOptions: Readonly<Record<string, string>>;
  /** CIDR of the whole overlay. */
  readonly network: string;
  /** VXLAN device. */
  readonly device: string;
  /** The host's address on the underlay. */
  readonly address: string;
  /** The twins of `subnet` in IPv6, for example `fd00:77::a4d:300/120`. Absent: the overlay carries IPv4 only. */
  readonly ipv6Subnet?: string;
  /** The twin of `gateway`, with `ipv6Subnet` only. */
  readonly ipv6Gateway?: string;
}

/** Something about this host's network that its owner should know. */
export interface NetworkProblem {
  /** Same key = same matter. */
  readonly key: string;
  readonly message: string;
  /** `repaired`: was wrong, is right again. `open`: lasts. `solved`: an open one is gone. */
  readonly state: 'repaired' | 'open' | 'solved';
}

export interface NetworkManagerOptions {
  readonly store: Store;
  readonly log: Logger;
  /** What services there are. Default: the host has no virtual IPs. */
  readonly services?: ServiceFeed;
  /** Who may speak to whom is kept with them. Absent: everybody may. Needs `services`. */
  readonly addresses?: OverlayAddresses;
  /** The host's address on the network that joins the hosts. Default: that of the default route's interface. */
  readonly address?: string | undefined;
  /** A subnet (CIDR) that the host had before, if the caller knows one (from Docker's network). */
  readonly previousSubnet?: string | undefined;
  /** Default `nap.1`. */
  readonly device?: string;
  /** Of the encrypted tunnel, if the network config asks for one. Default `nap-wg`. */
  readonly tunnelDevice?: string;
  /** File that keeps this host's private key for the tunnel. Default /var/lib/nap/wireguard.key. */
  readonly tunnelKeyPath?: string;
  /** Default `nap0`. */
  readonly bridge?: string;
  /** Leave checksums to the hardware: `auto` decides by `checksumOffloadIsSafe`. Default `auto`. */
  readonly checksumOffload?: 'auto' | 'on' | 'off';
  /** Default 30,000 ms. */
  readonly auditIntervalMs?: number;
  /** Lifetime of the subnet record after the agent's last sign of life. Default 24 h. */
  readonly subnetTtlMs?: number;
  readonly onProblem?: (problem: NetworkProblem) => void;
  /** Told what was put right, and asks for audits. */
  readonly audits?: AuditBook;
  readonly exec?: Exec;
  readonly follow?: Follow;
  readonly clock?: Clock;
  /** Numbers in [0, 1). */
  readonly random?: () => number;
}

/** Figures since the start of the agent. */
export interface NetworkCounters {
  audits: number;
  /** Things found wrong in an audit and set right. */
  repairs: number;
  /** Changes of kernel tables that followed changes of records. */
  tableChanges: number;
}
