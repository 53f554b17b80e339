import type { HostHealth } from './health.ts';

/** What is fenced may still run on a host where it cannot be seen. */
export interface FenceOpen {
  /** For people. */
  readonly why: string;
  /** When it must be over, milliseconds from now; absent: that cannot be said. */
  readonly endsInMs?: number;
}

/**
 * Whether what is fenced may still run on a host; undefined: it must have stopped, or its agent can be asked. An agent
 * begins to stop it before its lease can be seen gone, so time counts from when this operator saw the host lost, which is
 * not before that. An agent that was stopped on purpose stops nothing: then somebody has to say that the host is down, by
 * deleting its Host.
 *
 * @param isKnown somebody speaks of the host: its Host object
 */
export function fenceOf(
  health: HostHealth,
  host: string,
  afterMs: number,
  isKnown: boolean,
  nowMs: number,
): FenceOpen | undefined {
  const standing = health.standing(host, nowMs);
  if (standing === 'present') return undefined;
  if (standing === 'absent')
    return { why: `host ${host} does not answer, and is not given up yet` };
  if (isKnown && health.leftOnPurpose(host)) {
    return {
      why: `the agent of host ${host} was stopped on purpose and cannot stop what is fenced there: start it again, or delete the Host if it is down`,
    };
  }
  const endsInMs = afterMs - (health.lostForMs(host, nowMs) ?? 0);
  if (endsInMs <= 0) return undefined;
  const why = `host ${host} is lost, and is given ${String(Math.ceil(afterMs / 1000))} s to stop what is fenced`;
  return { why, endsInMs };
}
