/** Processors and memory. */
export interface Amounts {
  /** Thousandths of a processor. */
  readonly cpuMillis: number;
  readonly memoryBytes: number;
}

/** What the scheduler knows of a host. */
export interface HostInfo {
  readonly name: string;
  readonly machineID: string;
  /** The agent's metadata with the Host object's labels over them. */
  readonly labels: Readonly<Record<string, string>>;
  readonly capacity: Amounts;
  /** False while the host cannot take instances: lost, engine down, no overlay. */
  readonly ready: boolean;
  /** Public key of the host, for which contents are sealed; absent: its agent takes none. */
  readonly sealingKey?: string;
  /** Cordoned: what runs there stays, nothing new comes. */
  readonly unschedulable: boolean;
  /** Being emptied: nothing new comes, and what runs there goes elsewhere. */
  readonly draining?: boolean;
}

/** A port that an instance takes on its host. */
export interface HostPort {
  readonly port: number;
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  /** One address of the host; absent = all of them. */
  readonly ip?: string;
}

/** What an instance takes away from its host. */
export interface InstanceDemand {
  /** Unique among instances, also among several of one ordinal (a replacement beside its predecessor). */
  readonly id: string;
  /** Key of its service, unique in the cluster: spreading counts by it. */
  readonly service: string;
  readonly reservation: Amounts;
  /** Published ports only. */
  readonly ports: readonly HostPort[];
}

/** Which of the fitting hosts is taken. */
export type StrategyName = 'spread' | 'binpack' | 'random';

/** Which hosts may run it. */
export interface PlacementRules {
  /** Its instances are given contents that are sealed for the host. */
  readonly sealed?: boolean;
  readonly strategy: StrategyName;
  /** All keys must match; a comma separates values of which one must. */
  readonly machineMetadata?: Readonly<Record<string, string>>;
  /** Machine ID, an unambiguous beginning of one, or a host's name. */
  readonly machineID?: string;
  /** Keys of services: only hosts that have an instance of each. */
  readonly machineOf?: readonly string[];
  /** `project/service` patterns of services of the namespace whose instances must not be on the same host. */
  readonly conflicts?: readonly string[];
  /** Most instances of the service on one host. */
  readonly maxPerHost?: number;
  /** Which of the fitting hosts are better than others, before the strategy is asked. */
  readonly preferences?: readonly Preference[];
}

/** What makes a host better. It costs `weight` for each point in which it is worse. */
export type Preference = { readonly weight: number } & (
  | {
      /** One point for a host that does not have all these labels (as machineMetadata, but soft). */
      readonly machineMetadata: Readonly<Record<string, string>>;
    }
  | {
      /** One point for each instance of the service on hosts with the same value of this label, or equally without it. */
      readonly spread: string;
    }
);

/** The one host that an instance may be on. */
export interface OnlyHost {
  readonly host: string;
  /** `volume`: its data is there. `host`: it is wanted there and nowhere else. */
  readonly why: 'volume' | 'host';
}

/** An instance that looks for a host. */
export interface InstanceRequest extends InstanceDemand {
  readonly rules: PlacementRules;
  readonly only?: OnlyHost;
}

/** Where a request goes, or why it goes nowhere. */
export type Decision<R extends InstanceRequest = InstanceRequest> =
  | { readonly request: R; readonly host: string }
  | {
      readonly request: R;
      readonly host?: undefined;
      /** One sentence: `0/3 hosts fit: 2 lack label region=us-east-1, 1 is cordoned`. */
      readonly explanation: string;
    };
