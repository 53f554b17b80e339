import { cloneJson, isObject } from '../../api/json.ts';
import { Controller, type Result } from '../../runtime/controller.ts';
import type { ApiContext } from '../context.ts';
import { ApiError } from '../errors/api-error.ts';
import { removeObject } from '../handlers/delete.ts';
import type { KubeObject } from '../objects/object.ts';
import type { ObjectEvent } from '../storage/watch-cache.ts';
import { updateStored } from '../handlers/store-update.ts';

/** A namespace that is not empty yet is looked at again after this, even without an event. */
const lookAgainMs = 2_000;

/** Empties namespaces that are being deleted, and then lets them go. */
export class NamespaceController {
  readonly #context: ApiContext;
  readonly #controller: Controller;

  constructor(context: ApiContext) {
    this.#context = context;
    this.#controller = new Controller({
      name: 'namespace',
      reconcile: (name, _log, signal) => this.#finalize(name, signal),
      log: context.log,
      workers: 1,
      clock: context.clock,
    });
  }

  /** Runs until `signal` aborts. */
  run(signal: AbortSignal): Promise<void> {
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
    return this.#controller.run(signal);
  }

  #noticeAll(): void {
    for (const { object } of this.#context.cache.list('core/namespaces', '')) {
      if (object.metadata.deletionTimestamp !== undefined)
        this.#controller.enqueue(object.metadata.name ?? '');
    }
  }

  #notice({ current, previous }: ObjectEvent): void {
    const object = current?.object;
    if (object?.kind === 'Namespace' && object.apiVersion === 'v1') {
      if (object.metadata.deletionTimestamp !== undefined)
        this.#controller.enqueue(object.metadata.name ?? '');
      return;
    }
    const namespace = previous?.object.metadata.namespace;
    if (current !== undefined || namespace === undefined) return;
    if (this.#isTerminating(namespace)) this.#controller.enqueue(namespace);
  }

  #isTerminating(name: string): boolean {
    const namespace = this.#context.cache.get(
      'core/namespaces',
      `/nap/apiserver/core/namespaces/cluster/${name}`,
    );
    return namespace?.object.metadata.deletionTimestamp !== undefined;
  }

  async #finalize(name: string, signal: AbortSignal): Promise<Result> {
    try {
      const left = await this.#empty(name, signal);
      if (left > 0) return { requeueAfterMs: lookAgainMs };
      await this.#release(name);
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== 404) throw error;
    }
    return {};
  }

  /** Deletes everything in the namespace. Gives how many objects are left. */
  async #empty(name: string, signal: AbortSignal): Promise<number> {
    const { resources, objects } = this.#context;
    let left = 0;
    for (const resource of resources.stored()) {
      if (!resource.namespaced) continue;
      const listing = await objects.list(resource, name);
      for (const { object } of listing.items) {
        // What is done is done: a pass that took too long goes on in the next one.
        signal.throwIfAborted();
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
