import type { InstanceKey } from '../../registry/records/index.ts';
import type { DesiredInstance } from '../desired.ts';
import type { InstanceMemory } from '../memory.ts';
import type { OwnedContainer } from '../ownership.ts';
import type { HooksStep, MarkStep, Step, StepReason } from '../steps.ts';
import { markOf, runOf } from './mark.ts';
import { startPreTimeoutMs, readyTimeoutMs } from './stop-hooks.ts';

/**
 * Where hooks stand among the steps of an instance. Pure. As in systemd:
 *
 *     start:  mark starting ─ startPre ─ start ─ startPost ─ mark started
 *     stop:   stop (hooks; only of one that has started well) ─ stop ─ stopPost ─ mark ended
 *
 * What has been run is told by marks (mark.ts), so an agent that comes later knows it, too. Hooks are run at least once: those
 * that were under way when an agent died are waited for or run again, never left out.
 */

/** Whether processes of it may exist or come back by themselves. */
export function isLive(container: OwnedContainer): boolean {
  return ['running', 'paused', 'restarting'].includes(container.state);
}

/** The steps that start a container; undefined: the one that this plan creates. */
export function startSteps(
  key: InstanceKey,
  desired: DesiredInstance,
  containerId: string | undefined,
  reason: StepReason,
): Step[] {
  const { hooks } = desired.placement.container;
  const base = { key, desired, containerId, reason };
  return [
    // It tells that there is something to clean up, should the start fail.
    ...(hooks?.stopPost === undefined
      ? []
      : [{ type: 'mark', ...base, mark: 'starting' } as const]),
    ...(hooks?.startPre === undefined
      ? []
      : [
          {
            type: 'hooks',
            ...base,
            phase: 'startPre',
            hooks: hooks.startPre,
            timeoutMs: startPreTimeoutMs(desired.placement.container),
          } as const,
        ]),
    { type: 'start', ...base },
    ...(hooks?.startPost === undefined ? [] : startPostSteps(key, desired, containerId, reason)),
  ];
}

/** The hooks of a container that runs. @param leftMs of the time for them. Default: all of it. */
export function startPostSteps(
  key: InstanceKey,
  desired: DesiredInstance,
  containerId: string | undefined,
  reason: StepReason,
  leftMs = Infinity,
): [HooksStep, MarkStep] {
  const base = { key, desired, containerId, reason };
  const hooks = desired.placement.container.hooks?.startPost ?? [];
  const timeoutMs = Math.min(leftMs, startPreTimeoutMs(desired.placement.container));
  return [
    { type: 'hooks', ...base, phase: 'startPost', hooks, timeoutMs },
    { type: 'mark', ...base, mark: 'started' },
  ];
}

/** Whether hooks after its start are still to succeed. */
export function awaitsStartPost(container: OwnedContainer, desired: DesiredInstance): boolean {
  return desired.placement.container.hooks?.startPost !== undefined && !hasStarted(container);
}

function hasStarted(container: OwnedContainer): boolean {
  const mark = markOf(container);
  return mark === 'started' || mark === 'ready';
}

/**
 * Milliseconds that a container has left to get ready; undefined: it is not asked to hurry. Counted from when its run was seen
 * first, by the monotonic clock: neither a clock that is set nor an agent that comes anew ends anything too early.
 */
export function readyInMs(
  container: OwnedContainer,
  desired: DesiredInstance,
  { runSeen }: InstanceMemory,
  now: number,
): number | undefined {
  const timeoutMs = readyTimeoutMs(desired.placement.container);
  if (timeoutMs === undefined || markOf(container) === 'ready') return undefined;
  const seen = runSeen?.containerId === container.id && runSeen.startedAt === container.startedAt;
  return seen ? runSeen.at + timeoutMs - now : undefined;
}

/** Whether its run has ended and the hooks for that have not been run. */
export function owesStopPost(container: OwnedContainer): boolean {
  if ((container.stopHooks?.stopPost.length ?? 0) === 0 || isLive(container)) return false;
  const mark = markOf(container);
  return mark !== 'ended' && (container.startedAt !== undefined || mark === 'starting');
}

/** The hooks after the end of a container, which need no placement. */
export function stopPostSteps(container: OwnedContainer, reason: StepReason): Step[] {
  const { key, id: containerId, stopHooks } = container;
  if (stopHooks === undefined || stopHooks.stopPost.length === 0) return [];
  const base = { key, containerId, reason, desired: undefined };
  return [
    {
      type: 'hooks',
      ...base,
      phase: 'stopPost',
      hooks: stopHooks.stopPost,
      timeoutMs: stopHooks.timeoutMs,
    },
    { type: 'mark', ...base, mark: 'ended' },
  ];
}

/** The hooks before a container is asked to stop. */
export function stopHooksSteps(container: OwnedContainer, reason: StepReason): Step[] {
  const { key, id: containerId, stopHooks, state } = container;
  if (stopHooks === undefined || stopHooks.stop.length === 0 || state !== 'running') return [];
  // One that has failed to start is only stopped, as systemd has it.
  if (stopHooks.afterStartPost && !hasStarted(container)) return [];
  const { stop: hooks, timeoutMs } = stopHooks;
  return [
    {
      type: 'hooks',
      key,
      containerId,
      reason,
      desired: undefined,
      phase: 'stop',
      hooks,
      timeoutMs,
    },
  ];
}

/** Whether an earlier agent has left a start of the container under way: the hooks before it go on, or wait to be taken up. */
export function isStarting(container: OwnedContainer, hooks: readonly OwnedContainer[]): boolean {
  return hooks.some(
    ({ hook }) =>
      hook?.phase === 'startPre' &&
      hook.containerId === container.id &&
      hook.run === runOf(container),
  );
}

/** Containers of hooks that nobody waits for any more: not those that the next steps would take up again. */
export function leftOvers(
  hooks: readonly OwnedContainer[],
  steps: readonly Step[],
  mains: readonly OwnedContainer[],
): OwnedContainer[] {
  const runs = new Map(mains.map((main) => [main.id, runOf(main)]));
  return hooks.filter(
    ({ hook }) =>
      runs.get(hook?.containerId ?? '') !== hook?.run ||
      !steps.some(
        (step) =>
          step.type === 'hooks' &&
          step.phase === hook?.phase &&
          step.containerId === hook.containerId,
      ),
  );
}
