import type { EndCause } from '../api/v1alpha1/restart-policy.ts';
import { nextCrashState, type CrashState } from './crash-loop.ts';
import type { ContainerSpec } from '../registry/records/index.ts';
import type { InspectedContainer } from './docker/engine.ts';
import { engineRestarts } from './restart/engine-restarts.ts';

/** A step that failed, and when to try again. */
export interface Failure {
  /** Failures in a row. */
  readonly count: number;
  /** Monotonic milliseconds before which nothing is tried. */
  readonly retryAt: number;
  readonly reason: string;
  /** With the engine's words and the pause. */
  readonly message: string;
}

/** What the agent remembers of one instance while it runs itself. Losing it costs nothing but counts and pauses. */
export interface InstanceMemory {
  readonly failure?: Failure;
  readonly crash?: CrashState;
  /** Starts that the engine's counter has forgotten. */
  readonly earlierRestarts: number;
  /** Whether a container of this very spec has run. */
  readonly ran: boolean;
  /** Its last starts, wall clock, oldest first; only as many as a start limit needs. */
  readonly starts?: readonly number[];
  /** The present run of its container, and when it was seen first, monotonic milliseconds. */
  readonly runSeen?: {
    readonly containerId: string;
    readonly startedAt: string;
    readonly at: number;
  };
  /** A start that did not come to its end, though its container did not fail by itself. */
  readonly startFailure?: StartFailure;
  /** The run that was stopped because the host lost its lease: it goes on when the host has one again. */
  readonly fenced?: { readonly containerId: string; readonly startedAt: string | undefined };
  /** The run that was stopped because it was unhealthy. */
  readonly stoppedFor?: { readonly containerId: string; readonly startedAt: string | undefined };
}

/** Hooks failed, or it was not ready in time. */
export interface StartFailure {
  readonly containerId: string;
  /** Of the container's last run, when the hooks before the next one failed; else of the run that failed. */
  readonly startedAt: string | undefined;
  readonly cause: EndCause;
  /** `StartPreFailed`, `StartPostFailed`, `StartTimeout` */
  readonly reason: string;
  readonly message: string;
  /** Wall clock, milliseconds. */
  readonly at: number;
  /** Failures in a row. */
  readonly count: number;
}

/** The memory after one more failure of a start. */
export function withStartFailure(
  memory: InstanceMemory,
  failure: Omit<StartFailure, 'count'>,
  spec?: Pick<ContainerSpec, 'startLimit'>,
): InstanceMemory {
  const burst = spec?.startLimit?.burst;
  const ran = failure.reason !== 'StartPreFailed';
  return {
    ...memory,
    startFailure: { ...failure, count: (memory.startFailure?.count ?? 0) + 1 },
    // A start that was not seen as one counts for the limit all the same.
    ...(burst !== undefined &&
      !ran && { starts: [...(memory.starts ?? []), failure.at].slice(-burst) }),
  };
}

/** The failure of the container's start, if that is how its last run, or its last start, came to nothing. */
export function startFailureOf(
  { startFailure }: InstanceMemory,
  { id, startedAt }: Pick<InspectedContainer, 'id' | 'startedAt'>,
): StartFailure | undefined {
  const its = startFailure?.containerId === id && startFailure.startedAt === startedAt;
  return its ? startFailure : undefined;
}

/** The memory after a start that came to its end. */
export function withoutStartFailure(memory: InstanceMemory): InstanceMemory {
  const cured: { -readonly [Key in keyof InstanceMemory]: InstanceMemory[Key] } = { ...memory };
  delete cured.startFailure;
  return cured;
}

/** Notes when a run was seen first. @param now monotonic milliseconds. */
export function noteRun(
  memory: InstanceMemory,
  { id, startedAt, state }: InspectedContainer,
  now: number,
): InstanceMemory {
  if (startedAt === undefined || state !== 'running') return memory;
  const { runSeen } = memory;
  if (runSeen?.containerId === id && runSeen.startedAt === startedAt) return memory;
  return { ...memory, runSeen: { containerId: id, startedAt, at: now } };
}

export const blankMemory: InstanceMemory = { earlierRestarts: 0, ran: false };

/**
 * The memory after seeing the instance's own container (again). The engine's counter starts from 0 with each start by
 * call and with each container; what it has forgotten is added up here.
 */
export function remember(
  memory: InstanceMemory,
  seen: InspectedContainer,
  spec?: Pick<ContainerSpec, 'restart' | 'restartMs' | 'startLimit' | 'fencing'>,
): InstanceMemory {
  if (seen.startedAt === undefined) return memory;
  const before = memory.crash;
  const same = before?.containerId === seen.id;
  const newRun = !same || before.startedAt !== seen.startedAt;
  // In the midst of a start by call: the counter is reset, the run not yet noted.
  if (same && !newRun && seen.restartCount < before.restartCount) return memory;
  // The engine counts a restart when the container ends and starts it later: an equal count is no start by call.
  const byCall =
    before !== undefined &&
    newRun &&
    (!same || seen.restartCount === 0 || seen.restartCount < before.restartCount);
  const { stoppedFor } = memory;
  const unhealthy = stoppedFor?.containerId === seen.id && stoppedFor.startedAt === seen.startedAt;
  const byAgent = unhealthy || (spec !== undefined && !engineRestarts(spec));
  const burst = spec?.startLimit?.burst;
  return {
    ...memory,
    ...(burst !== undefined &&
      newRun && { starts: [...(memory.starts ?? []), Date.parse(seen.startedAt)].slice(-burst) }),
    crash: nextCrashState(before, seen, byAgent),
    ran: true,
    earlierRestarts: memory.earlierRestarts + (byCall ? before.restartCount + 1 : 0),
  };
}

const firstPauseMs = 1000;
/** A registry that fails is asked at least this often. */
const longestPullPauseMs = 300_000;
/** Local causes (a port in use, a missing path) are mended by hand, by somebody who then waits. */
const longestPauseMs = 60_000;

/** The memory after a step that worked. */
export function withoutFailure(memory: InstanceMemory): InstanceMemory {
  const cured: { -readonly [Key in keyof InstanceMemory]: InstanceMemory[Key] } = { ...memory };
  delete cured.failure;
  return cured;
}

/**
 * The failure after one more. Pauses double from 1 s; up to a tenth is taken off at random, so that a thousand
 * hosts do not ask a registry in step.
 *
 * @param random a number in [0, 1).
 */
export function nextFailure(
  before: Failure | undefined,
  error: { readonly reason: string; readonly message: string },
  now: number,
  random: number,
): Failure {
  const count = (before?.count ?? 0) + 1;
  const longest = error.reason === 'ImagePullFailed' ? longestPullPauseMs : longestPauseMs;
  const pauseMs =
    Math.min(longest, firstPauseMs * 2 ** Math.min(count - 1, 20)) * (1 - random / 10);
  return {
    count,
    retryAt: now + pauseMs,
    reason: error.reason,
    message: `${error.message}; next try in ${formatPause(pauseMs)}`,
  };
}

/** "0.4 s", "8 s", "5 min" */
export function formatPause(ms: number): string {
  if (ms < 1000) return `${(ms / 1000).toFixed(1)} s`;
  return ms < 120_000 ? `${Math.round(ms / 1000)} s` : `${Math.round(ms / 60_000)} min`;
}
