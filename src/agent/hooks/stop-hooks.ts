import { z } from 'zod';
import { resolvedHook } from '../../api/v1alpha1/hooks.ts';
import type { ContainerSpec } from '../../registry/records/index.ts';

/** As systemd's DefaultTimeoutStartSec and DefaultTimeoutStopSec. */
const defaultTimeoutMs = 90_000;
/** What stands for "no limit": 24 days, about as long as a timer can wait. */
const longestMs = 24 * 24 * 3_600_000;

const stopHooks = z.object({
  stop: z.array(resolvedHook),
  stopPost: z.array(resolvedHook),
  timeoutMs: z.number(),
  /** It has not started well before its hooks after the start have succeeded. */
  afterStartPost: z.boolean(),
});
/** What a container has to do at its end. It is written on the container itself: its placement may be gone by then. */
export type StopHooks = z.infer<typeof stopHooks>;

/** The label's text; undefined when there is nothing to do. */
export function stopHooksLabel(
  spec: Pick<ContainerSpec, 'hooks' | 'timeoutStopMs'>,
): string | undefined {
  const { stop = [], stopPost = [], startPost } = spec.hooks ?? {};
  if (stop.length + stopPost.length === 0) return undefined;
  const hooks: StopHooks = {
    stop,
    stopPost,
    timeoutMs: Math.min(longestMs, spec.timeoutStopMs ?? defaultTimeoutMs),
    afterStartPost: startPost !== undefined,
  };
  return JSON.stringify(hooks);
}

/** What the label says; undefined when it cannot be read. */
export function parseStopHooks(label: string | undefined): StopHooks | undefined {
  if (label === undefined) return undefined;
  try {
    return stopHooks.parse(JSON.parse(label));
  } catch {
    return undefined;
  }
}

/** How long the hooks before a start may take together. */
export function startPreTimeoutMs({
  timeoutStartMs,
}: Pick<ContainerSpec, 'timeoutStartMs'>): number {
  return timeoutStartMs === 0 ? longestMs : Math.min(longestMs, timeoutStartMs ?? defaultTimeoutMs);
}

/** How long it may take from a start until the instance is ready; undefined: as long as it likes. */
export function readyTimeoutMs({
  timeoutStartMs,
}: Pick<ContainerSpec, 'timeoutStartMs'>): number | undefined {
  return timeoutStartMs === 0 ? undefined : timeoutStartMs;
}
