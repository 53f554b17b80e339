import { parseCron } from '../../api/v1alpha1/cron.ts';
import { parseDuration } from '../../api/v1alpha1/duration.ts';
import type { ScheduleSpec } from '../../api/v1alpha1/job-spec.ts';
import type { Service, ScheduleStatus } from '../../api/v1alpha1/service.ts';
import type { KubeClient } from '../../kube/client.ts';
import { isAlreadyExists, isConflict, isNotFound } from '../../kube/errors.ts';
import type { EventRecorder } from '../../kube/events.ts';
import { services } from '../../kube/resources.ts';
import type { ReadonlyObjectStore } from '../../kube/store.ts';
import { wholeSecondsTime } from '../../kube/times.ts';
import type { Clock } from '../../runtime/clock.ts';
import { planSchedule, surplus, type Run, type Schedule, type ScheduleMemory } from './plan.ts';
import { runName, runObject, runOf } from './run-object.ts';

/** A schedule is looked at at least this often: a machine's clock may be set. */
const longestWaitMs = 600_000;

export interface SchedulerOptions {
  readonly client: Pick<KubeClient, 'create' | 'delete'>;
  readonly objects: ReadonlyObjectStore<Service>;
  readonly events: Pick<EventRecorder, 'record'>;
  readonly clock: Clock;
}

/** What a pass over a scheduled service has come to. */
export interface Scheduled {
  readonly suspended: boolean;
  /** To be written into the Service's status: it is the memory of what was started. */
  readonly status: ScheduleStatus;
  /** Time until there is something to do again. */
  readonly requeueAfterMs: number;
}

/** Starts the runs of scheduled services when they are due, and does away with old ones. */
export class Scheduler {
  readonly #options: SchedulerOptions;

  constructor(options: SchedulerOptions) {
    this.#options = options;
  }

  /** Runs of a service that have not gone yet. */
  runs(parent: Service): Run[] {
    const uid = parent.metadata.uid ?? '';
    return this.#options.objects
      .byIndex('controller', uid)
      .flatMap((object) => runOf(object) ?? [])
      .toSorted((a, b) => b.atMs - a.atMs);
  }

  /**
   * Does what is due now. When the status cannot be written afterwards, the next pass finds the run by its object.
   * @param parent with the status as last written
   */
  async pass(parent: Service, spec: ScheduleSpec, signal: AbortSignal): Promise<Scheduled> {
    const { clock, client, events } = this.#options;
    const nowMs = clock.now();
    const runs = this.runs(parent);
    const schedule = scheduleOf(spec);
    const text = textOf(spec);
    const plan = planSchedule(schedule, memoryOf(parent, text), runs, nowMs);
    for (const run of [...plan.stop, ...plan.forget]) await this.#delete(parent, run, signal);
    const { nextMs, lastMs } = plan.memory;
    const due = lastMs === undefined ? '' : wholeSecondsTime(lastMs);
    if (plan.start !== undefined) {
      const name = runName(parent.metadata.name, plan.start);
      try {
        await client.create(services, runObject(parent, plan.start), signal);
        events.record(parent, 'Normal', 'RunStarted', `${name}, for ${due}`);
      } catch (error) {
        // Made by a pass whose status was never written.
        if (!isAlreadyExists(error)) throw error;
      }
      runs.unshift({ name, atMs: plan.start, state: 'active', leaving: false });
    }
    for (const run of plan.stop) {
      events.record(parent, 'Normal', 'RunStopped', `${run.name}: the next one takes its place`);
    }
    if (plan.leftOut !== undefined) {
      const why =
        plan.leftOut === 'late' ? 'it is too late for it' : 'the last one has not ended yet';
      events.record(parent, 'Warning', 'RunLeftOut', `the run for ${due}: ${why}`);
    }
    const gone = new Set([...plan.stop, ...plan.forget].map(({ name }) => name));
    const left = runs.filter(({ name }) => !gone.has(name));
    const wait = nextMs === undefined ? longestWaitMs : Math.min(longestWaitMs, nextMs - nowMs);
    return {
      suspended: schedule.suspend,
      status: this.#status(parent, text, plan.memory, left),
      requeueAfterMs: Math.max(1, wait),
    };
  }

  /** Asks for the deletion of all runs; says how many are left. */
  async teardown(parent: Service, signal: AbortSignal): Promise<number> {
    const runs = this.runs(parent);
    for (const run of runs) if (!run.leaving) await this.#delete(parent, run, signal);
    return runs.length;
  }

  /** For a service that has no schedule any more: what has ended goes, what runs may end. */
  async retire(parent: Service, signal: AbortSignal): Promise<void> {
    const old = surplus({ successfulRuns: 0, failedRuns: 0 }, this.runs(parent), Infinity);
    for (const run of old) await this.#delete(parent, run, signal);
  }

  async #delete(parent: Service, run: Run, signal: AbortSignal): Promise<void> {
    const { namespace } = parent.metadata;
    const id = { ...(namespace === undefined ? {} : { namespace }), name: run.name };
    const uid = this.#options.objects.get(id)?.metadata.uid;
    try {
      const preconditions = uid === undefined ? {} : { preconditions: { uid } };
      await this.#options.client.delete(services, id, preconditions, signal);
    } catch (error) {
      if (!isNotFound(error) && !isConflict(error)) throw error;
    }
  }

  #status(
    parent: Service,
    text: string,
    { nextMs, lastMs }: ScheduleMemory,
    runs: readonly Run[],
  ): ScheduleStatus {
    const summaries = runs.map((run) => {
      const { namespace } = parent.metadata;
      const id = { ...(namespace === undefined ? {} : { namespace }), name: run.name };
      const { state = 'Pending', completionTime } = this.#options.objects.get(id)?.status ?? {};
      return {
        name: run.name,
        scheduledAt: wholeSecondsTime(run.atMs),
        state,
        ...(completionTime === undefined ? {} : { completionTime }),
      };
    });
    const done = [
      parent.status?.schedule?.lastSuccessfulTime,
      ...summaries.map(({ state, completionTime }) =>
        state === 'Completed' ? completionTime : undefined,
      ),
    ].filter((time) => time !== undefined);
    const lastSuccessfulTime = done.toSorted().at(-1);
    return {
      observed: text,
      ...(lastMs === undefined ? {} : { lastScheduleTime: wholeSecondsTime(lastMs) }),
      ...(lastSuccessfulTime === undefined ? {} : { lastSuccessfulTime }),
      ...(nextMs === undefined ? {} : { nextScheduleTime: wholeSecondsTime(nextMs) }),
      active: runs.filter(({ state }) => state === 'active').length,
      runs: summaries,
    };
  }
}

/** What is remembered counts for the very times that it was computed for. */
function memoryOf(parent: Service, text: string): ScheduleMemory {
  const { observed, nextScheduleTime = '', lastScheduleTime = '' } = parent.status?.schedule ?? {};
  return {
    nextMs: observed === text ? timeOf(nextScheduleTime) : undefined,
    lastMs: timeOf(lastScheduleTime),
  };
}

function timeOf(text: string): number | undefined {
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? undefined : ms;
}

function textOf({ cron, timeZone = 'UTC' }: ScheduleSpec): string {
  return `${cron} ${timeZone}`;
}

/** @throws {InvalidValueError} for what `validateJobs` would have refused */
function scheduleOf(spec: ScheduleSpec): Schedule {
  const { cron, timeZone, concurrencyPolicy = 'allow', startingDeadline, suspend = false } = spec;
  const { successfulRuns = 3, failedRuns = 1 } = spec;
  return {
    times: parseCron(cron, timeZone),
    concurrency: concurrencyPolicy,
    startingDeadlineMs: startingDeadline === undefined ? Infinity : parseDuration(startingDeadline),
    successfulRuns,
    failedRuns,
    suspend,
  };
}
