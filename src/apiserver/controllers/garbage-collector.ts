import { cloneJson } from '../../api/json.ts';
import { Controller } from '../../runtime/controller.ts';
import type { ApiContext } from '../context.ts';
import { ApiError } from '../errors/api-error.ts';
import { removeObject, type PropagationPolicy } from '../handlers/delete.ts';
import { updateStored } from '../handlers/store-update.ts';
import type { KubeObject, OwnerReference } from '../objects/object.ts';
import type { Resource } from '../resources/resource.ts';
import type { ObjectEvent } from '../storage/watch-cache.ts';
import { OwnershipGraph, type GraphNode } from './ownership-graph.ts';

const foreground = 'foregroundDeletion';
const orphan = 'orphan';

/** What a look at an owner showed. `waiting` owners are in foreground deletion. */
type OwnerState = 'solid' | 'dangling' | 'waiting';

/**
 * Removes objects whose owners are all gone, and carries out foreground and orphan deletion. What it decides on is
 * read from the store; the graph only says where to look. An owner of a kind that is not served counts as being there.
 * Source: k8s.io/kubernetes/pkg/controller/garbagecollector.
 */
export class GarbageCollector {
  readonly #context: ApiContext;
  readonly #graph = new OwnershipGraph();
  readonly #controller: Controller;

  constructor(context: ApiContext) {
    this.#context = context;
    this.#controller = new Controller({
      name: 'garbage collector',
      reconcile: (uid) => this.#collect(uid),
      log: context.log,
      workers: 1,
      clock: context.clock,
    });
  }

  /** Runs until `signal` aborts. */
  run(signal: AbortSignal): Promise<void> {
    this.#context.cache.follow(
      (event) => {
        this.#notice(event);
      },
      () => {
        this.#rebuild();
      },
    );
    this.#rebuild();
    return this.#controller.run(signal);
  }

  #rebuild(): void {
    this.#graph.clear();
    for (const { object } of this.#context.cache.everything()) this.#graph.put(object);
    for (const node of this.#graph.all()) this.#wakeIfDue(node);
  }

  #notice({ current, previous }: ObjectEvent): void {
    const uid = previous?.object.metadata.uid;
    if (uid !== undefined && uid !== current?.object.metadata.uid) this.#noticeGone(uid);
    if (current === undefined) return;
    const node = this.#graph.put(current.object);
    this.#wakeIfDue(node);
    // An owner in foreground deletion may have waited for this one to let go of it.
    for (const owner of previous?.object.metadata.ownerReferences ?? [])
      this.#wakeIfHeld(owner.uid);
    for (const owner of node.owners) this.#wakeIfHeld(owner.uid);
  }

  #noticeGone(uid: string): void {
    const owners = this.#graph.get(uid)?.owners ?? [];
    this.#graph.remove(uid);
    for (const dependent of this.#graph.dependentsOf(uid)) this.#controller.enqueue(dependent.uid);
    for (const owner of owners) this.#wakeIfHeld(owner.uid);
  }

  #wakeIfDue(node: GraphNode): void {
    if (isHeldByCollector(node)) this.#controller.enqueue(node.uid);
    else if (!node.deleting && !this.#graph.ownersAreKnown(node))
      this.#controller.enqueue(node.uid);
  }

  #wakeIfHeld(uid: string): void {
    const node = this.#graph.get(uid);
    if (node !== undefined && isHeldByCollector(node)) this.#controller.enqueue(uid);
  }

  async #collect(uid: string): Promise<void> {
    const node = this.#graph.get(uid);
    if (node === undefined) return;
    try {
      await this.#collectNode(node);
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== 404) throw error;
    }
  }

  async #collectNode(node: GraphNode): Promise<void> {
    const resource = this.#context.resources.byKind(node.apiVersion, node.kind);
    if (resource === undefined) return;
    const stored = await this.#context.objects.get(resource, node.namespace, node.name);
    if (stored?.object.metadata.uid !== node.uid) return;
    const { metadata } = stored.object;
    if (metadata.deletionTimestamp !== undefined) {
      if (metadata.finalizers?.includes(orphan) === true)
        await this.#orphanDependents(resource, node);
      else if (metadata.finalizers?.includes(foreground) === true)
        await this.#deleteDependents(resource, node);
      return;
    }
    await this.#checkOwners(resource, node, metadata.ownerReferences ?? []);
  }

  /** Takes the owner off its dependents, then lets the owner go. */
  async #orphanDependents(resource: Resource, owner: GraphNode): Promise<void> {
    for (const dependent of this.#graph.dependentsOf(owner.uid)) {
      const kind = this.#context.resources.byKind(dependent.apiVersion, dependent.kind);
      if (kind !== undefined) await this.#dropOwners(kind, dependent, new Set([owner.uid]));
    }
    await this.#dropFinalizer(resource, owner, orphan);
  }

  /** Deletes dependents; when none is left that blocks, the owner may go. */
  async #deleteDependents(resource: Resource, owner: GraphNode): Promise<void> {
    const dependents = this.#graph.dependentsOf(owner.uid);
    for (const dependent of dependents)
      if (!dependent.deleting) this.#controller.enqueue(dependent.uid);
    const blocking = dependents.some((dependent) =>
      dependent.owners.some(
        ({ uid, blockOwnerDeletion }) => uid === owner.uid && blockOwnerDeletion === true,
      ),
    );
    if (!blocking) await this.#dropFinalizer(resource, owner, foreground);
  }

  async #checkOwners(
    resource: Resource,
    node: GraphNode,
    owners: readonly OwnerReference[],
  ): Promise<void> {
    if (owners.length === 0) return;
    const states = await Promise.all(
      owners.map(async (owner) => ({ owner, state: await this.#ownerState(node, owner) })),
    );
    const lost = states.filter(({ state }) => state !== 'solid');
    if (lost.length === 0) return;
    if (lost.length < states.length) {
      await this.#dropOwners(resource, node, new Set(lost.map(({ owner }) => owner.uid)));
      return;
    }
    const waited = states.some(({ state }) => state === 'waiting');
    const blocked = this.#graph
      .dependentsOf(node.uid)
      .some((dependent) =>
        dependent.owners.some(
          ({ uid, blockOwnerDeletion }) => uid === node.uid && blockOwnerDeletion === true,
        ),
      );
    // In a foreground deletion the whole tree goes from the leaves up.
    const policy: PropagationPolicy | undefined =
      waited && blocked
        ? 'Foreground'
        : node.finalizers.some((name) => name === orphan || name === foreground)
          ? undefined
          : 'Background';
    await removeObject(this.#context, resource, node.namespace, node.name, {
      policy,
      dryRun: false,
      uid: node.uid,
      resourceVersion: undefined,
    });
  }

  async #ownerState(node: GraphNode, reference: OwnerReference): Promise<OwnerState> {
    const { resources, objects } = this.#context;
    const resource = resources.byKind(reference.apiVersion, reference.kind);
    if (resource === undefined) return 'solid';
    // A cluster-scoped object cannot have a namespaced owner: nobody can say which one is meant.
    if (resource.namespaced && node.namespace === undefined) return 'solid';
    const owner = await objects.get(resource, node.namespace, reference.name);
    if (owner?.object.metadata.uid !== reference.uid) return 'dangling';
    const { deletionTimestamp, finalizers = [] } = owner.object.metadata;
    return deletionTimestamp !== undefined && finalizers.includes(foreground) ? 'waiting' : 'solid';
  }

  async #dropOwners(resource: Resource, node: GraphNode, uids: ReadonlySet<string>): Promise<void> {
    await this.#edit(resource, node, (object) => {
      const left = (object.metadata.ownerReferences ?? []).filter(({ uid }) => !uids.has(uid));
      if (left.length > 0) object.metadata.ownerReferences = left;
      else delete object.metadata.ownerReferences;
    });
  }

  async #dropFinalizer(resource: Resource, node: GraphNode, finalizer: string): Promise<void> {
    await this.#edit(resource, node, (object) => {
      const left = (object.metadata.finalizers ?? []).filter((name) => name !== finalizer);
      if (left.length > 0) object.metadata.finalizers = left;
      else delete object.metadata.finalizers;
    });
  }

  /** Changes the object if it is still the same one; it may be gone. */
  async #edit(
    resource: Resource,
    node: GraphNode,
    edit: (object: KubeObject) => void,
  ): Promise<void> {
    try {
      await updateStored(this.#context, {
        resource,
        namespace: node.namespace,
        name: node.name,
        dryRun: false,
        change: (old) => {
          if (old.metadata.uid !== node.uid) return old;
          const next = cloneJson(old);
          edit(next);
          return next;
        },
      });
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== 404) throw error;
    }
  }
}

function isHeldByCollector(node: GraphNode): boolean {
  return node.deleting && node.finalizers.some((name) => name === foreground || name === orphan);
}
