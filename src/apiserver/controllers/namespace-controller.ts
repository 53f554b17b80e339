import { cloneJson, isObject } from '../../api/json.ts';
import type { ApiContext } from '../context.ts';
import { ApiError } from '../errors/api-error.ts';
import { removeObject } from '../handlers/delete.ts';
import type { KubeObject } from '../objects/object.ts';
import type { ObjectEvent } from '../storage/watch-cache.ts';
import { updateStored } from '../handlers/store-update.ts';
import { Wakeups } from './wakeups.ts';

/** A namespace that is not empty yet is looked at again after this, even without an event. */
const retryMs = 2_000;

/** Empties namespaces that are being deleted, and then lets them go. */
export class NamespaceController {
  readonly #context: ApiContext;
  readonly #wakeups: Wakeups;

  constructor(context: ApiContext) {
    this.#context = context;
    this.#wakeups = new Wakeups(context.clock);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { cache } = this.#context;
    cache.follow(
      (event) => {
        this.#notice(event);
      },
      () => {
        this.#noticeAll();
      },
    );
    this.#noticeAll();
    for (;;) {
      const name = await this.#wakeups.next(signal);
      if (name === undefined) return;
      await this.#finalize(name);
    }
  }

  #noticeAll(): void {
    for (const { object } of this.#context.cache.list('core/namespaces', '')) {
      if (object.metadata.deletionTimestamp !== undefined)
        this.#wakeups.wake(object.metadata.name ?? '');
    }
  }

  #notice({ current, previous }: ObjectEvent): void {
    const object = current?.object;
    if (object?.kind === 'Namespace' && object.apiVersion === 'v1') {
      if (object.metadata.deletionTimestamp !== undefined)
        this.#wakeups.wake(object.metadata.name ?? '');
      return;
    }
    const namespace = previous?.object.metadata.namespace;
    if (current !== undefined || namespace === undefined) return;
    if (this.#isTerminating(namespace)) this.#wakeups.wake(namespace);
  }

  #isTerminating(name: string): boolean {
    const namespace = this.#context.cache.get(
      'core/namespaces',
      `/nap/apiserver/core/namespaces/cluster/${name}`,
    );
    return namespace?.object.metadata.deletionTimestamp !== undefined;
  }

  async #finalize(name: string): Promise<void> {
    const { log } = this.#context;
    try {
      const left = await this.#empty(name);
      if (left === 0) await this.#release(name);
      else this.#wakeups.wakeAfter(name, retryMs);
    } catch (error) {
      if (error instanceof ApiError && error.code === 404) return;
      log.warn({ err: error, namespace: name }, 'namespace could not be emptied yet');
      this.#wakeups.wakeAfter(name, retryMs);
    }
  }

  /** Deletes everything in the namespace. Gives how many objects are left. */
  async #empty(name: string): Promise<number> {
    const { resources, objects } = this.#context;
    let left = 0;
    for (const resource of resources.stored()) {
      if (!resource.namespaced) continue;
      const listing = await objects.list(resource, name);
      for (const { object } of listing.items) {
        const gone = await this.#remove(resource, name, object);
        if (!gone) left++;
      }
    }
    return left;
  }

  async #remove(
    resource: Parameters<typeof removeObject>[1],
    namespace: string,
    object: KubeObject,
  ): Promise<boolean> {
    try {
      const result = await removeObject(
        this.#context,
        resource,
        namespace,
        object.metadata.name ?? '',
        {
          policy: 'Background',
          dryRun: false,
          uid: object.metadata.uid,
          resourceVersion: undefined,
        },
      );
      return result.gone;
    } catch (error) {
      if (error instanceof ApiError && error.code === 404) return true;
      throw error;
    }
  }

  /** Takes the finalizer `kubernetes` off: with nothing else holding it, the namespace is removed. */
  async #release(name: string): Promise<void> {
    const resource = this.#context.resources.find('v1', 'namespaces');
    if (resource === undefined) return;
    await updateStored(this.#context, {
      resource,
      namespace: undefined,
      name,
      dryRun: false,
      change: (old) => {
        if (old.metadata.deletionTimestamp === undefined) return old;
        const next = cloneJson(old);
        const spec = isObject(next['spec']) ? next['spec'] : {};
        const finalizers = Array.isArray(spec['finalizers'])
          ? (spec['finalizers'] as unknown[])
          : [];
        next['spec'] = { finalizers: finalizers.filter((finalizer) => finalizer !== 'kubernetes') };
        return next;
      },
    });
  }
}
