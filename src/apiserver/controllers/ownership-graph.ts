import type { KubeObject, OwnerReference } from '../objects/object.ts';

/** An object as the garbage collector sees it. */
export interface GraphNode {
  readonly uid: string;
  readonly apiVersion: string;
  readonly kind: string;
  readonly namespace: string | undefined;
  readonly name: string;
  readonly owners: readonly OwnerReference[];
  readonly deleting: boolean;
  readonly finalizers: readonly string[];
}

/** Who owns whom, by uid; kept up to date from the events of the watch cache. */
export class OwnershipGraph {
  readonly #nodes = new Map<string, GraphNode>();
  readonly #dependents = new Map<string, Set<string>>();

  get(uid: string): GraphNode | undefined {
    return this.#nodes.get(uid);
  }

  all(): Iterable<GraphNode> {
    return this.#nodes.values();
  }

  /** Objects that name `uid` among their owners. */
  dependentsOf(uid: string): GraphNode[] {
    const found: GraphNode[] = [];
    for (const dependent of this.#dependents.get(uid) ?? []) {
      const node = this.#nodes.get(dependent);
      if (node !== undefined) found.push(node);
    }
    return found;
  }

  clear(): void {
    this.#nodes.clear();
    this.#dependents.clear();
  }

  put(object: KubeObject): GraphNode {
    const node = nodeOf(object);
    this.remove(node.uid);
    this.#nodes.set(node.uid, node);
    for (const { uid } of node.owners) {
      let dependents = this.#dependents.get(uid);
      if (dependents === undefined) this.#dependents.set(uid, (dependents = new Set()));
      dependents.add(node.uid);
    }
    return node;
  }

  remove(uid: string): void {
    for (const owner of this.#nodes.get(uid)?.owners ?? []) {
      const dependents = this.#dependents.get(owner.uid);
      dependents?.delete(uid);
      if (dependents?.size === 0) this.#dependents.delete(owner.uid);
    }
    this.#nodes.delete(uid);
  }

  /** Whether every owner that `node` names is there, just as it is named. Then nothing needs to be looked up. */
  ownersAreKnown(node: GraphNode): boolean {
    return node.owners.every((reference) => {
      const owner = this.#nodes.get(reference.uid);
      return (
        owner !== undefined &&
        !owner.deleting &&
        owner.name === reference.name &&
        owner.kind === reference.kind &&
        owner.apiVersion === reference.apiVersion &&
        (owner.namespace === undefined || owner.namespace === node.namespace)
      );
    });
  }
}

function nodeOf({ apiVersion, kind, metadata }: KubeObject): GraphNode {
  return {
    uid: metadata.uid ?? '',
    apiVersion,
    kind,
    namespace: metadata.namespace,
    name: metadata.name ?? '',
    owners: metadata.ownerReferences ?? [],
    deleting: metadata.deletionTimestamp !== undefined,
    finalizers: metadata.finalizers ?? [],
  };
}
