import { labels } from '../api/v1alpha1/group.ts';
import type { CreateRequest, Engine } from './docker/engine.ts';
import { EngineError, isNotFound } from './docker/errors.ts';
import { describeProgress } from './docker/pull.ts';
import type { Deliveries } from './files/deliveries.ts';
import { ImagePuller } from './image-puller.ts';
import type { ObservedState } from './observed.ts';
import type { Activity } from './report.ts';
import { Semaphore } from './semaphore.ts';
import { stepReasons, type Step, type StepOf, type StepType } from './steps.ts';
import type { VolumeKeeper } from './volume-keeper.ts';

/** The engine itself starts about 7 containers per second on two cores, however many are asked for at once. */
const parallelStarts = 8;
/** Stops mostly wait for the container's grace period. */
const parallelStops = 32;

export interface ExecutorDeps {
  readonly host: string;
  readonly engine: Engine;
  readonly observed: ObservedState;
  /** Looks at a container again and notes the result in `observed`. */
  readonly refresh: (containerId: string) => Promise<void>;
  /** Throws LeaseLostError unless this host's lease is proved alive. */
  readonly assertLicensed: () => void;
  /** Resolves when the registry has been told that the instance serves no more, or soon after if it cannot be told. */
  readonly withdraw: (step: StepOf<'stop'>) => Promise<void>;
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
  readonly #starts = new Semaphore(parallelStarts);
  readonly #stops = new Semaphore(parallelStops);
  /** A type of step without an entry here does not compile. */
  readonly #executors: Executors = {
    image: (step, context) => this.#image(step, context),
    deliver: (step, context) => this.#deliver(step, context),
    create: (step, context) => this.#create(step, context),
    start: (step, context) => this.#start(step, context),
    stop: (step, context) => this.#stop(step, context),
    remove: (step, context) => this.#remove(step, context),
  };

  constructor(deps: ExecutorDeps) {
    this.#deps = deps;
    this.#puller = new ImagePuller(deps.engine);
  }

  run(step: Step, context: StepContext): Promise<void> {
    const execute = this.#executors[step.type] as (
      step: Step,
      context: StepContext,
    ) => Promise<void>;
    return execute(step, context);
  }

  async #image(step: StepOf<'image'>, { show, signal }: StepContext): Promise<void> {
    const { image, pullPolicy } = step.desired.placement.container;
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
    await this.#starts.run(async () => {
      signal.throwIfAborted();
      this.#deps.assertLicensed();
      for (const mount of request.container.mounts) {
        if (mount.type === 'volume') await this.#ensureVolume(step, mount.name, signal);
      }
      const delivered = await this.#deps.deliveries?.forCreation(desired);
      // Not broken off by `signal`: half a create would leave a container that nobody knows of until the next listing.
      const containerId = await this.#createOrAdopt(
        delivered === undefined ? request : { ...request, delivered },
      );
      await this.#deps.refresh(containerId);
    }, signal);
  }

  async #ensureVolume(step: StepOf<'create'>, name: string, signal: AbortSignal): Promise<void> {
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
    if (step.containerId === undefined) show({ phase: 'Creating', message: 'configs' });
    await deliveries.deliver(step.key, step.desired, step.containerId, signal);
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
        if (found?.placementId === request.placementId && found.specHash === request.specHash) {
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
      if (step.containerId === undefined) this.#deps.assertLicensed();
      // It may have been stopped by an engine that is shutting down; then it starts again with the engine.
      else await this.#deps.engine.ping(signal);
      try {
        await this.#deps.engine.start(containerId);
      } finally {
        await this.#deps.refresh(containerId);
      }
    }, signal);
  }

  #createdFor(step: StepOf<'start'>): string {
    for (const container of this.#deps.observed.all()) {
      const { placementId, specHash } = container;
      if (placementId === step.desired.id && specHash === step.desired.specHash)
        return container.id;
    }
    throw new EngineError('NotFound', 'the container vanished between its creation and its start');
  }

  async #stop(step: StepOf<'stop'>, { show }: StepContext): Promise<void> {
    show({ phase: 'Stopping', containerId: step.containerId });
    await this.#deps.withdraw(step);
    await this.#stops.run(() => this.#deps.engine.stop(step.containerId, step.graceMs));
    // One that is not to be removed next must not look as if it ran still.
    if (step.reason === stepReasons.unhealthy) await this.#deps.refresh(step.containerId);
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
