import { labels } from '../../api/v1alpha1/group.ts';
import type { Hook } from '../../api/v1alpha1/hooks.ts';
import { instanceId } from '../../registry/records/index.ts';
import type { Clock } from '../../runtime/clock.ts';
import { formatDuration } from '../../api/v1alpha1/duration.ts';
import { withAddress, type AddressPool } from '../addresses/address-pool.ts';
import type { ContainerAddress, Engine } from '../docker/engine.ts';
import { EngineError, isUnavailable } from '../docker/errors.ts';
import type { ObservedState } from '../observed.ts';
import { hookLabels, type HookIdentity, type OwnedContainer } from '../ownership.ts';
import type { Activity } from '../report.ts';
import { endCause } from '../restart/end-cause.ts';
import type { Semaphore } from '../semaphore.ts';
import type { HooksStep } from '../steps.ts';
import { hookField, HookError } from './hook-error.ts';
import { runOf, unmarkedName } from './mark.ts';

export interface HookRunnerDeps {
  readonly engine: Engine;
  readonly observed: ObservedState;
  readonly clock: Clock;
  /** Bounds what the engine has to create and start at a time. */
  readonly starts: Semaphore;
  /** Looks at a container again and notes the result in `observed`. */
  readonly refresh: (containerId: string) => Promise<void>;
  /** Absent: the engine gives out the addresses. */
  readonly addresses?: AddressPool;
}

/** How a hook ended; undefined `exitCode`: it had not ended in time. */
interface Outcome {
  readonly exitCode: number | undefined;
  readonly oomKilled: boolean;
  readonly output: string;
}

/** What of its output is told: the last lines, and of these the last characters. */
const toldLines = 5;
const toldCharacters = 300;
/** Labels of the container that those of its hooks have, too. */
const sharedLabels = [
  labels.host,
  labels.namespace,
  labels.project,
  labels.service,
  labels.ordinal,
  labels.seat,
  labels.instance,
  labels.specHash,
];

/**
 * Runs the hooks of one step. Those of `startPost` and `stop` that name no image are run in the container itself; all
 * others in containers of their own, which carry labels of the instance and of the hook: so its names are resolved as the
 * instance's are, no agent takes them for instances, and one that comes later finds them. When the wait is broken off
 * (the agent ends, the placement has changed) they are left as they are: the next plan takes them up again or removes them.
 */
export class HookRunner {
  readonly #deps: HookRunnerDeps;

  constructor(deps: HookRunnerDeps) {
    this.#deps = deps;
  }

  /** Throws HookError for the first that fails and may not; the rest is not run. */
  async run(
    step: HooksStep,
    containerId: string,
    show: (activity: Activity) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { clock, observed } = this.#deps;
    const main = observed.get(containerId);
    if (main === undefined) throw new EngineError('NotFound', `No such container: ${containerId}`);
    const { phase, hooks, timeoutMs } = step;
    const startedAt = clock.monotonic();
    const left = (): number => Math.max(1, Math.round(startedAt + timeoutMs - clock.monotonic()));
    for (const [index, hook] of hooks.entries()) {
      const identity = { phase, index, containerId, run: runOf(main) };
      if (index < this.#underWay(main, identity)) continue;
      signal.throwIfAborted();
      show({
        phase: phase === 'startPre' || phase === 'startPost' ? 'Starting' : 'Stopping',
        containerId,
        message: nameOf(step, index),
      });
      const inside = hook.image === undefined && (phase === 'startPost' || phase === 'stop');
      let outcome: Outcome;
      try {
        outcome = inside
          ? await this.#inside(hook, containerId, left(), signal)
          : await this.#beside(hook, identity, main, left, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (isUnavailable(error)) throw error;
        const said = error instanceof Error ? error.message : String(error);
        if (hook.ignoreFailure === true) continue;
        throw new HookError(phase, containerId, 'exit-code', `${nameOf(step, index)}: ${said}`);
      }
      const { exitCode, oomKilled } = outcome;
      if (exitCode === 0 || hook.ignoreFailure === true) continue;
      const cause = exitCode === undefined ? 'timeout' : endCause({ exitCode, oomKilled });
      throw new HookError(
        phase,
        containerId,
        // Signals that a service may end by are no success of a hook.
        cause === 'clean' ? 'signal' : cause,
        nameOf(step, index) + wordsOf(outcome, timeoutMs),
      );
    }
  }

  /** Index of the hook that an earlier agent has begun: those before it have been run. */
  #underWay(main: OwnedContainer, { phase, run }: HookIdentity): number {
    const begun = this.#deps.observed
      .hooksOf(instanceId(main.key))
      .flatMap(({ hook }) =>
        hook?.containerId === main.id && hook.phase === phase && hook.run === run
          ? [hook.index]
          : [],
      );
    return Math.max(0, ...begun);
  }

  async #inside(
    hook: Hook,
    containerId: string,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { engine } = this.#deps;
    const result = await engine.exec(containerId, hook.command ?? [], timeoutMs, signal);
    return { exitCode: result.exitCode, oomKilled: false, output: result.tail };
  }

  async #beside(
    hook: Hook,
    identity: HookIdentity,
    main: OwnedContainer,
    left: () => number,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { engine, observed, refresh, starts } = this.#deps;
    const { image } = hook;
    // It was pulled before the instance was made; somebody may have tidied up since.
    if (image !== undefined && !(await engine.hasImage(image, signal))) {
      const inTime = AbortSignal.any([signal, AbortSignal.timeout(left())]);
      await engine.pull(image, () => undefined, inTime);
    }
    const id = await starts.run(async () => {
      let found = this.#find(main, identity);
      if (found === undefined) {
        found = await withAddress(this.#deps.addresses, main.key, async (address) => {
          const id = await this.#create(hook, identity, main, address);
          await refresh(id);
          return id;
        });
      } else await refresh(found);
      if (observed.get(found)?.state !== 'created') return found;
      try {
        await engine.start(found, signal);
      } catch (error) {
        // Left for the next plan if the engine is away or nobody waits any more.
        if (!signal.aborted && !isUnavailable(error)) await engine.remove(found);
        throw error;
      }
      return found;
    }, signal);
    const exitCode = await engine.wait(id, left(), signal);
    const output = await engine.lastLines(id, toldLines, signal);
    await refresh(id);
    const oomKilled = observed.get(id)?.oomKilled === true;
    // Also ends what has not ended in time.
    await engine.remove(id);
    await refresh(id);
    return { exitCode, oomKilled, output };
  }

  #find(main: OwnedContainer, wanted: HookIdentity): string | undefined {
    for (const { id, hook } of this.#deps.observed.hooksOf(instanceId(main.key))) {
      if (hook === undefined || hook.containerId !== wanted.containerId) continue;
      const { phase, index, run } = hook;
      if (phase === wanted.phase && index === wanted.index && run === wanted.run) return id;
    }
    return undefined;
  }

  #create(
    hook: Hook,
    identity: HookIdentity,
    main: OwnedContainer,
    address: ContainerAddress | undefined,
  ): Promise<string> {
    const { image, command } = hook;
    const shared = Object.fromEntries(
      sharedLabels.flatMap((label) => {
        const value = main.labels[label];
        return value === undefined ? [] : [[label, value]];
      }),
    );
    // Not broken off by `signal`: half a create would leave a container that nobody knows of until the next listing.
    return this.#deps.engine.createBeside({
      containerId: main.id,
      name: `${unmarkedName(main.name)}.${identity.phase}-${String(identity.index)}`,
      labels: { ...shared, ...hookLabels(identity) },
      ...(image !== undefined && { image }),
      ...(command !== undefined && { command }),
      ...(address !== undefined && { address }),
    });
  }
}

/** "execStartPre[0] (migrate up)" */
function nameOf({ phase, hooks }: HooksStep, index: number): string {
  const { command, image } = hooks[index] ?? {};
  const what = command?.join(' ') ?? image ?? '';
  const short = what.length > 60 ? `${what.slice(0, 59)}…` : what;
  return `${hookField[phase]}[${String(index)}] (${short})`;
}

/** " exited with code 3: no such table" */
function wordsOf({ exitCode, oomKilled, output }: Outcome, timeoutMs: number): string {
  const end =
    exitCode === undefined
      ? ` not done within ${formatDuration(timeoutMs)}`
      : oomKilled
        ? ' killed for lack of memory'
        : ` exited with code ${String(exitCode)}`;
  const lines = output.trimEnd().split(/\r?\n/).slice(-toldLines);
  const said = lines
    .join(' | ')
    .replace(/[\u0000-\u001f\u007f]+/g, ' ')
    .trim();
  return said === '' ? end : `${end}: ${said.slice(-toldCharacters)}`;
}
