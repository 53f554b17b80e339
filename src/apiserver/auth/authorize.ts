import { authenticatedGroup, mastersGroup, type Identity } from './identity.ts';

/** What somebody wants to do to a resource. */
export interface ResourceAttributes {
  readonly verb: string;
  readonly group: string;
  /** Plural. */
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
}

/** A set of things allowed; `*` stands for everything. A subresource is written `services/status`. */
export interface PolicyRule {
  readonly verbs: readonly string[];
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  /** Only these objects; left out: all. */
  readonly resourceNames?: readonly string[];
}

/** Grants rules to groups, everywhere or in the namespaces named. */
export interface Grant {
  readonly groups: readonly string[];
  readonly namespaces?: readonly string[];
  readonly rules: readonly PolicyRule[];
}

const read = ['get', 'list', 'watch'];
const write = ['create', 'update', 'patch', 'delete', 'deletecollection'];

/** Groups (organizations of client certificates) that nap's own parts belong to. */
export const operatorsGroup = 'nap:operators';
export const agentsGroup = 'nap:agents';
export const viewersGroup = 'nap:viewers';

/**
 * Who may do what, beside `system:masters` who may do all. The operator may do exactly what its
 * ClusterRole for a real cluster says; agents speak to the registry only and may merely look.
 */
export const defaultGrants: readonly Grant[] = [
  {
    groups: [authenticatedGroup],
    rules: [
      {
        verbs: ['create'],
        apiGroups: ['authorization.k8s.io'],
        resources: ['selfsubjectaccessreviews', 'selfsubjectrulesreviews'],
      },
      {
        verbs: ['create'],
        apiGroups: ['authentication.k8s.io'],
        resources: ['selfsubjectreviews'],
      },
    ],
  },
  {
    groups: [operatorsGroup],
    rules: [
      { verbs: [...read, ...write], apiGroups: ['nap.dev'], resources: ['*'] },
      { verbs: read, apiGroups: [''], resources: ['namespaces'] },
      // Those that services name, each followed by name.
      { verbs: ['list', 'watch'], apiGroups: [''], resources: ['configmaps', 'secrets'] },
      {
        verbs: [...read, 'create', 'patch', 'update'],
        apiGroups: ['', 'events.k8s.io'],
        resources: ['events'],
      },
      {
        verbs: [...read, 'create', 'update', 'patch'],
        apiGroups: ['coordination.k8s.io'],
        resources: ['leases'],
      },
      {
        verbs: read,
        apiGroups: ['apiextensions.k8s.io'],
        resources: ['customresourcedefinitions'],
      },
    ],
  },
  {
    groups: [agentsGroup, viewersGroup],
    rules: [
      { verbs: read, apiGroups: ['nap.dev'], resources: ['*'] },
      { verbs: read, apiGroups: ['', 'events.k8s.io'], resources: ['namespaces', 'events'] },
    ],
  },
];

/** Decides with `grants`. */
export class Authorizer {
  readonly #grants: readonly Grant[];

  constructor(grants: readonly Grant[] = defaultGrants) {
    this.#grants = grants;
  }

  allows(user: Identity, wanted: ResourceAttributes): boolean {
    if (user.groups.includes(mastersGroup)) return true;
    return this.rulesFor(user, wanted.namespace).some((rule) => ruleCovers(rule, wanted));
  }

  /** Discovery, health and version are for every authenticated user; nothing else is outside resources. */
  allowsPath(user: Identity, verb: string, path: string): boolean {
    if (user.groups.includes(mastersGroup)) return true;
    if (isPublicPath(path) && verb === 'get') return true;
    return verb === 'get' && user.groups.includes(authenticatedGroup) && isDiscoveryPath(path);
  }

  /** All rules that `user` has in `namespace` (empty: cluster-wide). */
  rulesFor(user: Identity, namespace: string): PolicyRule[] {
    if (user.groups.includes(mastersGroup)) {
      return [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'] }];
    }
    return this.#grants
      .filter((grant) => grant.groups.some((group) => user.groups.includes(group)))
      .filter((grant) => grant.namespaces === undefined || grant.namespaces.includes(namespace))
      .flatMap((grant) => grant.rules);
  }
}

/** What probes and version checks may read without credentials. */
function isPublicPath(path: string): boolean {
  return /^\/(healthz|livez|readyz|version)(\/|$)/.test(path);
}

function isDiscoveryPath(path: string): boolean {
  return /^\/(api|apis|openapi)(\/|$)/.test(path);
}

function ruleCovers(rule: PolicyRule, wanted: ResourceAttributes): boolean {
  const resource =
    wanted.subresource === '' ? wanted.resource : `${wanted.resource}/${wanted.subresource}`;
  return (
    covers(rule.verbs, wanted.verb) &&
    covers(rule.apiGroups, wanted.group) &&
    covers(rule.resources, resource) &&
    (rule.resourceNames === undefined || rule.resourceNames.includes(wanted.name))
  );
}

const covers = (allowed: readonly string[], wanted: string): boolean =>
  allowed.includes('*') || allowed.includes(wanted);
