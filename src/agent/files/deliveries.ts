import type { ConfigFile } from '../../api/v1alpha1/container-spec.ts';
import { openBundle } from '../../registry/delivery-bundle.ts';
import { deliveryRecords } from '../../registry/records/delivery.ts';
import type { InstanceKey } from '../../registry/records/index.ts';
import { SealError, type HostKey } from '../../registry/seal.ts';
import type { Store } from '../../registry/store.ts';
import type { DesiredInstance } from '../desired.ts';
import type { CreateRequest, Engine } from '../docker/engine.ts';
import type { FilesOf, FileStore } from './file-store.ts';

/** Why an instance does not have its files. CamelCase: becomes the `reason` in instance records. */
export type DeliveryErrorReason =
  /** The contents are not in the registry, or cannot be opened here. */
  | 'ConfigUnavailable'
  /** The container did not take the news: the command failed or did not end. */
  | 'ReloadFailed';

export class DeliveryError extends Error {
  override readonly name = 'DeliveryError';
  readonly retryable = true;
  readonly reason: DeliveryErrorReason;

  constructor(reason: DeliveryErrorReason, message: string) {
    super(message);
    this.reason = reason;
  }
}

/** How long a reload command may take, milliseconds. */
const reloadTimeoutMs = 30_000;

export interface DeliveriesDeps {
  readonly host: string;
  readonly store: Store;
  readonly engine: Pick<Engine, 'exec' | 'signal'>;
  readonly files: FileStore;
  readonly key: HostKey;
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
    return this.#deps.files.version(filesOf(desired));
  }

  /**
   * Writes the files. @param running container that has them mounted and is told of changes; undefined: none runs.
   * @throws {DeliveryError}
   */
  async deliver(
    key: InstanceKey,
    desired: DesiredInstance,
    running: string | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const { delivery, container } = desired.placement;
    if (delivery === undefined) return;
    const bundle = await this.#fetch(key, delivery.hash, signal);
    const files = container.files ?? [];
    if (bundle.files.length !== files.length) {
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
    await this.#deps.files.commit(of, bundle.hash);
  }

  /** What the engine has to be told of it when the container is created. */
  async forCreation(desired: DesiredInstance): Promise<CreateRequest['delivered']> {
    const { delivery, container } = desired.placement;
    if (delivery === undefined) return undefined;
    const of = filesOf(desired);
    return {
      files: this.#deps.files.mounts(of, container.files ?? []),
      environment: await this.#deps.files.environment(of),
    };
  }

  /** Forgets what belongs to none of these. */
  async sweep(keep: Iterable<FilesOf>): Promise<void> {
    await this.#deps.files.sweep(keep);
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
      const { exitCode, output } = await engine.exec(containerId, command, reloadTimeoutMs, signal);
      if (exitCode === 0) continue;
      const words = command.join(' ');
      throw new DeliveryError(
        'ReloadFailed',
        exitCode === undefined
          ? `${words}: has not ended after ${String(reloadTimeoutMs / 1000)} s`
          : `${words}: exit code ${String(exitCode)}${output === '' ? '' : `: ${output.trim()}`}`,
      );
    }
  }
}

function filesOf(desired: DesiredInstance): FilesOf {
  return { placementId: desired.id, specHash: desired.specHash };
}
