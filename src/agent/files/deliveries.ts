import type { ContentBundle } from '../../api/v1alpha1/content.ts';
import type { ConfigFile } from '../../api/v1alpha1/container-spec.ts';
import { openBundle } from '../../registry/delivery-bundle.ts';
import { deliveryRecords } from '../../registry/records/delivery.ts';
import type { InstanceKey } from '../../registry/records/index.ts';
import { SealError, type HostKey } from '../../registry/seal.ts';
import type { Store } from '../../registry/store.ts';
import type { DesiredInstance } from '../desired.ts';
import type { CreateRequest, Engine } from '../docker/engine.ts';
import type { TemplateKeeper } from '../templates/template-keeper.ts';
import { TemplateTrouble } from '../templates/template-trouble.ts';
import type { FilesOf, FileStore } from './file-store.ts';
import { ReloadError, tellContainer } from './tell.ts';

/** Why an instance does not have its files. CamelCase: becomes the `reason` in instance records. */
export type DeliveryErrorReason =
  /** The contents are not in the registry, or cannot be opened here. */
  | 'ConfigUnavailable'
  /** The container did not take the news: the command failed or did not end. */
  | 'ReloadFailed';

export class DeliveryError extends Error {
  override readonly name = 'DeliveryError';
  readonly retryable = true;
  /** DeliveryErrorReason, or what is wrong with a template. */
  readonly reason: string;

  constructor(reason: string, message: string) {
    super(message);
    this.reason = reason;
  }
}

export interface DeliveriesDeps {
  readonly host: string;
  readonly store: Store;
  readonly engine: Pick<Engine, 'exec' | 'signal'>;
  readonly files: FileStore;
  readonly key: HostKey;
  /** Absent: templates are not taken here. */
  readonly templates?: TemplateKeeper;
}

/** Brings the contents that were delivered for an instance into its files, and tells its container. */
export class Deliveries {
  readonly #deps: DeliveriesDeps;

  constructor(deps: DeliveriesDeps) {
    this.#deps = deps;
  }

  get publicKey(): string {
    return this.#deps.key.publicKey;
  }

  /** Hash of the contents that the container of this placement and spec has. */
  version(desired: DesiredInstance): string | undefined {
    const version = this.#deps.files.version(filesOf(desired));
    if (version === undefined || desired.placement.container.templates === undefined)
      return version;
    return this.#deps.templates?.ready(desired, version) === true ? version : undefined;
  }

  /**
   * Writes the files. @param running container that has them mounted and is told of changes; undefined: none runs.
   * @throws {DeliveryError}
   */
  async deliver(
    key: InstanceKey,
    desired: DesiredInstance,
    running: string | undefined,
    show: (message: string) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { delivery, container } = desired.placement;
    if (delivery === undefined) return;
    const bundle = await this.#fetch(key, delivery.hash, signal);
    const files = container.files ?? [];
    const fits = (bundle.templates ?? []).length === (container.templates ?? []).length;
    if (bundle.files.length !== files.length || !fits) {
      throw new DeliveryError('ConfigUnavailable', 'what was delivered does not fit the container');
    }
    const of = filesOf(desired);
    const changed = await this.#deps.files.write(of, files, bundle);
    if (running !== undefined) {
      await this.#tell(
        running,
        changed.flatMap((index) => files[index] ?? []),
        signal,
      );
    }
    await this.#adopt(key, desired, bundle, running !== undefined, show, signal);
    await this.#deps.files.commit(of, bundle.hash);
  }

  /** What the engine has to be told of it when the container is created. */
  async forCreation(desired: DesiredInstance): Promise<CreateRequest['delivered']> {
    const { delivery, container } = desired.placement;
    if (delivery === undefined) return undefined;
    const { files, environment } = await this.ofConfigs(desired);
    const rendered = container.templates === undefined ? [] : this.#deps.templates?.mounts(desired);
    return { files: [...files, ...(rendered ?? [])], environment };
  }

  /** The part of it that comes from configs. */
  async ofConfigs(desired: DesiredInstance): Promise<NonNullable<CreateRequest['delivered']>> {
    const of = filesOf(desired);
    return {
      files: this.#deps.files.mounts(of, desired.placement.container.files ?? []),
      environment: await this.#deps.files.environment(of),
    };
  }

  /** Forgets what belongs to none of these. */
  async sweep(keep: Iterable<FilesOf>): Promise<void> {
    const kept = [...keep];
    await this.#deps.files.sweep(kept);
    await this.#deps.templates?.sweep(kept);
  }

  async #adopt(
    key: InstanceKey,
    desired: DesiredInstance,
    { hash, templates }: ContentBundle,
    running: boolean,
    show: (message: string) => void,
    signal: AbortSignal,
  ): Promise<void> {
    if (templates === undefined) return;
    const { templates: keeper } = this.#deps;
    if (keeper === undefined) {
      throw new DeliveryError('TemplateFailed', 'this agent has no place for rendered files');
    }
    try {
      await keeper.adopt(key, desired, { hash, templates }, running, show, signal);
    } catch (error) {
      if (!(error instanceof TemplateTrouble)) throw error;
      throw new DeliveryError(error.reason, error.message);
    }
  }

  async #fetch(key: InstanceKey, hash: string, signal: AbortSignal) {
    const { host, store, key: hostKey } = this.#deps;
    const path = deliveryRecords.path({ ...key, host });
    const entry = await store.get(path, signal);
    if (entry === undefined) {
      throw new DeliveryError(
        'ConfigUnavailable',
        'its configs have not been delivered to this host',
      );
    }
    try {
      const bundle = openBundle(hostKey, path, deliveryRecords.decode(entry.value).sealed);
      if (bundle.hash === hash) return bundle;
    } catch (error) {
      if (!(error instanceof SealError)) throw error;
      throw new DeliveryError('ConfigUnavailable', `its configs ${error.message}`);
    }
    throw new DeliveryError('ConfigUnavailable', 'other configs than these were delivered');
  }

  /** Each signal and each command once, however many files changed. */
  async #tell(
    containerId: string,
    changed: readonly ConfigFile[],
    signal: AbortSignal,
  ): Promise<void> {
    const { engine } = this.#deps;
    const signals = new Set(changed.flatMap(({ onChange }) => onChange?.signal ?? []));
    const commands = new Map(
      changed.flatMap(({ onChange }) =>
        onChange?.command === undefined
          ? []
          : [[JSON.stringify(onChange.command), onChange.command] as const],
      ),
    );
    for (const name of signals) await engine.signal(containerId, name, signal);
    for (const command of commands.values()) {
      try {
        await tellContainer(engine, containerId, { command }, signal);
      } catch (error) {
        if (!(error instanceof ReloadError)) throw error;
        throw new DeliveryError('ReloadFailed', error.message);
      }
    }
  }
}

function filesOf(desired: DesiredInstance): FilesOf {
  return { placementId: desired.id, specHash: desired.specHash };
}
