import type { KubeClient } from '../kube/client.ts';
import type { EventRecorder } from '../kube/events.ts';
import type { ReflectorObserver } from '../kube/reflector.ts';
import type { Store } from '../registry/store.ts';
import type { Clock } from '../runtime/clock.ts';
import type { ControllerObserver } from '../runtime/controller.ts';
import type { Logger } from '../telemetry/log.ts';
import type { AcmeOptions } from './certificates/loop.ts';
import type { RouterOptions } from './routes/router-service.ts';

/** As long as a host's, so that a dead host with the leader on it costs no more than another one. */
export const defaultClaimTtlMs = 5_000;

/** Of what is the operator's own in the Kubernetes API. */
export const defaultNamespace = 'nap-system';

export interface OperatorOptions {
  /** Who we are; must differ between processes, also between two starts of one. */
  readonly identity: string;
  /** Namespace of the Lease "nap-operator", which says who leads. Default nap-system. */
  readonly namespace?: string;
  /** How often that Lease is renewed, milliseconds. Default 5,000. */
  readonly noteEveryMs?: number;
  /** A leader that the API server does not answer for this long yields to one that it answers, milliseconds. Default 15,000. */
  readonly apiPatienceMs?: number;
  /** TTL of the leader's claim in the registry: a silent leader is followed after so long, milliseconds. Default 5,000. */
  readonly claimTtlMs?: number;
  /** TTL of the agents' leases, milliseconds. Default 5,000. */
  readonly hostTtlMs?: number;
  /** Where virtual IPs come from, CIDR. Default 10.78.0.0/16. */
  readonly virtualRange?: string;
  /** How long a new instance has to serve before an update goes on, milliseconds. Default 2,000. */
  readonly updateMonitorMs?: number;
  /** Routers that the operator is to run. Default: none, but those that somebody makes by hand. */
  readonly router?: RouterOptions;
  /** Where certificates of routes are obtained. Default: nowhere. */
  readonly acme?: AcmeOptions;
  /** Everything is looked at this often, milliseconds. Default 300,000. */
  readonly resyncMs?: number;
  /** How often it looks whether hosts could be made more equal, milliseconds. Default 10,000. */
  readonly rebalanceEveryMs?: number;
  /** While many hosts are lost at once: moves per second. Default 1. */
  readonly brakedMovesPerSecond?: number;
  /** How long the loss of a host counts as one of many at once, milliseconds. Default 60,000. */
  readonly massWindowMs?: number;
}

export interface OperatorDeps {
  readonly store: Store;
  readonly client: KubeClient;
  readonly events: Pick<EventRecorder, 'record'>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** Ids of new instances: unique, at least 8 characters. */
  readonly newId: () => string;
  /** Told about every pass of a controller. */
  readonly observer?: ControllerObserver;
  /** Told about the informers. */
  readonly reflector?: ReflectorObserver;
  /** Told about every pass of the placement loop. */
  readonly onPass?: (services: number, changes: number, durationMs: number) => void;
}
