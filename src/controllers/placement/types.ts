import type { PlaceholderValues } from '../../api/v1alpha1/placeholders.ts';
import type { UpdatePolicy } from '../../api/v1alpha1/update-policy.ts';
import type { CachedRecord } from '../../registry/record-cache.ts';
import type { ContainerSpec, PlacementRecord } from '../../registry/records/placement.ts';
import type { VolumeRecord } from '../../registry/records/volume.ts';
import type { Revision } from '../../registry/store.ts';

/** How a service runs to its end. */
export interface OneshotPolicy {
  /** Which run; another one for each change. */
  readonly run: string;
  /** It has been made already, as whoever asks for it says. */
  readonly ran: boolean;
  /** Success counts as serving. */
  readonly remains: boolean;
  /** Absent: all at once, and what fails is not tried again. */
  readonly job?: {
    /** Most at a time; Infinity: all. */
    readonly parallelism: number;
    readonly backoffLimit: number;
    readonly firstRetryMs: number;
    readonly deadlineMs?: number;
  };
}

/** What one ordinal of a service has to be. */
export interface DesiredInstance {
  readonly specHash: string;
  readonly container: ContainerSpec;
  /** How its volumes are to be made; no part of the hash, since what exists is not made again. */
  readonly volumes?: NonNullable<PlacementRecord['volumes']>;
  /**
   * The same on one host, when it depends on that (%H, %m). The hash is that of the spec for any host: an instance
   * never changes its host without becoming another one.
   */
  on?(host: HostIdentity): Pick<DesiredInstance, 'container' | 'volumes'>;
}

/** What an instance may know of its host. */
export type HostIdentity = Pick<PlaceholderValues, 'host' | 'machineID'>;

/** What a service has to be, as far as its instances are concerned. */
export interface DesiredInstances {
  /** UID of the Service object. */
  readonly uid: string;
  /** Ordinals 1 to `replicas` have to exist. */
  readonly replicas: number;
  instance(ordinal: number): DesiredInstance;
  /** How to get from one spec to another. Absent: one by one, each stopped first. */
  readonly update?: UpdatePolicy;
  /** What its instances come after; one that came after something else is made anew. */
  readonly after?: Readonly<Record<string, string>>;
  /** It runs to its end; see run-plan.ts. Absent: it runs for ever, or on each host as planGlobal says. */
  readonly oneshot?: OneshotPolicy;
  /** Never two of one ordinal: what may still run where it cannot be seen is waited for. */
  readonly fenced?: {
    /** How long after the loss of a host was seen all of it must have stopped there, milliseconds. */
    readonly afterMs: number;
  };
  /** What runs stays as it is for now; only what is lost is made anew. */
  readonly paused?: boolean;
}

/** A placement record as it stands in the registry. */
export interface Placed {
  readonly ordinal: number;
  readonly host: string;
  readonly path: string;
  readonly modRevision: Revision;
  /** Undefined when the record could never be read. */
  readonly record: PlacementRecord | undefined;
  /** The record cannot be read now (somebody wrote it by hand); `record` is what it said before. */
  readonly broken?: boolean;
  /** It has the second seat of its ordinal, see api/v1alpha1/seat.ts. */
  readonly second?: boolean;
}

/**
 * How a placed instance stands, from its agent's record:
 * - `unknown`: no record. It may well be running: its agent, or the way to it, is not there.
 * - `starting`: the agent knows of it, and it does not serve.
 * - `settling`: serves, but not yet for as long as an update waits.
 * - `ready`: serves.
 * - `done`: ended with success and is not to be started again.
 * - `failed`: ended, or cannot be started; the agent may be retrying.
 */
export type InstanceState = 'unknown' | 'starting' | 'settling' | 'ready' | 'done' | 'failed';

/** How the host of a placement stands: `absent` hosts may come back, `lost` ones are given up. */
export type HostStanding = 'present' | 'absent' | 'lost';

/** That an instance has to go elsewhere. */
export interface Eviction {
  readonly reason: 'HostDrained' | 'Rebalanced';
  /** At once, without waiting for others to be ready. */
  readonly now?: boolean;
  /** The only host for it. */
  readonly to?: string;
}

/** What the planner asks about the world. All answers are of one moment. */
export interface PlacementView {
  state(placed: Placed): InstanceState;
  host(name: string): HostStanding;
  /** Whether it lacks the present contents of its files. Default: no. */
  undelivered?(placed: Placed): boolean;
  /** Why the host breaks the service's placement rules; undefined when it does not. */
  misfit(host: string, placed?: Placed): string | undefined;
  /** Why an instance has to leave its host though that keeps all rules. Default: it has not. */
  eviction?(placed: Placed): Eviction | undefined;
  /** Ordinals that are wanted and have no instance. Default: those up to `replicas`, unless there is no room. */
  readonly missing?: number;
  /** Why the agent says that it is not ready: "ImagePullFailed: no such image". */
  trouble(placed: Placed): string | undefined;
  /** That an update has waited for it for too long, in words; undefined: it has not. Default: it never has. */
  overdue?(placed: Placed): string | undefined;
  /** Why an instance that was on the host may still run there, though nobody can see it. Default: it does not. */
  mayStillRun?(host: string): string | undefined;
  /** The last pass found no room for some of its instances. */
  readonly lacksRoom?: boolean;
  /** Whether a ready instance has been so for the update's delay, too. Default: yes. */
  rested?(placed: Placed): boolean;
  /** Whether some host still has something of this ordinal that is not placed there any more. Default: no. */
  leaving?(ordinal: number): boolean;
}

/** Key of a volume record. */
export interface VolumeKey {
  readonly host: string;
  readonly namespace: string;
  readonly project: string;
  readonly volume: string;
}

/** Volume records as the registry has them, by path. */
export type VolumeRecords = ReadonlyMap<string, CachedRecord<VolumeKey, VolumeRecord>>;
