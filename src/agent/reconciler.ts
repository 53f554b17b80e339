import { formatDuration } from '../api/v1alpha1/duration.ts';
import type { Clock } from '../runtime/clock.ts';
import type { Logger } from '../telemetry/log.ts';
import { instanceId, type ContainerSpec, type InstanceKey } from '../registry/records/index.ts';
import { LeaseLostError } from '../registry/store.ts';
import { isAborted } from '../runtime/aborted.ts';
import type { DesiredInstance, DesiredState } from './desired.ts';
import { EngineError, isUnavailable } from './docker/errors.ts';
import { DeliveryError } from './files/deliveries.ts';
import type { Executor } from './executor.ts';
import { HookError } from './hooks/hook-error.ts';
import type { HealthMonitor } from './health/monitor.ts';
import {
  blankMemory,
  nextFailure,
  noteRun,
  remember,
  withoutFailure,
  withoutStartFailure,
  withStartFailure,
  type InstanceMemory,
} from './memory.ts';
import type { ObservedState } from './observed.ts';
import { planInstance, type InstanceView, type PlanContext } from './plan.ts';
import { reportInstance, type Activity, type InstanceReport } from './report.ts';
import { stepReasons, type Step, type StepOf } from './steps.ts';
import type { TemplateKeeper } from './templates/template-keeper.ts';

/** Everything is planned again at least this often, whatever was or was not noticed. */
const fullPassMs = 30_000;
/** Reports of a pull's progress are at least this far apart; a change of phase is reported at once. */
const progressEveryMs = 1000;

export interface ReconcilerDeps {
  readonly host: string;
  readonly network: string;
  readonly desired: DesiredState;
  readonly observed: ObservedState;
  readonly executor: Executor;
  readonly health: HealthMonitor;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  /** What holds for all instances at this moment; undefined while the engine is away: then nothing is tried. */
  readonly context: () => Omit<PlanContext, 'known' | 'remembered' | 'now' | 'wallMs'> | undefined;
  /** Takes the report of an instance; `desired` is what it was computed for. */
  readonly onReport: (
    id: string,
    key: InstanceKey,
    report: InstanceReport,
    desired: DesiredInstance | undefined,
  ) => void;
  /** Hash of the contents in the files of an instance's container. Default: none has any. */
  readonly delivered?: (desired: DesiredInstance) => string | undefined;
  /** Takes note of an instance's containers, and tells what is wrong with its rendered files. Default: it has none. */
  readonly templates?: Pick<TemplateKeeper, 'observe'>;
  /** Told once, when everything has been reported for the first time. */
  readonly onInformed: () => void;
  /** Told when a step has found the engine unreachable. */
  readonly onUnavailable: () => void;
}

/** One instance as the reconciler keeps it. */
interface Cell {
  readonly key: InstanceKey;
  memory: InstanceMemory;
  /** Placement id and spec hash that `memory` is about: another one starts with a blank memory. */
  memoryOf: string;
  activity: Activity | undefined;
  worker: { readonly controller: AbortController; readonly serves: string } | undefined;
  cancelWake: (() => void) | undefined;
  shownAt: number;
}

/**
 * Brings the host's containers to what is placed here. Every change touches one instance; touched instances are planned
 * and reported together in the next turn of the event loop. For each instance at most one list of steps is under way; when it
 * ends (or fails) the instance is planned again, so that nothing is decided on what was true before.
 */
export class Reconciler {
  readonly #deps: ReconcilerDeps;
  readonly #cells = new Map<string, Cell>();
  readonly #dirty = new Map<string, InstanceKey>();
  readonly #workers = new Set<Promise<void>>();
  #scheduled = false;
  #running = false;
  /** Whether the engine and the registry have been read at least once: nothing is said before. */
  #informed = false;

  constructor(deps: ReconcilerDeps) {
    this.#deps = deps;
  }

  /** Runs until `signal` aborts; then breaks off pulls, waits for engine calls under way, and starts nothing more. */
  async run(signal: AbortSignal): Promise<void> {
    this.#running = true;
    this.touchAll();
    let cancelTimer = (): void => undefined;
    const again = (): void => {
      this.touchAll();
      cancelTimer = this.#deps.clock.schedule(again, fullPassMs);
    };
    cancelTimer = this.#deps.clock.schedule(again, fullPassMs);
    await new Promise<void>((resolve) => {
      if (isAborted(signal)) resolve();
      signal.addEventListener('abort', () => {
        resolve();
      });
    });
    this.#running = false;
    this.#deps.health.stop();
    cancelTimer();
    for (const cell of this.#cells.values()) {
      cell.cancelWake?.();
      cell.worker?.controller.abort();
    }
    await Promise.all(this.#workers);
  }

  /** Says that something about this instance may have changed. Cheap; may be called from anywhere. */
  touch(id: string, key: InstanceKey): void {
    this.#dirty.set(id, key);
    if (this.#scheduled || !this.#running) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#pass();
    });
  }

  /** Says that something about the host has changed. */
  touchAll(): void {
    for (const { key } of this.#deps.desired.all()) this.touch(instanceId(key), key);
    for (const { key } of this.#deps.observed.all()) this.touch(instanceId(key), key);
    for (const [id, { key }] of this.#cells) this.touch(id, key);
  }

  #pass(): void {
    if (!this.#running) return;
    const { desired, context } = this.#deps;
    const first = !this.#informed && desired.known && context() !== undefined;
    if (first) {
      this.#informed = true;
      this.touchAll();
    }
    const dirty = [...this.#dirty];
    this.#dirty.clear();
    for (const [id, key] of dirty) this.#reconcile(id, this.#cell(id, key));
    if (first) this.#deps.onInformed();
  }

  #cell(id: string, key: InstanceKey): Cell {
    let cell = this.#cells.get(id);
    if (cell === undefined) {
      cell = {
        key,
        memory: blankMemory,
        memoryOf: '',
        activity: undefined,
        worker: undefined,
        cancelWake: undefined,
        shownAt: 0,
      };
      this.#cells.set(id, cell);
    }
    return cell;
  }

  #reconcile(id: string, cell: Cell): void {
    cell.cancelWake?.();
    cell.cancelWake = undefined;
    const view = this.#view(id, cell);
    if (cell.worker !== undefined) {
      // Steps for a placement that is gone or has changed are not worth finishing.
      if (cell.worker.serves !== serving(view.desired) || this.#mustFence(view)) {
        cell.worker.controller.abort();
      }
    } else {
      this.#act(id, cell, view);
    }
    this.#report(id, cell, view);
    if (isIdle(cell) && view.desired === undefined && view.containers.length === 0)
      this.#cells.delete(id);
  }

  #view(id: string, cell: Cell): InstanceView {
    const containers = this.#deps.observed.of(id);
    const placed = this.#deps.desired.get(id);
    // The registry says nothing of it, and there is nothing to keep.
    const forgotten = placed?.remembered && this.#deps.desired.known && containers.length === 0;
    const desired = forgotten === true ? undefined : placed;
    const about = serving(desired);
    if (cell.memoryOf !== about) {
      cell.memory = blankMemory;
      cell.memoryOf = about;
    }
    let current: string | undefined;
    for (const container of containers) {
      if (container.placementId === desired?.id && container.specHash === desired.specHash) {
        current = container.id;
        const seen = remember(cell.memory, container, desired.placement.container);
        cell.memory = noteRun(seen, container, this.#deps.clock.monotonic());
      }
    }
    const check = desired?.placement.container.healthCheck;
    const health = this.#deps.health.observe(id, { key: cell.key, containers, current, check });
    const delivered = desired && this.#deps.delivered?.(desired);
    const hooks = this.#deps.observed.hooksOf(id);
    const trouble = this.#deps.templates?.observe(id, cell.key, desired, containers);
    const { key, memory } = cell;
    return { key, desired, containers, hooks, memory, health, delivered, trouble };
  }

  #act(id: string, cell: Cell, view: InstanceView): void {
    const { clock, context: hostContext, desired } = this.#deps;
    const host = hostContext();
    if (host === undefined) return;
    const context = {
      ...host,
      known: desired.judges(id),
      remembered: desired.remembered || view.desired?.remembered === true,
      now: clock.monotonic(),
      wallMs: clock.now(),
    };
    const plan = planInstance(view, context);
    if (plan.steps.length > 0) this.#work(id, cell, view.desired, plan.steps);
    else if (plan.wakeAt !== undefined) this.#wake(id, cell, plan.wakeAt - context.now);
  }

  /** What is fenced does not wait for the end of a pull. */
  #mustFence(view: InstanceView): boolean {
    if (!view.containers.some((container) => container.fenced && container.state === 'running'))
      return false;
    return this.#deps.context()?.licensed === false;
  }

  #report(id: string, cell: Cell, view: InstanceView): void {
    const { host, network, clock, desired } = this.#deps;
    // What is not known to be wanted or unwanted is reported when it is.
    if (!this.#informed || !desired.judges(id)) return;
    const interrupted = this.#deps.context()?.interrupted;
    const report = reportInstance(view, {
      host,
      network,
      activity: cell.activity,
      nowMs: clock.now(),
      ...(interrupted === undefined ? {} : { interrupted }),
    });
    this.#deps.onReport(id, cell.key, report, view.desired);
    if (report.changesInMs !== undefined && cell.cancelWake === undefined) {
      this.#wake(id, cell, report.changesInMs);
    }
  }

  #wake(id: string, cell: Cell, delayMs: number): void {
    cell.cancelWake = this.#deps.clock.schedule(() => {
      cell.cancelWake = undefined;
      this.touch(id, cell.key);
    }, delayMs);
  }

  #work(
    id: string,
    cell: Cell,
    desired: DesiredInstance | undefined,
    steps: readonly Step[],
  ): void {
    const controller = new AbortController();
    cell.worker = { controller, serves: serving(desired) };
    const done = this.#runSteps(id, cell, steps, controller.signal).finally(() => {
      cell.worker = undefined;
      cell.activity = undefined;
      this.#workers.delete(done);
      this.touch(id, cell.key);
    });
    this.#workers.add(done);
  }

  async #runSteps(
    id: string,
    cell: Cell,
    steps: readonly Step[],
    signal: AbortSignal,
  ): Promise<void> {
    const { executor, log } = this.#deps;
    const serves = cell.memoryOf;
    for (const step of steps) {
      if (isAborted(signal)) return;
      const show = (activity: Activity): void => {
        this.#show(id, cell, activity);
      };
      const startedAt = this.#deps.clock.monotonic();
      try {
        await executor.run(step, { show, signal });
        const tookMs = Math.round(this.#deps.clock.monotonic() - startedAt);
        if (step.type === 'stop') this.#stopped(cell, step, serves);
        if (step.type !== 'image' || tookMs > 100) {
          log.info({ instance: id, step: step.type, reason: step.reason, tookMs }, 'step done');
        }
      } catch (error) {
        if (!isAborted(signal)) this.#failed(id, cell, step, serves, error);
        return;
      }
    }
    // What worked ends a row of failures.
    if (cell.memoryOf !== serves) return;
    cell.memory = withoutFailure(cell.memory);
    const spec = this.#deps.desired.get(id)?.placement.container;
    if (steps.some((step) => completesStart(step, spec))) {
      cell.memory = withoutStartFailure(cell.memory);
    }
  }

  /** The exit code alone would look like an end that somebody wanted. */
  #stopped(cell: Cell, { reason, containerId }: StepOf<'stop'>, serves: string): void {
    if (cell.memoryOf !== serves) return;
    const startedAt = this.#deps.observed.get(containerId)?.startedAt;
    if (reason === stepReasons.unhealthy) {
      cell.memory = { ...cell.memory, stoppedFor: { containerId, startedAt } };
    } else if (reason === stepReasons.fenced) {
      cell.memory = { ...cell.memory, fenced: { containerId, startedAt } };
    } else if (reason === stepReasons.startTimeout) {
      const spec = this.#deps.desired.get(instanceId(cell.key))?.placement.container;
      const within = formatDuration(spec?.timeoutStartMs ?? 0);
      cell.memory = withStartFailure(cell.memory, {
        containerId,
        startedAt,
        cause: 'timeout',
        reason: 'StartTimeout',
        message: `not ready within ${within} of its start (timeoutStart)`,
        at: this.#deps.clock.now(),
      });
    }
  }

  /** What follows is for the restart policy to say, not for the pauses after failures of the agent's own. */
  #hookFailed(cell: Cell, step: Step, error: HookError): void {
    const { observed, clock, desired } = this.#deps;
    const { containerId, phase, ending, reason, message } = error;
    const container = observed.get(containerId);
    // Its own end says more than that nothing could be run in it any more.
    if (container === undefined || (phase === 'startPost' && container.state !== 'running')) return;
    cell.memory = withStartFailure(
      cell.memory,
      {
        containerId,
        startedAt: container.startedAt,
        cause: ending,
        reason,
        message,
        at: clock.now(),
      },
      desired.get(instanceId(step.key))?.placement.container,
    );
  }

  #failed(id: string, cell: Cell, step: Step, serves: string, error: unknown): void {
    const { log, clock, random } = this.#deps;
    const fields = { instance: id, step: step.type, why: step.reason, err: error };
    if (isUnavailable(error)) {
      log.warn(fields, 'the container engine went away during a step');
      this.#deps.onUnavailable();
      return;
    }
    if (error instanceof LeaseLostError) {
      log.warn(fields, 'not creating: the lease of this host is not proved alive');
      return;
    }
    if (error instanceof HookError) {
      log.warn({ ...fields, reason: error.reason }, error.message);
      if (cell.memoryOf === serves) this.#hookFailed(cell, step, error);
      return;
    }
    const known = error instanceof EngineError || error instanceof DeliveryError;
    const reason = known ? error.reason : 'StepFailed';
    const message = error instanceof Error ? error.message : String(error);
    if (cell.memoryOf === serves) {
      const before = cell.memory.failure;
      const failure = nextFailure(before, { reason, message }, clock.monotonic(), random());
      cell.memory = { ...cell.memory, failure };
      log.warn({ ...fields, reason, failures: failure.count }, failure.message);
    }
  }

  #show(id: string, cell: Cell, activity: Activity): void {
    const now = this.#deps.clock.monotonic();
    const samePhase =
      cell.activity?.phase === activity.phase && cell.activity.reason === activity.reason;
    cell.activity = activity;
    const waitMs = cell.shownAt + progressEveryMs - now;
    if (samePhase && waitMs > 0) {
      // The last word of a row must not be lost: it is told when its time has come.
      if (cell.cancelWake === undefined) this.#wake(id, cell, waitMs);
      return;
    }
    cell.shownAt = now;
    this.#report(id, cell, this.#view(id, cell));
  }
}

function isIdle(cell: Cell): boolean {
  return cell.worker === undefined && cell.cancelWake === undefined;
}

/** Whether a list of steps that has this one has brought a container up, when it is through. */
function completesStart(step: Step, spec: ContainerSpec | undefined): boolean {
  // It has to get ready in time, too, if there is a way to tell.
  if (spec?.timeoutStartMs !== undefined && spec.healthCheck !== undefined) {
    return step.type === 'mark' && step.mark === 'ready';
  }
  return step.type === 'start' || (step.type === 'hooks' && step.phase === 'startPost');
}

/** Tells one container of one placement from another. */
function serving(desired: DesiredInstance | undefined): string {
  return desired === undefined ? '' : `${desired.id}/${desired.specHash}`;
}
