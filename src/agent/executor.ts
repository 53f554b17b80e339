import { labels } from '../api/v1alpha1/group.ts';
import type { Clock } from '../runtime/clock.ts';
import { withAddress, type AddressPool } from './addresses/address-pool.ts';
import type { ContainerAddress, CreateRequest, Engine } from './docker/engine.ts';
import { EngineError, isNotFound } from './docker/errors.ts';
import { describeProgress } from './docker/pull.ts';
import type { DesiredInstance } from './desired.ts';
import type { Drainer } from './drain/drainer.ts';
import type { Deliveries } from './files/deliveries.ts';
import { ImagePuller } from './image-puller.ts';
import type { ObservedState } from './observed.ts';
import type { Activity } from './report.ts';
import type { ContainerSpec, InstanceKey } from '../registry/records/index.ts';
import { Semaphore } from './semaphore.ts';
import { HookError } from './hooks/hook-error.ts';
import { HookRunner } from './hooks/hook-runner.ts';
import { markedName, type Mark } from './hooks/mark.ts';
import { stepReasons, type Step, type StepOf, type StepReason, type StepType } from './steps.ts';
import type { VolumeKeeper } from './volume-keeper.ts';

/** No engine starts more by being asked for more at once (`make bench`, start60): beyond this, all of them only take longer. */
const mostParallelStarts = 8;
/** A start is a dozen short processes; a few at a time keep a processor busy. */
const parallelStartsPerCpu = 2;
/** Stops mostly wait for the container's grace period. */
const parallelStops = 32;

/** Why a container is stopped that is not removed next. */
const stays: ReadonlySet<StepReason> = new Set<StepReason>([
  stepReasons.unhealthy,
  stepReasons.startFailed,
  stepReasons.startTimeout,
  stepReasons.fenced,
]);

export interface ExecutorDeps {
  readonly host: string;
  /** Processors of this host. */
  readonly cpus: number;
  /** Name of the Docker network. */
  readonly network: string;
  readonly engine: Engine;
  readonly observed: ObservedState;
  readonly clock: Clock;
  /** Looks at a container again and notes the result in `observed`. */
  readonly refresh: (containerId: string) => Promise<void>;
  /** Throws LeaseLostError unless this host's lease is proved alive. */
  readonly assertLicensed: () => void;
  /** Resolves when the registry has been told that the instance serves no more, or soon after if it cannot be told. */
  readonly withdraw: () => Promise<void>;
  readonly drainer: Pick<Drainer, 'drain'>;
  /** Absent: the engine gives out the addresses. */
  readonly addresses?: AddressPool;
  /** Absent: this host takes no config files, and has told nobody a key for them. */
  readonly deliveries?: Deliveries;
  readonly volumes?: Pick<VolumeKeeper, 'prepare'>;
}

export interface StepContext {
  /** Shows what is going on. */
  readonly show: (activity: Activity) => void;
  /** Aborts when the placement that the steps serve is gone or changed. */
  readonly signal: AbortSignal;
}

type Executors = {
  readonly [Type in StepType]: (step: StepOf<Type>, context: StepContext) => Promise<void>;
};

/**
 * Carries steps out. Each may be repeated, and finds what an earlier try (of this agent or of one that was killed)
 * has left. Throws EngineError, LeaseLostError or the abort reason.
 */
export class Executor {
  readonly #deps: ExecutorDeps;
  readonly #puller: ImagePuller;
  readonly #hookRunner: HookRunner;
  readonly #starts: Semaphore;
  readonly #stops = new Semaphore(parallelStops);
  /** A type of step without an entry here does not compile. */
  readonly #executors: Executors = {
    image: (step, context) => this.#image(step, context),
    deliver: (step, context) => this.#deliver(step, context),
    create: (step, context) => this.#create(step, context),
    start: (step, context) => this.#start(step, context),
    drain: (step, context) => this.#drain(step, context),
    stop: (step, context) => this.#stop(step, context),
    remove: (step, context) => this.#remove(step, context),
    hooks: (step, context) => this.#hooks(step, context),
    mark: (step) => this.#mark(step.containerId ?? this.#createdFor(step), step.mark),
  };

  constructor(deps: ExecutorDeps) {
    this.#deps = deps;
    this.#starts = new Semaphore(Math.min(mostParallelStarts, parallelStartsPerCpu * deps.cpus));
    this.#puller = new ImagePuller(deps.engine);
    this.#hookRunner = new HookRunner({ ...deps, starts: this.#starts });
  }

  run(step: Step, context: StepContext): Promise<void> {
    const execute = this.#executors[step.type] as (
      step: Step,
      context: StepContext,
    ) => Promise<void>;
    return execute(step, context);
  }

  async #image(step: StepOf<'image'>, context: StepContext): Promise<void> {
    const { image, pullPolicy, hooks = {} } = step.desired.placement.container;
    const others = Object.values(hooks).flatMap((list) =>
      (list ?? []).flatMap((hook) => hook.image ?? []),
    );
    for (const each of new Set([image, ...others])) {
      await this.#fetch(each, pullPolicy, context);
    }
  }

  async #fetch(
    image: string,
    pullPolicy: ContainerSpec['pullPolicy'],
    { show, signal }: StepContext,
  ): Promise<void> {
    const { engine } = this.#deps;
    if (pullPolicy !== 'always' && (await engine.hasImage(image, signal))) return;
    if (pullPolicy === 'never') {
      throw new EngineError(
        'ImagePullFailed',
        `${image}: not on this host, and pullPolicy is never`,
      );
    }
    show({ phase: 'Pulling', message: image });
    await this.#puller.pull(
      image,
      (progress) => {
        show({ phase: 'Pulling', message: `${image}: ${describeProgress(progress)}` });
      },
      signal,
    );
  }

  async #create(step: StepOf<'create'>, { show, signal }: StepContext): Promise<void> {
    show({ phase: 'Creating' });
    const { desired } = step;
    const request: CreateRequest = {
      key: step.key,
      host: this.#deps.host,
      placementId: desired.id,
      specHash: desired.specHash,
      container: desired.placement.container,
      network: step.network,
    };
    const create = async (address: ContainerAddress | undefined): Promise<void> => {
      signal.throwIfAborted();
      this.#deps.assertLicensed();
      for (const mount of request.container.mounts) {
        if (mount.type === 'volume') await this.#ensureVolume(step, mount.name, signal);
      }
      const delivered = await this.#deps.deliveries?.forCreation(desired);
      // Not broken off by `signal`: half a create would leave a container that nobody knows of until the next listing.
      const containerId = await this.#createOrAdopt({
        ...request,
        ...(delivered !== undefined && { delivered }),
        ...(address !== undefined && { address }),
      });
      await this.#deps.refresh(containerId);
    };
    await this.#starts.run(() => withAddress(this.#deps.addresses, step.key, create), signal);
  }

  async #ensureVolume(
    step: StepOf<'create' | 'deliver'>,
    name: string,
    signal: AbortSignal,
  ): Promise<void> {
    const { engine, host, volumes } = this.#deps;
    const making = step.desired.placement.volumes?.[name];
    if (making?.external === true) {
      if (await engine.hasVolume(name, signal)) return;
      throw new EngineError(
        'VolumeMissing',
        `there is no volume ${name} on this host; it is external: somebody else has to make it`,
      );
    }
    await volumes?.prepare(name, signal);
    const owner = { [labels.host]: host, [labels.namespace]: step.key.namespace };
    const { driver, driverOpts } = making ?? {};
    await engine.ensureVolume(name, owner, {
      ...(driver === undefined ? {} : { driver }),
      ...(driverOpts === undefined ? {} : { driverOpts }),
    });
  }

  async #deliver(step: StepOf<'deliver'>, { show, signal }: StepContext): Promise<void> {
    const { deliveries } = this.#deps;
    if (deliveries === undefined) {
      throw new EngineError('EngineRefused', 'this agent has no place for config files');
    }
    const { templates, mounts } = step.desired.placement.container;
    if (step.containerId === undefined) show({ phase: 'Creating', message: 'configs' });
    // Files may be rendered into them, and are judged in a container that has them.
    for (const mount of templates === undefined ? [] : mounts) {
      if (mount.type === 'volume') await this.#ensureVolume(step, mount.name, signal);
    }
    const tell = (message: string): void => {
      show({ phase: 'Creating', message });
    };
    await deliveries.deliver(step.key, step.desired, step.containerId, tell, signal);
  }

  /** A name that is taken may be taken by an earlier try that was cut off before its answer came. */
  async #createOrAdopt(request: CreateRequest): Promise<string> {
    try {
      return await this.#deps.engine.create(request);
    } catch (error) {
      if (!(error instanceof EngineError) || error.reason !== 'Conflict') throw error;
      for (const { id } of await this.#deps.engine.listOwned(request.host)) {
        await this.#deps.refresh(id);
        const found = this.#deps.observed.get(id);
        if (found === undefined || found.hook !== undefined) continue;
        if (found.placementId === request.placementId && found.specHash === request.specHash) {
          return id;
        }
      }
      throw error;
    }
  }

  async #start(step: StepOf<'start'>, { show, signal }: StepContext): Promise<void> {
    const containerId = step.containerId ?? this.#createdFor(step);
    show({ phase: 'Starting', containerId });
    await this.#starts.run(async () => {
      signal.throwIfAborted();
      // What exists already may be started without a licence: the engine itself would, too.
      const isFenced = step.desired.placement.container.fencing !== undefined;
      if (step.containerId === undefined || isFenced) this.#deps.assertLicensed();
      // It may have been stopped by an engine that is shutting down; then it starts again with the engine.
      if (step.containerId !== undefined) await this.#deps.engine.ping(signal);
      try {
        await this.#startAt(containerId, step.key);
      } finally {
        await this.#deps.refresh(containerId);
      }
    }, signal);
  }

  /** Somebody else's container may have taken the address while this one did not run. */
  async #startAt(containerId: string, key: InstanceKey): Promise<void> {
    const { engine, addresses, network, observed } = this.#deps;
    try {
      await engine.start(containerId);
    } catch (error) {
      if (!(error instanceof EngineError) || error.reason !== 'AddressInUse') throw error;
      const taken = observed.get(containerId)?.assigned?.[network];
      if (addresses === undefined || taken === undefined) throw error;
      addresses.refuse(taken);
      await withAddress(addresses, key, async (address) => {
        await engine.readdress(containerId, network, address);
        await this.#deps.refresh(containerId);
      });
      await engine.start(containerId);
    }
  }

  #createdFor(step: { readonly desired: DesiredInstance | undefined }): string {
    for (const container of this.#deps.observed.all()) {
      const { placementId, specHash, hook } = container;
      if (hook !== undefined) continue;
      if (placementId === step.desired?.id && specHash === step.desired.specHash)
        return container.id;
    }
    throw new EngineError('NotFound', 'the container vanished between its creation and its start');
  }

  async #drain(step: StepOf<'drain'>, { show, signal }: StepContext): Promise<void> {
    const { containerId } = step;
    show({ phase: 'Draining', containerId });
    await this.#deps.drainer.drain(
      step,
      (message) => {
        show({ phase: 'Draining', containerId, message });
      },
      signal,
    );
  }

  async #stop(step: StepOf<'stop'>, { show }: StepContext): Promise<void> {
    show({ phase: 'Stopping', containerId: step.containerId });
    await this.#deps.withdraw();
    await this.#stops.run(() => this.#deps.engine.stop(step.containerId, step.graceMs));
    // One that is not to be removed next must not look as if it ran still.
    if (stays.has(step.reason)) await this.#deps.refresh(step.containerId);
  }

  async #hooks(step: StepOf<'hooks'>, { show, signal }: StepContext): Promise<void> {
    const containerId = step.containerId ?? this.#createdFor(step);
    const { phase } = step;
    if (phase === 'stop') {
      // Nobody sends it anything any more while it gets ready to stop.
      show({ phase: 'Stopping', containerId });
      await this.#deps.withdraw();
    }
    try {
      await this.#hookRunner.run(step, containerId, show, signal);
    } catch (error) {
      const goesOn = phase === 'stop' || phase === 'stopPost';
      if (!goesOn || !(error instanceof HookError)) throw error;
      // It may have stopped its container, which is what it is for.
      await this.#deps.refresh(containerId);
      if (phase === 'stop' && this.#deps.observed.get(containerId)?.state !== 'running') return;
      const { reason, message } = error;
      show({ phase: 'Stopping', containerId, reason, message });
      // Told before the instance is gone, and its report with it.
      await this.#deps.withdraw();
    }
  }

  async #mark(containerId: string, mark: Mark): Promise<void> {
    await this.#deps.refresh(containerId);
    const container = this.#deps.observed.get(containerId);
    if (container === undefined) return;
    await this.#deps.engine.rename(containerId, markedName(container, mark));
    await this.#deps.refresh(containerId);
  }

  async #remove(step: StepOf<'remove'>, { show }: StepContext): Promise<void> {
    show({ phase: 'Stopping', containerId: step.containerId });
    try {
      await this.#deps.engine.remove(step.containerId);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
    await this.#deps.refresh(step.containerId);
  }
}
