import type { Service } from '../../api/v1alpha1/service.ts';
import { keyOf } from '../../kube/store.ts';
import { asksTheSame, wishOf, type ServiceWish } from './desired.ts';

/** What all Service objects ask for, by the path of their records and by the name of the object. */
export class ServiceDirectory {
  readonly #byKey = new Map<string, ServiceWish>();
  readonly #byObject = new Map<string, ServiceWish>();

  /** A Service is there or changed. Returns the serviceIds whose wish changed (two when its identity did). */
  put(object: Service): string[] {
    const name = keyOf(object);
    const before = this.#byObject.get(name);
    if (before !== undefined && asksTheSame(before.object, object)) {
      this.#set(name, { ...before, object });
      return [];
    }
    const changed = this.remove(object);
    const wish = wishOf(object);
    this.#set(name, wish);
    return [...new Set([...changed, wish.key])];
  }

  /** A Service is gone. */
  remove(object: Pick<Service, 'metadata'>): string[] {
    const name = keyOf(object);
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
