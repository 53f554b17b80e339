import type { KubeObject } from '../api/v1alpha1/meta.ts';
import type { ObjectName } from './resources.ts';

/** Values under which an object is found in an index; none keeps it out. */
export type IndexFunction<T> = (object: T) => readonly string[];

/** "namespace/name", or "name" for a cluster-scoped object: what work queues hold. */
export function keyOf(object: { readonly metadata: ObjectName }): string {
  return joinKey(object.metadata);
}

/** The key of a name. */
export function joinKey({ namespace, name }: ObjectName): string {
  return namespace === undefined ? name : `${namespace}/${name}`;
}

/** The name in a key. */
export function splitKey(key: string): ObjectName {
  const slash = key.indexOf('/');
  return slash === -1
    ? { name: key }
    : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}

/** An index of the values of a label. */
export function byLabel(label: string): IndexFunction<KubeObject> {
  return (object) => {
    const value = object.metadata.labels?.[label];
    return value === undefined ? [] : [value];
  };
}

/** An index of the uid of the controlling owner. */
export const byController: IndexFunction<KubeObject> = (object) =>
  (object.metadata.ownerReferences ?? [])
    .filter((owner) => owner.controller === true)
    .map((owner) => owner.uid);

/** Read side of a cache. The objects are shared: never change one. */
export interface ReadonlyObjectStore<T extends KubeObject> {
  readonly size: number;
  get(name: ObjectName): T | undefined;
  getByKey(key: string): T | undefined;
  /** All objects, or those of one namespace. */
  list(namespace?: string): T[];
  /** Objects that the index called `index` files under `value`. Throws RangeError for an unknown index. */
  byIndex(index: string, value: string): T[];
}

/** A cache of objects by key, with indexes. Lookups cost O(answer), changes O(values indexed). */
export class ObjectStore<T extends KubeObject> implements ReadonlyObjectStore<T> {
  readonly #objects = new Map<string, T>();
  readonly #indexes = new Map<string, Index<T>>();
  readonly #byNamespace = new Index<T>((object) =>
    object.metadata.namespace === undefined ? [] : [object.metadata.namespace],
  );

  constructor(indexes: Readonly<Record<string, IndexFunction<T>>> = {}) {
    for (const [name, valuesOf] of Object.entries(indexes)) {
      this.#indexes.set(name, new Index(valuesOf));
    }
  }

  get size(): number {
    return this.#objects.size;
  }

  get(name: ObjectName): T | undefined {
    return this.#objects.get(joinKey(name));
  }

  getByKey(key: string): T | undefined {
    return this.#objects.get(key);
  }

  list(namespace?: string): T[] {
    return namespace === undefined
      ? [...this.#objects.values()]
      : this.#resolve(this.#byNamespace.keys(namespace));
  }

  byIndex(index: string, value: string): T[] {
    const found = this.#indexes.get(index);
    if (found === undefined) throw new RangeError(`no index called ${index}`);
    return this.#resolve(found.keys(value));
  }

  keys(): string[] {
    return [...this.#objects.keys()];
  }

  /** Puts `object` in and returns what it replaces. */
  set(object: T): T | undefined {
    const key = keyOf(object);
    const previous = this.#objects.get(key);
    this.#objects.set(key, object);
    for (const index of this.#allIndexes()) index.move(key, previous, object);
    return previous;
  }

  /** Takes the object out and returns it. */
  delete(key: string): T | undefined {
    const previous = this.#objects.get(key);
    if (previous === undefined) return undefined;
    this.#objects.delete(key);
    for (const index of this.#allIndexes()) index.move(key, previous, undefined);
    return previous;
  }

  #allIndexes(): Index<T>[] {
    return [this.#byNamespace, ...this.#indexes.values()];
  }

  #resolve(keys: Iterable<string>): T[] {
    const objects: T[] = [];
    for (const key of keys) {
      const object = this.#objects.get(key);
      if (object !== undefined) objects.push(object);
    }
    return objects;
  }
}

/** Keys by indexed value. */
class Index<T> {
  readonly #valuesOf: IndexFunction<T>;
  readonly #keys = new Map<string, Set<string>>();

  constructor(valuesOf: IndexFunction<T>) {
    this.#valuesOf = valuesOf;
  }

  keys(value: string): Iterable<string> {
    return this.#keys.get(value) ?? [];
  }

  move(key: string, previous: T | undefined, next: T | undefined): void {
    for (const value of previous === undefined ? [] : this.#valuesOf(previous)) {
      const keys = this.#keys.get(value);
      keys?.delete(key);
      if (keys?.size === 0) this.#keys.delete(value);
    }
    for (const value of next === undefined ? [] : this.#valuesOf(next)) {
      const keys = this.#keys.get(value);
      if (keys === undefined) this.#keys.set(value, new Set([key]));
      else keys.add(key);
    }
  }
}
