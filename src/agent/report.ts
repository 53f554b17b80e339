import { formatDuration } from '../api/v1alpha1/duration.ts';
import { areTwins } from '../network/address/twins.ts';
import type { EndpointRecord, InstancePhase, InstanceRecord } from '../registry/records/index.ts';
import { crashLoopRuns, enginePauseMs, lastRunMs, settleMs } from './crash-loop.ts';
import type { DesiredInstance } from './desired.ts';
import type { DeliveryErrorReason } from './files/deliveries.ts';
import { formatPause, startFailureOf, type StartFailure } from './memory.ts';
import { awaitsStartPost } from './hooks/plan-hooks.ts';
import {
  causeOf,
  decideRestart,
  decideStartFailure,
  type RestartDecision,
} from './restart/decision.ts';
import { engineRestarts } from './restart/engine-restarts.ts';
import { betterFirst, isOver, type InstanceView } from './plan.ts';
import type { OwnedContainer } from './ownership.ts';

/** What is being done to an instance at this moment. */
export interface Activity {
  readonly phase: 'Pulling' | 'Creating' | 'Starting' | 'Draining' | 'Stopping';
  /** The container concerned, when there is one. */
  readonly containerId?: string;
  /** What has gone wrong with it, though it goes on. */
  readonly reason?: string;
  /** E.g. the progress of a pull. */
  readonly message?: string;
}

export interface ReportContext {
  readonly host: string;
  /** Name of the Docker network whose address counts. */
  readonly network: string;
  readonly activity: Activity | undefined;
  /** Wall clock, milliseconds since the epoch: the engine's times are compared with it. */
  readonly nowMs: number;
  /** Whether the container was ended by the end of its engine or machine. Absent: none was. */
  readonly interrupted?: (ended: OwnedContainer) => boolean;
}

/** What the registry should say about an instance. */
export interface InstanceReport {
  /** Absent: nothing of it is here. */
  readonly record?: InstanceRecord;
  /** Present exactly while the instance serves. */
  readonly endpoint?: EndpointRecord;
  /** Milliseconds after which the report changes by itself. */
  readonly changesInMs?: number;
}

/** The report of one instance. Pure; texts depend on what happened and not on the present moment, so that quiet means no writes. */
export function reportInstance(view: InstanceView, context: ReportContext): InstanceReport {
  const { desired } = view;
  const shown = shownContainer(view);
  if (shown === undefined) {
    if (desired === undefined) return {};
    return { record: withoutContainer(view, desired, context) };
  }
  const { activity } = context;
  const leaving = leavingOf(shown, activity);
  const condition: Condition =
    desired === undefined || leaving !== undefined
      ? {
          ...failed(view),
          ...(desired && healthReason(view, shown)),
          ...(leaving ?? { phase: 'Stopping' }),
        }
      : conditionOf(view, desired, shown, context);
  const ip = shown.addresses[context.network];
  const health = view.health?.find(({ containerId }) => containerId === shown.id);
  const unsettledMs = condition.phase === 'Running' ? unsettled(view, shown, context) : 0;
  const ready =
    condition.phase === 'Created' ||
    (condition.phase === 'Running' &&
      shown.state === 'running' &&
      ip !== undefined &&
      unsettledMs === 0 &&
      (health === undefined || health.status === 'healthy'));
  const record: InstanceRecord = {
    id: shown.placementId,
    specHash: shown.specHash,
    ready,
    containerId: shown.id,
    restarts: view.memory.earlierRestarts + shown.restartCount,
    ...condition,
    ...(ip !== undefined && { ip }),
    ...(health !== undefined && { health: health.status }),
    ...(health !== undefined && health.flaps > 0 && { flaps: health.flaps }),
    ...(hasEnded(shown) && { exitCode: shown.exitCode }),
    ...(shown.startedAt !== undefined && { startedAt: shown.startedAt }),
  };
  return {
    record,
    ...(ready &&
      desired !== undefined &&
      ip !== undefined && {
        endpoint: endpointOf(desired, context.host, ip, shown.ipv6Addresses?.[context.network]),
      }),
    ...(unsettledMs > 0 && { changesInMs: unsettledMs }),
  };
}

interface Condition {
  phase: InstancePhase;
  reason?: string;
  message?: string;
}

/** How far a container is on its way out, if it is one of those that are being stopped. */
function leavingOf(shown: OwnedContainer, activity: Activity | undefined): Condition | undefined {
  if (activity?.containerId !== shown.id) return undefined;
  const { phase } = activity;
  return phase === 'Draining' || phase === 'Stopping' ? { phase, ...wordsOf(activity) } : undefined;
}

/** The container that stands for the instance: the placement's own, else an older one that still serves. */
function shownContainer({ desired, containers }: InstanceView): OwnedContainer | undefined {
  const own = containers.filter(
    (c) => c.placementId === desired?.id && c.specHash === desired.specHash,
  );
  return [...own].sort(betterFirst)[0] ?? [...containers].sort(betterFirst)[0];
}

function withoutContainer(
  view: InstanceView,
  desired: DesiredInstance,
  context: ReportContext,
): InstanceRecord {
  const { activity } = context;
  const { failure } = view.memory;
  const base = {
    id: desired.id,
    specHash: desired.specHash,
    ready: false,
    restarts: view.memory.earlierRestarts,
  };
  if (activity !== undefined) {
    const { phase, message } = activity;
    return { ...base, phase, ...(message !== undefined && { message }) };
  }
  if (failure !== undefined) {
    return { ...base, phase: 'Failed', reason: failure.reason, message: failure.message };
  }
  if (isOver(view, desired)) {
    const message =
      desired.placement.finished === true
        ? 'it has ended, and its container was removed by hand'
        : 'its container was removed by hand; with restart: no it does not run again';
    return { ...base, phase: 'Exited', reason: 'Removed', message };
  }
  return { ...base, phase: 'Creating' };
}

/** What can be wrong with a container that runs nevertheless: it has not got new contents. */
const deliveryTroubles: ReadonlySet<string> = new Set<DeliveryErrorReason>([
  'ConfigUnavailable',
  'ReloadFailed',
]);

function conditionOf(
  view: InstanceView,
  desired: DesiredInstance,
  shown: OwnedContainer,
  context: ReportContext,
): Condition {
  const { failure, crash } = view.memory;
  const shortRuns = crash?.shortRuns ?? 0;
  switch (shown.state) {
    case 'running': {
      // An older container that serves while its replacement cannot be made: say what holds it up.
      const unheard = failure !== undefined && deliveryTroubles.has(failure.reason);
      if (failure !== undefined && (unheard || !isOwn(shown, desired))) {
        return { phase: 'Running', reason: failure.reason, message: failure.message };
      }
      if (shortRuns >= crashLoopRuns && unsettled(view, shown, context) > 0) {
        return {
          phase: 'Running',
          reason: 'CrashLoop',
          message: `${endOf(shown)} before this run`,
        };
      }
      if (isOwn(shown, desired) && awaitsStartPost(shown, desired)) {
        const message = wordsOf(context.activity).message ?? 'its hooks after the start are next';
        return { phase: 'Starting', reason: 'StartPost', message };
      }
      const own = isOwn(shown, desired) ? view.trouble : undefined;
      return { phase: 'Running', ...own, ...healthReason(view, shown) };
    }
    case 'paused':
      return {
        phase: 'Running',
        reason: 'Paused',
        message: 'paused by something other than nap; unpause it to let it serve',
      };
    case 'restarting': {
      const pause = formatPause(enginePauseMs(Math.max(1, shortRuns)));
      const message = `${endOf(shown)}; next start in ${pause}`;
      return shortRuns >= crashLoopRuns
        ? { phase: 'Failed', reason: 'CrashLoop', message }
        : { phase: 'Starting', reason: shown.oomKilled ? 'OOMKilled' : 'Restarting', message };
    }
    case 'created': {
      const failure = failed(view) ?? startFailed(view, desired, shown);
      if (failure !== undefined) return failure;
      if (desired.placement.container.start === false) return { phase: 'Created' };
      return { phase: context.activity?.phase ?? 'Starting', ...wordsOf(context.activity) };
    }
    case 'dead':
    case 'removing':
      return failed(view) ?? { phase: context.activity?.phase ?? 'Starting' };
    case 'exited': {
      const failure = failed(view) ?? startFailed(view, desired, shown);
      if (failure !== undefined) return failure;
      const engines = engineRestarts(desired.placement.container);
      if (engines && causeOf(shown, view.memory) !== 'timeout') {
        const why: Condition = { phase: 'Starting', reason: 'Stopped', message: endOf(shown) };
        return failed(view) ?? why;
      }
      return ended(view, desired, shown, context);
    }
  }
}

/** What there is to say of one that runs and whose check does not pass. */
function healthReason(view: InstanceView, shown: OwnedContainer): Partial<Condition> {
  const health = view.health?.find(({ containerId }) => containerId === shown.id);
  if (health === undefined || health.status === 'healthy') return {};
  const { status, message } = health;
  return {
    reason: status === 'unhealthy' ? 'Unhealthy' : 'HealthUnknown',
    message:
      status === 'unhealthy'
        ? (message ?? 'its health check fails')
        : `not healthy yet${message === undefined ? '' : `: ${message}`}`,
  };
}

/** One whose last start came to nothing. */
function startFailed(
  view: InstanceView,
  desired: DesiredInstance,
  shown: OwnedContainer,
): Condition | undefined {
  const failure = startFailureOf(view.memory, shown);
  if (failure === undefined) return undefined;
  const { container: spec } = desired.placement;
  return afterStartFailure(failure, decideStartFailure(failure, spec, view.memory), spec);
}

function afterStartFailure(
  { reason, message, count }: StartFailure,
  decision: RestartDecision,
  spec: DesiredInstance['placement']['container'],
): Condition {
  switch (decision.type) {
    case 'start': {
      const again = `${message}; next start in ${formatPause(decision.pauseMs)}`;
      return { phase: count >= crashLoopRuns ? 'Failed' : 'Starting', reason, message: again };
    }
    case 'limit':
      return {
        phase: 'Failed',
        reason: 'StartLimitHit',
        message: overLimit(decision, spec, message),
      };
    case 'stay':
      return { phase: 'Failed', reason, message };
  }
}

function overLimit(
  { starts }: Extract<RestartDecision, { type: 'limit' }>,
  { startLimit }: DesiredInstance['placement']['container'],
  end: string,
): string {
  return `${String(starts)} starts within ${formatDuration(startLimit?.intervalMs ?? 0)}; ${end}`;
}

/** What is being done, in a form that goes into a record. */
function wordsOf(activity: Activity | undefined): { reason?: string; message?: string } {
  const { reason, message } = activity ?? {};
  return { ...(reason !== undefined && { reason }), ...(message !== undefined && { message }) };
}

/** One that is down and that the engine does not start again. */
function ended(
  view: InstanceView,
  desired: DesiredInstance,
  shown: OwnedContainer,
  context: ReportContext,
): Condition {
  const { container: spec, finished } = desired.placement;
  // Said of a oneshot, an end that is none would be believed.
  const interrupted = spec.oneshot === true && context.interrupted?.(shown) === true;
  const decision = decideRestart(shown, spec, view.memory, interrupted, finished);
  const { cause } = decision;
  if (cause === 'interrupted') {
    return { phase: 'Starting', reason: 'Interrupted', message: `${endOf(shown)} with its host` };
  }
  const end = cause === 'timeout' ? 'stopped because it was unhealthy' : endOf(shown);
  switch (decision.type) {
    case 'start': {
      const failure = failed(view);
      if (failure !== undefined) return failure;
      const message = `${end}; next start in ${formatPause(decision.pauseMs)}`;
      const crashes = cause !== 'clean' && (view.memory.crash?.shortRuns ?? 0) >= crashLoopRuns;
      if (crashes) return { phase: 'Failed', reason: 'CrashLoop', message };
      const reason =
        cause === 'oom' ? 'OOMKilled' : cause === 'timeout' ? 'Unhealthy' : 'Restarting';
      return { phase: 'Starting', reason, message };
    }
    case 'limit': {
      const message = overLimit(decision, spec, end);
      return { phase: 'Failed', reason: 'StartLimitHit', message };
    }
    case 'stay':
      return { phase: 'Exited', reason: endReasons[decision.cause], message: end };
  }
}

const endReasons = {
  clean: 'Completed',
  'exit-code': 'Error',
  signal: 'Killed',
  oom: 'OOMKilled',
  timeout: 'Unhealthy',
} as const;

function failed({ memory: { failure } }: InstanceView): Condition | undefined {
  if (failure === undefined) return undefined;
  return { phase: 'Failed', reason: failure.reason, message: failure.message };
}

function isOwn(container: OwnedContainer, desired: DesiredInstance): boolean {
  return container.placementId === desired.id && container.specHash === desired.specHash;
}

/** How much longer it must run before it counts as ready, milliseconds. */
function unsettled(view: InstanceView, shown: OwnedContainer, context: ReportContext): number {
  if (shown.state !== 'running' || shown.startedAt === undefined) return 0;
  const ranMs = context.nowMs - Date.parse(shown.startedAt);
  // It started before the clock was set back: nobody waits until the clock has come so far again.
  if (ranMs < 0) return 0;
  return Math.max(0, settleMs(view.memory.crash?.shortRuns ?? 0) - ranMs);
}

function hasEnded(container: OwnedContainer): boolean {
  return container.state === 'exited' || container.state === 'restarting';
}

/** "exited with code 3 after 0.2 s" */
function endOf(container: OwnedContainer): string {
  const killed = container.oomKilled
    ? 'killed for lack of memory'
    : `exited with code ${container.exitCode}`;
  const ran = lastRunMs(container);
  return ran === undefined ? killed : `${killed} after ${formatPause(ran)}`;
}

/** @param ipv6 told only if it is the twin of `ip`: other hosts let no other through. */
function endpointOf(
  desired: DesiredInstance,
  host: string,
  ip: string,
  ipv6: string | undefined,
): EndpointRecord {
  const ports = desired.placement.container.ports.map(({ containerPort, protocol }) => ({
    port: containerPort,
    protocol,
  }));
  const port = ports[0]?.port;
  return {
    host,
    ipv4_addr: ip,
    ...(ipv6 !== undefined && areTwins(ip, ipv6) && { ipv6_addr: ipv6 }),
    ...(port !== undefined && { port }),
    ports,
  };
}
