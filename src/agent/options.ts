import type { InstanceKey } from '../registry/records/index.ts';
import type { Store } from '../registry/store.ts';
import type { Clock } from '../runtime/clock.ts';
import type { Logger } from '../telemetry/log.ts';
import type { HostKey } from '../registry/seal.ts';
import type { Engine } from './docker/engine.ts';
import type { FileStore } from './files/file-store.ts';
import type { Prober } from './health/probe.ts';

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
  /** How often the registry is compared with what this host has reported, milliseconds. Default 30,000. */
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
  /** Options that Docker's bridge network must be made with: device, MTU, no masquerading. */
  readonly dockerOptions: Readonly<Record<string, string>>;
}

/** The overlay part of the agent. */
export interface AgentNetwork {
  /** Takes the subnet and builds the overlay as far as it does not need the Docker network; idempotent. */
  ensure(signal: AbortSignal): Promise<LocalNetwork>;
  /** Keeps the overlay as it should be until `signal` aborts. */
  run(signal: AbortSignal): Promise<void>;
  /** What is wrong at the moment, though the overlay may work; shown in the host record. */
  problems(): readonly string[];
  /** Has `listener` called when `problems()` has changed. */
  onProblems(listener: () => void): void;
}

/** What the agent knows of this host's own containers, whether or not the registry answers. */
export interface LocalInstances {
  /** The instance whose container has this overlay address, if it is one of this host's. */
  localInstance(ip: string): InstanceKey | undefined;
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
}

export interface AgentDeps {
  readonly store: Store;
  readonly engine: Engine;
  readonly network: AgentNetwork;
  readonly dns: AgentDns;
  /** Absent: instances with config files are not placed here. */
  readonly files?: AgentFiles;
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
