import type { ServiceIdentity } from '../api/v1alpha1/names.ts';
import type { Store } from '../registry/store.ts';
import type { Clock } from '../runtime/clock.ts';
import type { Logger } from '../telemetry/log.ts';
import type { AddressBook } from './addresses/address-book.ts';
import type { AddressFeed } from './addresses/address-feed.ts';
import type { AuditBook } from './audit/audit-book.ts';
import type { LastKnown } from './known/last-known.ts';
import type { LicenceNote } from './licence.ts';
import type { HostKey } from '../registry/seal.ts';
import type { Engine } from './docker/engine.ts';
import type { FileStore } from './files/file-store.ts';
import type { Prober } from './health/probe.ts';
import type { RouterPlace } from '../network/haproxy/config.ts';
import type { RouterFiles } from './router/router-files.ts';
import type { ServiceFeed } from './service-feed.ts';
import type { TemplateStore } from './templates/template-store.ts';

/** Name of the Docker network. */
export const defaultNetworkName = 'nap';

/** Who this host is, and the agent's few settings. */
export interface AgentOptions {
  /** Name of the host in the cluster; a DNS label. */
  readonly hostName: string;
  /** Identity of the machine, e.g. the content of /etc/machine-id. Two agents with one host name but different ids refuse each other. */
  readonly machineID: string;
  /** IPv4 address by which other hosts reach this one. */
  readonly address: string;
  /** Labels of the host. Default none. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Version of nap. */
  readonly version: string;
  /** Lifetime of the host's lease, milliseconds, whole seconds. Default 5000: how soon a dead host is noticed. */
  readonly leaseTtlMs?: number;
  /** How long a planned absence may last before the host counts as lost, milliseconds. Default 60,000. */
  readonly graceMs?: number;
  /** How often what this host has reported, and its network, are compared with the registry, milliseconds. Default 30,000. */
  readonly auditMs?: number;
  /** Name of the Docker network. Default "nap". */
  readonly networkName?: string;
  /**
   * Name under which only one agent may run on this machine, e.g. `<host>@<engine socket>`. Default: no such lock.
   */
  readonly exclusive?: string;
}

/** The overlay as it stands on this host. */
export interface LocalNetwork {
  /** CIDR of this host's containers. */
  readonly subnet: string;
  readonly gateway: string;
  /** CIDR of the IPv6 twins of `subnet`, and the twin of `gateway`. Absent, both: the overlay carries IPv4 only. */
  readonly ipv6Subnet?: string;
  readonly ipv6Gateway?: string;
  /** Options that Docker's bridge network must be made with: device, MTU, no masquerading. */
  readonly dockerOptions: Readonly<Record<string, string>>;
}

/** The overlay part of the agent. */
export interface AgentNetwork {
  /** Takes the subnet and builds the overlay as far as it does not need the Docker network; idempotent. */
  ensure(signal: AbortSignal): Promise<LocalNetwork>;
  /** The Docker network is as `ensure` has asked for: what only an earlier one needed may go. Told again and again. */
  dockerNetworkStands(): void;
  /** Keeps the overlay as it should be until `signal` aborts. */
  run(signal: AbortSignal): Promise<void>;
  /** What is wrong at the moment, though the overlay may work; shown in the host record. */
  problems(): readonly string[];
  /** Has `listener` called when `problems()` has changed. */
  onProblems(listener: () => void): void;
}

/** What the agent knows of this host's own containers, whether or not the registry answers. */
export interface LocalInstances {
  /** The service whose container has this overlay address, or is about to get it, if it is one of this host's. */
  localInstance(ip: string): ServiceIdentity | undefined;
}

/** The name server part of the agent. */
export interface AgentDns {
  /** Answers on `gateway` until `signal` aborts. Called again with another address when the subnet moves. */
  run(gateway: string, local: LocalInstances, signal: AbortSignal): Promise<void>;
}

/** Where config files are kept, and what they are sealed for on their way. */
export interface AgentFiles {
  readonly store: FileStore;
  readonly key: HostKey;
  /** Where rendered files are kept. Absent: none are. */
  readonly templates?: TemplateStore;
}

/** Where the configuration of a router on this host is kept. */
export interface AgentRouter {
  readonly files: RouterFiles;
  readonly place: RouterPlace;
}

/** Services and their ready endpoints. */
export type ServiceSource = Pick<
  ServiceFeed,
  'run' | 'synced' | 'subscribe' | 'find' | 'dataPlane'
>;

export interface AgentDeps {
  readonly store: Store;
  readonly engine: Engine;
  readonly network: AgentNetwork;
  readonly dns: AgentDns;
  /** What audits of the network have put right, for the host's record; and asks for them. */
  readonly audits?: AuditBook;
  /**
   * Follows what names and virtual IPs are made of, and knows how far they are, for all who need it. Absent: names see to it
   * themselves, no template is rendered, and no host is asked whether it still sends to what is stopped.
   */
  readonly services?: ServiceSource;
  /** Who has which address. Absent: the engine gives out addresses, and no other host is told of them. */
  readonly addresses?: { readonly book: AddressBook; readonly feed: AddressFeed };
  /** Absent: instances with config files are not placed here. */
  readonly files?: AgentFiles;
  /** What the registry said last. Absent: an agent that starts while the registry is away knows nothing. */
  readonly lastKnown?: LastKnown;
  /** Outlives the agent. Absent: fenced instances stop when the agent ends, and start again with the next one. */
  readonly licence?: LicenceNote;
  /** Monotonic milliseconds since the machine's boot, the same in all its processes. Default: the clock's. */
  readonly sinceBootMs?: () => number;
  /** Absent, or without `files`: a router on this host is not configured. */
  readonly router?: AgentRouter;
  readonly log: Logger;
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** Shown as the host's capacity until the engine has told its own view. */
  readonly machine: {
    readonly cpus: number;
    readonly memoryBytes: number;
    readonly kernel: string;
    /** When it was booted, wall clock milliseconds. Absent: unknown. */
    readonly bootedAt?: number;
  };
  /** Makes health checks. Default: over the network and through the engine. */
  readonly prober?: Prober;
}
