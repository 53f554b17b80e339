import { healthDefaults, type HealthCheckSpec } from '../../api/v1alpha1/health-check.ts';
import type { InstanceKey } from '../../registry/records/index.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { OwnedContainer } from '../ownership.ts';
import { Semaphore } from '../semaphore.ts';
import type { Prober } from './probe.ts';
import {
  afterCheck,
  checkPauseMs,
  presumedHealth,
  startingHealth,
  type CheckResult,
  type HealthState,
  type HealthStatus,
  type HealthTimes,
} from './state.ts';

/** Connections are cheap; each exec starts a few processes in the engine. */
const parallelRequests = 32;
const parallelExecs = 4;
/** One first seen so long after its start (beyond its start period) was running before this agent looked. */
const unnoticedMs = 5000;
/** First checks after a start of the agent are spread over this time. */
const firstWithinMs = 500;

/** What is known of one container's health. */
export interface HealthView {
  readonly containerId: string;
  readonly status: HealthStatus;
  readonly message: string | undefined;
  readonly flaps: number;
  /** Whether it is to be stopped when unhealthy. */
  readonly restarts: boolean;
}

export interface HealthMonitorDeps {
  readonly network: string;
  readonly clock: Clock;
  readonly random: () => number;
  readonly prober: Prober;
  /** Called when what `observe` says of the instance has changed. */
  readonly onChange: (id: string, key: InstanceKey) => void;
}

/** The containers of one instance, and what is asked of them. */
export interface Checked {
  readonly key: InstanceKey;
  readonly containers: readonly OwnedContainer[];
  /** The container that is what the placement asks for, and its check. Others go on with the check that they had. */
  readonly current: string | undefined;
  readonly check: HealthCheckSpec | undefined;
}

interface Check {
  readonly spec: HealthCheckSpec;
  readonly times: HealthTimes & { readonly timeoutMs: number };
  container: OwnedContainer;
  state: HealthState;
  cancelTimer: (() => void) | undefined;
  under: AbortController | undefined;
}

interface Verdict {
  readonly status: HealthStatus;
  readonly flaps: number;
}

/**
 * Checks the health of this host's containers. It is told what there is each time that an instance is looked at
 * (`observe`), and has an instance looked at when its health has changed.
 *
 * A check that users have written is made here. The image's own HEALTHCHECK is made by the engine and only its verdict is read: it
 * runs there without an agent, shows in `docker ps`, and keeps its state over a restart of the agent. Never both: a
 * written check (and `disable`) switches the image's off at creation.
 */
export class HealthMonitor {
  readonly #deps: HealthMonitorDeps;
  readonly #requests = new Semaphore(parallelRequests);
  readonly #execs = new Semaphore(parallelExecs);
  /** By instance, then by container. */
  readonly #checks = new Map<string, Map<string, Check>>();
  /** What the engine said last, and how often it has changed its mind. */
  readonly #verdicts = new Map<string, Map<string, Verdict>>();
  #stopped = false;

  constructor(deps: HealthMonitorDeps) {
    this.#deps = deps;
  }

  /** Takes note of an instance's containers; returns what is known of the health of each that is checked. */
  observe(id: string, checked: Checked): readonly HealthView[] {
    const checks = this.#checks.get(id) ?? new Map<string, Check>();
    const verdicts = new Map<string, Verdict>();
    const views: HealthView[] = [];
    const present = new Set<string>();
    for (const container of checked.containers) {
      if (container.state !== 'running' && container.state !== 'paused') continue;
      const known = checks.get(container.id);
      const spec = container.id === checked.current ? checked.check : known?.spec;
      if (spec === undefined || spec.probe.type === 'image') {
        const view = verdictOf(container, spec, this.#verdicts.get(id)?.get(container.id));
        if (view === undefined) continue;
        verdicts.set(container.id, view);
        views.push(view);
      } else if (spec.probe.type !== 'none') {
        present.add(container.id);
        const check = this.#check(id, checked.key, container, spec, known);
        checks.set(container.id, check);
        views.push(viewOf(check));
      }
    }
    for (const [containerId, check] of checks) {
      if (present.has(containerId)) continue;
      halt(check);
      // A run that has ended has no health; what it did before is remembered until the container goes.
      if (!checked.containers.some((c) => c.id === containerId)) checks.delete(containerId);
    }
    if (verdicts.size > 0) this.#verdicts.set(id, verdicts);
    else this.#verdicts.delete(id);
    if (checks.size > 0) this.#checks.set(id, checks);
    else this.#checks.delete(id);
    return views;
  }

  /** Ends all checks. */
  stop(): void {
    this.#stopped = true;
    for (const checks of this.#checks.values()) for (const check of checks.values()) halt(check);
    this.#checks.clear();
  }

  #check(
    id: string,
    key: InstanceKey,
    container: OwnedContainer,
    spec: HealthCheckSpec,
    known: Check | undefined,
  ): Check {
    let check = known;
    if (check === undefined || check.container.startedAt !== container.startedAt) {
      if (check !== undefined) halt(check);
      const times = timesOf(spec);
      const unnoticed =
        check === undefined && this.#age(container) > times.startPeriodMs + unnoticedMs;
      const state = unnoticed ? presumedHealth(times) : startingHealth(times, check?.state.flaps);
      check = { spec, times, container, state, cancelTimer: undefined, under: undefined };
      this.#schedule(id, key, check, unnoticed ? this.#deps.random() * firstWithinMs : 0);
    }
    check.container = container;
    // A paused container answers nothing, and it is no fault of its own.
    if (container.state === 'paused') halt(check);
    else if (check.cancelTimer === undefined && check.under === undefined) {
      this.#schedule(id, key, check, 0);
    }
    return check;
  }

  #schedule(id: string, key: InstanceKey, check: Check, delayMs: number): void {
    if (this.#stopped) return;
    check.cancelTimer = this.#deps.clock.schedule(() => {
      check.cancelTimer = undefined;
      void this.#run(id, key, check);
    }, delayMs);
  }

  async #run(id: string, key: InstanceKey, check: Check): Promise<void> {
    const under = new AbortController();
    check.under = under;
    const { probe } = check.spec;
    const slots = probe.type === 'exec' ? this.#execs : this.#requests;
    let result: CheckResult;
    try {
      result = await slots.run(() => {
        const { id: containerId, addresses } = check.container;
        const target = { containerId, address: addresses[this.#deps.network] };
        return this.#deps.prober(probe, target, check.times.timeoutMs, under.signal);
      }, under.signal);
    } catch {
      // Aborted while it waited for its turn.
      return;
    }
    // The container has ended, was paused, or runs anew meanwhile: the answer is of another time.
    if (under.signal.aborted) return;
    check.under = undefined;
    const before = check.state;
    check.state = afterCheck(before, result, this.#age(check.container), check.times);
    this.#schedule(id, key, check, checkPauseMs(check.state, check.times, this.#deps.random()));
    if (check.state.status !== before.status || check.state.message !== before.message) {
      this.#deps.onChange(id, key);
    }
  }

  #age({ startedAt }: OwnedContainer): number {
    return startedAt === undefined ? 0 : this.#deps.clock.now() - Date.parse(startedAt);
  }
}

/** The engine's verdict about the image's own check. */
function verdictOf(
  { id: containerId, health }: OwnedContainer,
  spec: HealthCheckSpec | undefined,
  before: Verdict | undefined,
): HealthView | undefined {
  if (health === undefined) return undefined;
  const { status, message } = health;
  const flapped = before?.status === 'healthy' && status === 'unhealthy';
  const flaps = (before?.flaps ?? 0) + (flapped ? 1 : 0);
  return { containerId, status, message, flaps, restarts: spec?.unhealthyAction === 'restart' };
}

function timesOf(spec: HealthCheckSpec): Check['times'] {
  const { intervalMs, timeoutMs, retries, startPeriodMs } = healthDefaults;
  return {
    intervalMs: spec.intervalMs ?? intervalMs,
    timeoutMs: spec.timeoutMs ?? timeoutMs,
    retries: spec.retries ?? retries,
    startPeriodMs: spec.startPeriodMs ?? startPeriodMs,
  };
}

function viewOf({ container, spec, state }: Check): HealthView {
  const { status, message, flaps } = state;
  const restarts = spec.unhealthyAction === 'restart';
  return { containerId: container.id, status, message, flaps, restarts };
}

function halt(check: Check): void {
  check.cancelTimer?.();
  check.cancelTimer = undefined;
  check.under?.abort();
  check.under = undefined;
}
