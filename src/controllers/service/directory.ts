import { serviceSpec } from '../../api/v1alpha1/service-spec.ts';
import type { Service } from '../../api/v1alpha1/service.ts';
import { keyOf } from '../../kube/store.ts';
import { contentRefs, type ContentRef } from '../../api/v1alpha1/content.ts';
import { asksTheSame, wishOf, type ContentLookup, type ServiceWish } from './desired.ts';

/** Where the contents that Services name come from. */
export interface Contents {
  /** Says which ones `user` names from now on. */
  name(user: string, namespace: string, refs: readonly ContentRef[]): void;
  readonly lookup: ContentLookup;
}

const noContents: Contents = {
  name: () => undefined,
  lookup: () => ({ type: 'unknown', why: 'not read yet' }),
};

/** What all Service objects ask for, by the path of their records and by the name of the object. */
export class ServiceDirectory {
  readonly #byKey = new Map<string, ServiceWish>();
  readonly #byObject = new Map<string, ServiceWish>();
  readonly #contents: Contents;

  constructor(contents: Contents = noContents) {
    this.#contents = contents;
  }

  /** A Service is there or changed. Returns the serviceIds whose wish changed (two when its identity did). */
  put(object: Service): string[] {
    const name = keyOf(object);
    const before = this.#byObject.get(name);
    if (before !== undefined && asksTheSame(before.object, object)) {
      this.#set(name, { ...before, object });
      return [];
    }
    const changed = this.#drop(name);
    this.#contents.name(name, object.metadata.namespace ?? 'default', refsOf(object));
    const wish = wishOf(object, this.#contents.lookup);
    this.#set(name, wish);
    return [...new Set([...changed, wish.key])];
  }

  /** Contents changed that the object of this name uses. Returns its serviceId. */
  refresh(name: string): string | undefined {
    const before = this.#byObject.get(name);
    if (before === undefined) return undefined;
    this.#set(name, wishOf(before.object, this.#contents.lookup));
    return before.key;
  }

  /** A Service is gone. */
  remove(object: Pick<Service, 'metadata'>): string[] {
    const name = keyOf(object);
    this.#contents.name(name, object.metadata.namespace ?? 'default', []);
    return this.#drop(name);
  }

  #drop(name: string): string[] {
    const before = this.#byObject.get(name);
    if (before === undefined) return [];
    this.#byObject.delete(name);
    if (this.#byKey.get(before.key) === before) this.#byKey.delete(before.key);
    return [before.key];
  }

  /** By serviceId. */
  get(key: string): ServiceWish | undefined {
    return this.#byKey.get(key);
  }

  /** By `namespace/name` of the object. */
  ofObject(name: string): ServiceWish | undefined {
    return this.#byObject.get(name);
  }

  keys(): string[] {
    return [...this.#byKey.keys()];
  }

  #set(name: string, wish: ServiceWish): void {
    this.#byObject.set(name, wish);
    this.#byKey.set(wish.key, wish);
  }
}

const contentNames = serviceSpec.pick({ configs: true, envFrom: true });

/** Of an object that nobody has checked yet. */
function refsOf(object: Service): ContentRef[] {
  const { configs, envFrom } = (object.spec as Partial<Service['spec']> | undefined) ?? {};
  const parsed = contentNames.safeParse({ configs, envFrom });
  return parsed.success ? contentRefs(parsed.data) : [];
}
