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

/** Groups (organizations of client certificates) that nap's own parts belong to. */
export const operatorsGroup = 'nap:operators';
export const agentsGroup = 'nap:agents';
export const viewersGroup = 'nap:viewers';

/**
 * Who may do what, beside `system:masters` who may do all. The operator may do exactly what
 * manifests/operator/rbac.yaml allows it on a real cluster (a test compares the two); agents speak to the registry only and may merely look.
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
      {
        apiGroups: ['nap.dev'],
        resources: ['projects'],
        verbs: ['list', 'watch', 'patch'],
      },
      {
        apiGroups: ['nap.dev'],
        resources: ['services'],
        verbs: ['get', 'list', 'watch', 'create', 'patch', 'delete'],
      },
      {
        apiGroups: ['nap.dev'],
        resources: ['hosts'],
        verbs: ['list', 'watch', 'create'],
      },
      {
        apiGroups: ['nap.dev'],
        resources: ['projects/status', 'services/status', 'hosts/status'],
        verbs: ['patch'],
      },
      {
        apiGroups: ['nap.dev'],
        resources: ['projects/finalizers', 'services/finalizers'],
        verbs: ['update'],
      },
      { apiGroups: [''], resources: ['events'], verbs: ['create', 'patch'] },
      // Those that services name, each followed by name.
      { apiGroups: [''], resources: ['configmaps', 'secrets'], verbs: ['list', 'watch'] },
      // Certificates that it obtains, and the account for that.
      { apiGroups: [''], resources: ['secrets'], verbs: ['create', 'update'] },
    ],
  },
  {
    groups: [operatorsGroup],
    namespaces: ['nap-system'],
    rules: [
      { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['create'] },
      {
        apiGroups: ['coordination.k8s.io'],
        resources: ['leases'],
        resourceNames: ['nap-operator'],
        verbs: ['get', 'update'],
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
