import { tryParseIpv4 } from '../network/address/cidr.ts';
import { ipv4In } from '../network/address/dual-stack.ts';
import type { InstanceKey } from '../registry/records/index.ts';
import type { DesiredInstance } from './desired.ts';
import type { JoinedNetwork } from './docker/engine.ts';
import type { HealthView } from './health/monitor.ts';
import { startFailureOf, type InstanceMemory } from './memory.ts';
import type { OwnedContainer } from './ownership.ts';
import {
  awaitsStartPost,
  isLive,
  isStarting,
  leftOvers,
  owesStopPost,
  readyInMs,
  startPostSteps,
  startSteps,
  stopHooksSteps,
  stopPostSteps,
} from './hooks/plan-hooks.ts';
import {
  causeOf,
  decideRestart,
  decideStartFailure,
  type RestartDecision,
} from './restart/decision.ts';
import { engineRestarts } from './restart/engine-restarts.ts';
import { stepReasons, type Step, type StepReason } from './steps.ts';
import type { Trouble } from './templates/template-keeper.ts';

/**
 * What to do for one instance, from what should be and what is. Pure.
 *
 *     (placed) ─ image ─▶ [no container] ─ create ─▶ created ─ start ─▶ running ◀─┐
 *        ▲                     ▲                        ▲  │              │ ends   │ the engine's own
 *        │ pull failed:        │ removed by hand,       │  │ start failed:▼        │ restart policy
 *        └ pause, again        │ dead, other spec       │  └ pause, again restarting
 *                              │                        │                 │ stopped by hand, or the agent
 *                              │                        │                 │ restarts it (restart/decision.ts)
 * (not placed) ─ drain ─ stop ─ remove ─▶ [gone]        └──── start ──── exited   (restart: no stays here)
 *
 *     hooks stand around start and stop as hooks/plan-hooks.ts says
 *
 *     phases shown: Pulling Creating Starting Running Draining Stopping Exited Failed (report.ts)
 *
 * Promises:
 * - What is fenced is stopped when the host is not licensed to run it, whatever else is known or not.
 * - While the placements have not been read (`known` false) nothing is done at all: what runs goes on running.
 * - A container with the placement's id and spec hash is adopted as it is. It is never stopped or removed, except
 *   that one which is cut off from the overlay, or asks a name server that has moved (`networkChanged`), is made anew.
 * - One container per placement id: of several, the best is kept.
 * - What is replaced goes on running until the new image is here, and the new files are.
 * - What is stopped is drained first (drain/drainer.ts); an agent that is restarted meanwhile drains it anew.
 * - Nothing is created while `mayCreate` is false (lease not proved, overlay not up), and nothing at all is tried while
 *   the pause after a failure of this instance runs.
 */
export function planInstance(view: InstanceView, context: PlanContext): InstancePlan {
  const plan = planFromKnown(view, context);
  if (context.remembered !== true) return plan;
  // What is remembered may be out of date: it is good enough to keep running what runs, and for nothing else.
  if (plan.steps.some(({ type }) => type === 'deliver')) return nothing;
  return { ...plan, steps: plan.steps.filter(keepsUp) };
}

function keepsUp(step: Step): boolean {
  if (step.type === 'stop' || step.type === 'drain') {
    return step.reason === stepReasons.fenced || step.reason === stepReasons.unhealthy;
  }
  return step.type === 'start' && step.containerId !== undefined;
}

function planFromKnown(view: InstanceView, context: PlanContext): InstancePlan {
  if (context.licensed === false) {
    const fenced = view.containers.filter((container) => container.fenced && isLive(container));
    if (fenced.length > 0) return { steps: fenced.map((c) => stopStep(c, stepReasons.fenced)) };
  }
  if (!context.known) return nothing;
  // What a hook's end with its engine or machine says is nothing: it is run again.
  const cut = (view.hooks ?? []).filter((hook) => hasEnded(hook) && context.interrupted?.(hook));
  const hooks = (view.hooks ?? []).filter((hook) => !cut.includes(hook));
  const plan = planContainers({ ...view, hooks }, context);
  const left = [...cut, ...leftOvers(hooks, plan.steps, view.containers)];
  if (left.length === 0) return plan;
  const removals = left.map(({ key, id }): Step => ({
    type: 'remove',
    key,
    containerId: id,
    reason: stepReasons.leftOver,
  }));
  return { ...plan, steps: [...removals, ...plan.steps] };
}

function planContainers(view: InstanceView, context: PlanContext): InstancePlan {
  if (view.containers.some((container) => container.state === 'removing')) return nothing;
  const { desired } = view;
  const [kept, ...spare] = view.containers
    .filter((container) => desired !== undefined && isCurrent(container, desired, view, context))
    .sort(betterFirst);
  const outdated = view.containers.filter((c) => c !== kept && !spare.includes(c));
  const pausedUntil = pauseEnd(view.memory, context);
  if (pausedUntil !== undefined) return { steps: [], wakeAt: pausedUntil };
  if (desired === undefined) {
    return { steps: outdated.flatMap((c) => stopAndRemove(c, stepReasons.notPlaced)) };
  }
  if (kept === undefined) return planCreation(view, desired, outdated, context);
  const now = actOnKept(view, desired, kept, context);
  return {
    ...(now.wakeAt !== undefined && { wakeAt: now.wakeAt }),
    steps: [
      ...outdated.flatMap((c) => stopAndRemove(c, whyOutdated(c, desired))),
      ...spare.flatMap((c) => stopAndRemove(c, stepReasons.duplicate)),
      ...deliverTo(view, desired, kept, now.steps),
      ...now.steps,
    ],
  };
}

/** All that the engine and the registry say about one instance on this host. */
export interface InstanceView {
  readonly key: InstanceKey;
  /** Absent: not placed here (if the placements are known). */
  readonly desired: DesiredInstance | undefined;
  /** This host's containers of this instance, of whatever placement. */
  readonly containers: readonly OwnedContainer[];
  /** Containers of its hooks; while nothing is under way: those that were left behind. Absent: none. */
  readonly hooks?: readonly OwnedContainer[];
  readonly memory: InstanceMemory;
  /** Hash of the contents that stand in its files; undefined: not (all) there. */
  readonly delivered?: string | undefined;
  /** Why a file that follows services does not say what it should. */
  readonly trouble?: Trouble | undefined;
  /** Of those running containers that are checked. */
  readonly health?: readonly HealthView[];
}

export interface PlanContext {
  /** Whether the placements of this host have been read since the agent started. */
  readonly known: boolean;
  /** All that is known of it is what an earlier agent knew: nothing is made, replaced or removed because of that. */
  readonly remembered?: boolean;
  /** Whether this host's lease is proved alive: only then may containers be created. */
  readonly mayCreate: boolean;
  /** Whether fenced instances may run. Default: yes. */
  readonly licensed?: boolean;
  /** The overlay network of this host, once it stands. */
  readonly network: JoinedNetwork | undefined;
  /** Monotonic milliseconds. */
  readonly now: number;
  /** Wall clock, milliseconds: the engine's times are compared with it. Absent: no pause is waited for. */
  readonly wallMs?: number;
  /** Whether the container was ended by the end of its engine or machine. Absent: none was. */
  readonly interrupted?: (ended: OwnedContainer) => boolean;
}

export interface InstancePlan {
  /** To be done in this order; the rest is dropped when one fails. */
  readonly steps: readonly Step[];
  /** Monotonic time at which to plan again, when a pause is the reason for doing nothing now. */
  readonly wakeAt?: number;
}

const nothing: InstancePlan = { steps: [] };

/** Whether the container is what the placement asks for. */
function isCurrent(
  container: OwnedContainer,
  desired: DesiredInstance,
  view: InstanceView,
  context: PlanContext,
): boolean {
  if (container.placementId !== desired.id || container.specHash !== desired.specHash) return false;
  if (container.state === 'dead') return false;
  // What is not to run again needs no network.
  const { state } = container;
  const rests =
    state === 'exited' &&
    !engineRestarts(desired.placement.container) &&
    decideEnd(view, desired, container, context).type !== 'start';
  return rests || !hasLostNetwork(container, desired, context);
}

/** A container asks the DNS server that it was created with: when the subnet has moved, it can only be made anew. */
function hasLostNetwork(
  container: OwnedContainer,
  desired: DesiredInstance,
  context: PlanContext,
): boolean {
  // One that must not be restarted runs to its end, cut off though it is.
  const { network } = context;
  const { restart, start, oneshot } = desired.placement.container;
  const staysCutOff = restart === 'no' || start === false || oneshot === true;
  if (network === undefined || staysCutOff) return false;
  if (container.state === 'running' && container.addresses[network.name] === undefined) return true;
  return !container.dns.includes(network.gateway) || hasOtherIpv6(container, network);
}

/** Whether it was not made with the IPv6 address that belongs to its own: with none, another one, or one that is of no use any more. */
function hasOtherIpv6(
  { assigned, assignedIpv6 }: OwnedContainer,
  { name, ipv6 }: JoinedNetwork,
): boolean {
  const [short, long] = [assigned?.[name], assignedIpv6?.[name]];
  if (ipv6 === undefined) return long !== undefined;
  // What the engine chooses each time is no twin, and nothing is known of it beforehand.
  if (short === undefined) return false;
  return ipv4In(ipv6, long ?? '') !== tryParseIpv4(short);
}

function whyOutdated(container: OwnedContainer, desired: DesiredInstance): StepReason {
  if (container.placementId !== desired.id) return stepReasons.replaced;
  if (container.specHash !== desired.specHash) return stepReasons.specChanged;
  return container.state === 'dead' ? stepReasons.dead : stepReasons.networkChanged;
}

/** The engine restarts a kept container by itself, or the agent does: see docker/container-spec.ts. */
function actOnKept(
  view: InstanceView,
  desired: DesiredInstance,
  kept: OwnedContainer,
  context: PlanContext,
): InstancePlan {
  const mayStart = desired.placement.container.fencing === undefined || context.licensed !== false;
  const start = (reason: StepReason): InstancePlan =>
    mayStart ? { steps: startSteps(view.key, desired, kept.id, reason) } : nothing;
  const { container: spec } = desired.placement;
  if (kept.state === 'running') return actOnRunning(view, desired, kept, context);
  if (isStarting(kept, view.hooks ?? [])) return start(stepReasons.neverStarted);
  if (owesStopPost(kept)) return { steps: stopPostSteps(kept, stepReasons.ended) };
  if (kept.state === 'created' && spec.start === false) return nothing;
  const failedStart = startFailureOf(view.memory, kept);
  if (failedStart !== undefined) {
    const decision = decideStartFailure(failedStart, spec, view.memory);
    return planRestart(decision, start, context);
  }
  if (kept.state === 'created') return start(stepReasons.neverStarted);
  if (kept.state !== 'exited') return nothing;
  // What the agent has stopped for being unhealthy waits for its turn, whoever restarts it otherwise.
  if (engineRestarts(spec) && causeOf(kept, view.memory) !== 'timeout') {
    return start(stepReasons.stoppedOutside);
  }
  return planRestart(decideEnd(view, desired, kept, context), start, context);
}

/** How far the engine's clock may be ahead of this agent's, when both are right: more than that says that one was set. */
const clockToleranceMs = 5_000;

function planRestart(
  decision: RestartDecision,
  start: (reason: StepReason) => InstancePlan,
  context: PlanContext,
): InstancePlan {
  if (decision.type !== 'start') return nothing;
  const waitMs = decision.atMs - (context.wallMs ?? decision.atMs);
  // An end that lies in the future: the clock was set back, and tells nothing about how long is left of the pause.
  const wasSetBack = waitMs > decision.pauseMs + clockToleranceMs;
  if (waitMs <= 0 || wasSetBack) return start(stepReasons.restartPolicy);
  return { steps: [], wakeAt: context.now + waitMs };
}

/** One that runs is only stopped for what its owner has asked for. */
function actOnRunning(
  view: InstanceView,
  desired: DesiredInstance,
  kept: OwnedContainer,
  context: PlanContext,
): InstancePlan {
  const { key, memory } = view;
  const end = (reason: StepReason): Step[] => [
    ...(reason === stepReasons.unhealthy ? [drainStep(kept, reason)] : []),
    ...(reason === stepReasons.unhealthy ? stopHooksSteps(kept, reason) : []),
    stopStep(kept, reason),
    ...stopPostSteps(kept, reason),
  ];
  if (startFailureOf(memory, kept) !== undefined) return { steps: end(stepReasons.startFailed) };
  const leftMs = readyInMs(kept, desired, memory, context.now);
  if (awaitsStartPost(kept, desired)) {
    if (leftMs !== undefined && leftMs <= 0) return { steps: end(stepReasons.startTimeout) };
    return { steps: startPostSteps(key, desired, kept.id, stepReasons.started, leftMs) };
  }
  const health = view.health?.find(({ containerId }) => containerId === kept.id);
  if (health?.status === 'unhealthy' && health.restarts) {
    return { steps: end(stepReasons.unhealthy) };
  }
  if (leftMs === undefined || health === undefined) return nothing;
  if (health.status === 'healthy') {
    const reason = stepReasons.becameReady;
    return { steps: [{ type: 'mark', key, desired, containerId: kept.id, reason, mark: 'ready' }] };
  }
  if (leftMs <= 0) return { steps: end(stepReasons.startTimeout) };
  return { steps: [], wakeAt: context.now + leftMs };
}

function decideEnd(
  view: Pick<InstanceView, 'memory'>,
  desired: DesiredInstance,
  ended: OwnedContainer,
  context: PlanContext,
): ReturnType<typeof decideRestart> {
  const { fenced } = view.memory;
  const interrupted =
    (fenced?.containerId === ended.id && fenced.startedAt === ended.startedAt) ||
    (context.interrupted?.(ended) ?? false);
  const { container, finished } = desired.placement;
  return decideRestart(ended, container, view.memory, interrupted, finished);
}

/** Whether an instance without a container is not to get one: it has had its run. */
export function isOver(
  { memory }: Pick<InstanceView, 'memory'>,
  { placement }: DesiredInstance,
): boolean {
  return placement.finished === true || (memory.ran && placement.container.restart === 'no');
}

function planCreation(
  view: InstanceView,
  desired: DesiredInstance,
  outdated: readonly OwnedContainer[],
  context: PlanContext,
): InstancePlan {
  // "restart: no" means one run; its container was removed by hand, and that must not become a second run.
  if (isOver(view, desired)) return nothing;
  const { network } = context;
  // Its predecessor still stops on another host.
  if (desired.placement.hold === true) return nothing;
  if (!context.mayCreate || network === undefined) return nothing;
  const old = outdated[0];
  const reason = old === undefined ? stepReasons.placed : whyOutdated(old, desired);
  const { key } = view;
  return {
    steps: [
      { type: 'image', key, desired, reason },
      ...(lacksContent(view, desired)
        ? [{ type: 'deliver', key, desired, containerId: undefined, reason } as const]
        : []),
      ...outdated.flatMap((container) => stopAndRemove(container, reason)),
      { type: 'create', key, desired, network, reason },
      ...(desired.placement.container.start === false
        ? []
        : startSteps(key, desired, undefined, reason)),
    ],
  };
}

/** Whether its files do not say what was decided. */
function lacksContent(view: InstanceView, desired: DesiredInstance): boolean {
  const { delivery } = desired.placement;
  return delivery !== undefined && view.delivered !== delivery.hash;
}

/**
 * New contents for a container that stays. One that runs is told. One that is about to be started gets its files first: after a
 * reboot they are gone, and the engine refuses to start it without.
 */
function deliverTo(
  view: InstanceView,
  desired: DesiredInstance,
  kept: OwnedContainer,
  next: readonly Step[],
): Step[] {
  // A paused one could not be told; it is when it goes on.
  if (!lacksContent(view, desired) || kept.state === 'paused') return [];
  if (!isLive(kept) && !next.some((step) => step.type === 'start')) return [];
  const reason =
    view.delivered === undefined ? stepReasons.contentLost : stepReasons.contentChanged;
  const containerId = kept.state === 'running' ? kept.id : undefined;
  return [{ type: 'deliver', key: view.key, desired, containerId, reason }];
}

function pauseEnd(memory: InstanceMemory, context: PlanContext): number | undefined {
  const retryAt = memory.failure?.retryAt;
  return retryAt !== undefined && retryAt > context.now ? retryAt : undefined;
}

const defaultGraceMs = 10_000;

function stopAndRemove(container: OwnedContainer, reason: StepReason): Step[] {
  const { key, id: containerId } = container;
  const remove: Step = { type: 'remove', key, containerId, reason };
  if (!isLive(container)) {
    return [...(owesStopPost(container) ? stopPostSteps(container, reason) : []), remove];
  }
  return [
    drainStep(container, reason),
    ...stopHooksSteps(container, reason),
    stopStep(container, reason),
    ...stopPostSteps(container, reason),
    remove,
  ];
}

/** Nobody waits for answers of one that is cut off or does not answer. */
const silentReasons: readonly StepReason[] = [stepReasons.unhealthy, stepReasons.networkChanged];

function drainStep({ key, id, state }: OwnedContainer, reason: StepReason): Step {
  const serves = state === 'running' && !silentReasons.includes(reason);
  return { type: 'drain', key, containerId: id, serves, reason };
}

function stopStep({ key, id, stopGraceMs }: OwnedContainer, reason: StepReason): Step {
  return { type: 'stop', key, containerId: id, graceMs: stopGraceMs ?? defaultGraceMs, reason };
}

function hasEnded({ state }: OwnedContainer): boolean {
  return state === 'exited' || state === 'dead';
}

const rank = ['running', 'paused', 'restarting', 'exited', 'created'];

/** Prefers what serves, then what has been there longest, then any fixed order. */
export function betterFirst(a: OwnedContainer, b: OwnedContainer): number {
  const byState = rank.indexOf(a.state) - rank.indexOf(b.state);
  if (byState !== 0) return byState;
  const byAge = (a.startedAt ?? '~').localeCompare(b.startedAt ?? '~');
  return byAge !== 0 ? byAge : a.id.localeCompare(b.id);
}
