import { restartsAfter, type EndCause } from '../../api/v1alpha1/restart-policy.ts';
import type { ContainerSpec } from '../../registry/records/index.ts';
import type { InspectedContainer } from '../docker/engine.ts';
import type { InstanceMemory, StartFailure } from '../memory.ts';
import { endCause } from './end-cause.ts';

/** The engine's own first pause, and what systemd calls DefaultRestartSec. */
const defaultPauseMs = 100;
const longestPauseMs = 60_000;

/** What follows the end of a container that the agent, not the engine, starts again. */
export type RestartDecision =
  /** Started again at `atMs` (wall clock), `pauseMs` after the end. */
  | {
      readonly type: 'start';
      readonly cause: EndCause | 'interrupted';
      readonly atMs: number;
      readonly pauseMs: number;
    }
  /** The policy leaves it. */
  | { readonly type: 'stay'; readonly cause: EndCause }
  /** The policy starts it again, but it has started too often. */
  | { readonly type: 'limit'; readonly cause: EndCause; readonly starts: number };

type Restarts = Pick<
  ContainerSpec,
  'restart' | 'restartMs' | 'startLimit' | 'hooks' | 'oneshot' | 'fencing'
>;

/**
 * What to do about a container that is down. Pure, and independent of the present moment, so that a limit that was
 * reached stays reached.
 *
 * @param interrupted the run was ended by the end of its engine or machine, and says nothing about the program: it
 *   goes on as services do after a boot, unless it may run only once. A oneshot that had not come to its end begins anew,
 *   as it would on another host; one that had, stays.
 * @param finished the operator has taken note of how a oneshot ended
 */
export function decideRestart(
  ended: Pick<InspectedContainer, 'id' | 'exitCode' | 'oomKilled' | 'startedAt' | 'finishedAt'>,
  spec: Restarts,
  memory: InstanceMemory,
  interrupted = false,
  finished = false,
): RestartDecision {
  const { oneshot = false } = spec;
  const cause = causeOf(ended, memory, oneshot);
  if (finished) return { type: 'stay', cause };
  const endedMs = Date.parse(ended.finishedAt ?? ended.startedAt ?? '') || 0;
  if (interrupted && (oneshot ? cause !== 'clean' : spec.restart !== 'no')) {
    return { type: 'start', cause: 'interrupted', atMs: endedMs, pauseMs: 0 };
  }
  return afterCause(cause, endedMs, memory.crash?.shortRuns ?? 0, spec, memory);
}

/** The same for a start that failed. Pure. */
export function decideStartFailure(
  { cause, at, count }: StartFailure,
  spec: Restarts,
  memory: InstanceMemory,
): RestartDecision {
  return afterCause(cause, at, count, spec, memory);
}

function afterCause(
  cause: EndCause,
  endedMs: number,
  failures: number,
  spec: Restarts,
  memory: InstanceMemory,
): RestartDecision {
  if (!restartsAfter(spec.restart, cause)) return { type: 'stay', cause };
  const pauseMs = restartPauseMs(spec.restartMs, failures);
  const atMs = endedMs + pauseMs;
  const limit = spec.startLimit;
  if (limit !== undefined) {
    const starts = (memory.starts ?? []).filter((at) => at > atMs - limit.intervalMs).length;
    if (starts >= limit.burst) return { type: 'limit', cause, starts };
  }
  return { type: 'start', cause, atMs, pauseMs };
}

/** How the last run ended; that it was ended for being unhealthy is only remembered. */
export function causeOf(
  ended: Pick<InspectedContainer, 'id' | 'exitCode' | 'oomKilled' | 'startedAt'>,
  memory: InstanceMemory,
  oneshot = false,
): EndCause {
  const { stoppedFor } = memory;
  const ours = stoppedFor?.containerId === ended.id && stoppedFor.startedAt === ended.startedAt;
  return ours ? 'timeout' : endCause(ended, oneshot);
}

/**
 * The pause before the next start: the first doubled with every short run in a row, at most a minute (or the first, if that is more).
 */
export function restartPauseMs(firstMs: number | undefined, shortRuns: number): number {
  const first = Math.max(defaultPauseMs, firstMs ?? defaultPauseMs);
  const longest = Math.max(longestPauseMs, first);
  return Math.min(longest, first * 2 ** Math.min(20, Math.max(0, shortRuns - 1)));
}
