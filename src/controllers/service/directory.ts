import { serviceSpec } from '../../api/v1alpha1/service-spec.ts';
import type { Service } from '../../api/v1alpha1/service.ts';
import { keyOf } from '../../kube/store.ts';
import { contentRefs, type ContentRef } from '../../api/v1alpha1/content.ts';
import { parseLink } from '../../api/v1alpha1/link-string.ts';
import { serviceId } from '../../api/v1alpha1/names.ts';
import { linkedService } from '../../api/v1alpha1/resolve-links.ts';
import { identityOf } from '../identity.ts';
import {
  asksTheSame,
  wishOf,
  type ContentLookup,
  type LinkLookup,
  type ServiceWish,
} from './desired.ts';

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

const noLinks: LinkLookup = () => ({ type: 'unaddressed', why: 'not read yet' });

/** What all Service objects ask for, by the path of their records and by the name of the object. */
export class ServiceDirectory {
  readonly #byKey = new Map<string, ServiceWish>();
  readonly #byObject = new Map<string, ServiceWish>();
  readonly #contents: Contents;
  readonly #link: LinkLookup;
  /** serviceId → names of the objects that are linked to it. */
  readonly #linkedBy = new Map<string, Set<string>>();
  /** Name of an object → serviceIds that it is linked to. */
  readonly #linksOf = new Map<string, readonly string[]>();

  constructor(contents: Contents = noContents, link: LinkLookup = noLinks) {
    this.#contents = contents;
    this.#link = link;
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
    this.#setLinks(name, linksOf(object));
    const wish = this.#wish(object);
    this.#set(name, wish);
    // Those who are linked to it see its variables.
    return [...new Set([...changed, wish.key, ...this.refreshLinked(wish.key)])];
  }

  /** Contents changed that the object of this name uses. Returns its serviceId. */
  refresh(name: string): string | undefined {
    const before = this.#byObject.get(name);
    if (before === undefined) return undefined;
    this.#set(name, this.#wish(before.object));
    return before.key;
  }

  /** What is known of a service changed that others may be linked to. Returns their serviceIds. */
  refreshLinked(key: string): string[] {
    const users = [...(this.#linkedBy.get(key) ?? [])];
    return users.flatMap((user) => this.refresh(user) ?? []);
  }

  /** The same for all services that have links. */
  refreshAllLinked(): string[] {
    return [...this.#linksOf.keys()].flatMap((user) => this.refresh(user) ?? []);
  }

  /** A Service is gone. */
  remove(object: Pick<Service, 'metadata'>): string[] {
    const name = keyOf(object);
    this.#contents.name(name, object.metadata.namespace ?? 'default', []);
    this.#setLinks(name, []);
    return this.#drop(name);
  }

  #wish(object: Service): ServiceWish {
    return wishOf(object, { content: this.#contents.lookup, link: this.#link });
  }

  #setLinks(user: string, keys: readonly string[]): void {
    for (const key of this.#linksOf.get(user) ?? []) {
      const users = this.#linkedBy.get(key);
      users?.delete(user);
      if (users?.size === 0) this.#linkedBy.delete(key);
    }
    if (keys.length === 0) this.#linksOf.delete(user);
    else this.#linksOf.set(user, keys);
    for (const key of keys) {
      const users = this.#linkedBy.get(key);
      if (users === undefined) this.#linkedBy.set(key, new Set([user]));
      else users.add(user);
    }
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

/** serviceIds of what an object that nobody has checked yet is linked to. */
function linksOf(object: Service): string[] {
  const identity = identityOf(object.metadata);
  const { links } = (object.spec as Partial<Service['spec']> | undefined) ?? {};
  const parsed = linkNames.safeParse({ links });
  if (!parsed.success) return [];
  return (parsed.data.links ?? []).flatMap((text) => {
    try {
      return [serviceId(linkedService(identity, parseLink(text)))];
    } catch {
      // Told of where the object is read.
      return [];
    }
  });
}

const linkNames = serviceSpec.pick({ links: true });

const contentNames = serviceSpec.pick({
  configs: true,
  envFrom: true,
  routes: true,
  templates: true,
});

/** Of an object that nobody has checked yet. */
function refsOf(object: Service): ContentRef[] {
  const spec = (object.spec as Partial<Service['spec']> | undefined) ?? {};
  const { configs, envFrom, routes, templates } = spec;
  const parsed = contentNames.safeParse({ configs, envFrom, routes, templates });
  return parsed.success ? contentRefs(parsed.data) : [];
}
