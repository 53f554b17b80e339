import type { FieldCause } from '../errors/api-error.ts';
import type { CompiledSchema, JsonSchema } from '../schema/types.ts';
import type { KubeObject } from '../objects/object.ts';

export type Verb =
  'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete' | 'deletecollection';

export const allVerbs: readonly Verb[] = [
  'create',
  'delete',
  'deletecollection',
  'get',
  'list',
  'patch',
  'update',
  'watch',
];

/** A column of `kubectl get`. `read` gives the cell; null prints as `<none>`. */
export interface Column {
  readonly name: string;
  readonly type: string;
  readonly format: string;
  readonly description: string;
  /** 0 = always, 1 = only with `-o wide`. */
  readonly priority: number;
  readonly read: (object: KubeObject, nowMs: number) => string | number | boolean | null;
}

/** Paths of the scale subresource, split into members. */
export interface ScalePaths {
  readonly specReplicas: readonly string[];
  readonly statusReplicas: readonly string[];
  readonly labelSelector: readonly string[] | undefined;
}

/** What is peculiar to one built-in kind. All functions may change the object they get: it is a private copy. */
export interface Strategy {
  /** Sets what the server owns on a new object. */
  prepareCreate?(object: KubeObject, nowMs: number): void;
  /** Carries over what clients may not change. */
  prepareUpdate?(object: KubeObject, old: KubeObject): void;
  validate?(object: KubeObject, old: KubeObject | undefined): readonly FieldCause[];
  /** Names that this kind allows; default: DNS subdomain. Gives what is wrong, or undefined. */
  validateName?(name: string): string | undefined;
  /** The form this version is stored in, and back: for kinds served in two group versions. */
  toStorage?(object: KubeObject): KubeObject;
  fromStorage?(object: KubeObject): KubeObject;
}

/** One kind that is served in one group version. */
export interface Resource {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly singular: string;
  readonly kind: string;
  readonly listKind: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly namespaced: boolean;
  readonly verbs: readonly Verb[];
  readonly status: boolean;
  readonly scale: ScalePaths | undefined;
  /** OpenAPI v3 schema of the kind, as in a CRD. */
  readonly schema: JsonSchema;
  readonly compiled: CompiledSchema;
  readonly columns: readonly Column[];
  /** Made from a CRD: apiVersion and kind are demanded, strategic merge is refused, generation is kept. */
  readonly custom: boolean;
  /** Folder under the storage prefix, like `core/events`. */
  readonly storage: string;
  /** Fields for field selectors beside metadata.name and metadata.namespace, by label. */
  readonly selectable: ReadonlyMap<string, readonly string[]>;
  readonly strategy: Strategy;
}

/** `v1` or `apps/v1`. */
export function groupVersion(resource: {
  readonly group: string;
  readonly version: string;
}): string {
  return resource.group === '' ? resource.version : `${resource.group}/${resource.version}`;
}

/** Every kind served, found by URL or by type. */
export class ResourceRegistry {
  readonly all: readonly Resource[];
  readonly #byPath = new Map<string, Resource>();
  readonly #byKind = new Map<string, Resource>();

  constructor(resources: readonly Resource[]) {
    this.all = resources;
    for (const resource of resources) {
      this.#byPath.set(`${groupVersion(resource)}/${resource.plural}`, resource);
      this.#byKind.set(`${groupVersion(resource)}/${resource.kind}`, resource);
    }
  }

  /** By group version (`v1`, `nap.dev/v1alpha1`) and plural. */
  find(gv: string, plural: string): Resource | undefined {
    return this.#byPath.get(`${gv}/${plural}`);
  }

  byKind(apiVersion: string, kind: string): Resource | undefined {
    return this.#byKind.get(`${apiVersion}/${kind}`);
  }

  /** One resource for each storage folder (a kind served in two versions appears once). */
  stored(): Resource[] {
    const seen = new Map<string, Resource>();
    for (const resource of this.all) {
      if (!seen.has(resource.storage)) seen.set(resource.storage, resource);
    }
    return [...seen.values()];
  }
}
