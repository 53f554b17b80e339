import type { Hook, Hooks } from '../api/v1alpha1/hooks.ts';
import type { InstanceKey } from '../registry/records/index.ts';
import type { DesiredInstance } from './desired.ts';
import type { JoinedNetwork } from './docker/engine.ts';
import type { Mark } from './hooks/mark.ts';

/** Why a step is taken. Named, because they appear in logs, in tests and in what users are told. */
export const stepReasons = {
  placed: 'placed on this host',
  specChanged: 'the container spec differs from the one it was made from',
  replaced: 'another instance of the same ordinal is placed here now',
  notPlaced: 'no longer placed on this host',
  duplicate: 'another container runs this instance already',
  networkChanged: 'cut off from the overlay network as it is now',
  dead: 'the engine gave the container up',
  neverStarted: 'created but not started yet',
  contentChanged: 'the contents of its files changed',
  contentLost: 'its files are not on this host (any more)',
  stoppedOutside: 'stopped by something other than nap',
  restartPolicy: 'ended, and the restart policy starts it again',
  unhealthy: 'unhealthy for too long',
  startFailed: 'a hook of its start has failed',
  startTimeout: 'not ready in time',
  started: 'has started',
  becameReady: 'ready for the first time',
  ended: 'its run has ended',
  leftOver: 'nobody waits for this hook any more',
  fenced: 'this host has lost touch with the cluster, and the service is fenced',
} as const;
export type StepReason = (typeof stepReasons)[keyof typeof stepReasons];

interface StepBase {
  readonly key: InstanceKey;
  readonly reason: StepReason;
}

/** Makes sure that the image is on this host, pulling it if the policy says so. */
export interface ImageStep extends StepBase {
  readonly type: 'image';
  readonly desired: DesiredInstance;
}

/** Writes the config files of the container, and tells it of changes when it runs. */
export interface DeliverStep extends StepBase {
  readonly type: 'deliver';
  readonly desired: DesiredInstance;
  /** Container that runs with these files; undefined: none does. */
  readonly containerId: string | undefined;
}

/** Creates the container (not started) and the volumes that it names. */
export interface CreateStep extends StepBase {
  readonly type: 'create';
  readonly desired: DesiredInstance;
  readonly network: JoinedNetwork;
}

/** Starts a container: `containerId`, or the one that this plan's create step has just made. */
export interface StartStep extends StepBase {
  readonly type: 'start';
  readonly desired: DesiredInstance;
  readonly containerId: string | undefined;
}

/** Waits until nobody sends to a container any more and, if it serves, what it was doing is done. */
export interface DrainStep extends StepBase {
  readonly type: 'drain';
  readonly containerId: string;
  readonly serves: boolean;
}

/** Asks a container to stop, and kills it after `graceMs`. */
export interface StopStep extends StepBase {
  readonly type: 'stop';
  readonly containerId: string;
  readonly graceMs: number;
}

/** Removes a container; volumes with names stay. */
export interface RemoveStep extends StepBase {
  readonly type: 'remove';
  readonly containerId: string;
}

/** Runs hooks one after the other, in time. */
export interface HooksStep extends StepBase {
  readonly type: 'hooks';
  readonly phase: keyof Hooks;
  readonly hooks: readonly Hook[];
  /** For all of them together. */
  readonly timeoutMs: number;
  /** The container that they belong to; undefined: the one that this plan's create step has just made for `desired`. */
  readonly containerId: string | undefined;
  readonly desired: DesiredInstance | undefined;
}

/** Notes durably how far a container's run has come. */
export interface MarkStep extends StepBase {
  readonly type: 'mark';
  readonly mark: Mark;
  readonly containerId: string | undefined;
  readonly desired: DesiredInstance | undefined;
}

/** One thing to do for one instance. Every step may be repeated: doing it twice is like doing it once. */
export type Step =
  | ImageStep
  | DeliverStep
  | CreateStep
  | StartStep
  | DrainStep
  | StopStep
  | RemoveStep
  | HooksStep
  | MarkStep;
export type StepType = Step['type'];
export type StepOf<Type extends StepType> = Extract<Step, { type: Type }>;
