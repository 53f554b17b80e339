import { createHash } from 'node:crypto';
import { notAcceptable } from '../errors/api-error.ts';
import { parseMediaTypes } from '../http/accept.ts';
import type { ApiRequest, Handled, Reply } from '../http/request.ts';
import { groupVersion, type ResourceRegistry } from '../resources/resource.ts';
import type { Discovered } from './discovered.ts';
import { virtualResources } from './reviews.ts';

const subresourceVerbs = ['get', 'patch', 'update'] as const;

/** Answers what the server serves: the old documents, one for each group version, and the new aggregated one. */
export class Discovery {
  readonly #all: readonly Discovered[];
  readonly #groups: readonly string[];

  constructor(resources: ResourceRegistry) {
    this.#all = [...resources.all, ...virtualResources];
    this.#groups = [...new Set(this.#all.map(({ group }) => group))].filter(
      (group) => group !== '',
    );
  }

  /** GET /api and GET /apis. */
  root(request: ApiRequest, path: '/api' | '/apis'): Handled {
    for (const { type, parameters } of parseMediaTypes(request.incoming.headers.accept ?? '*/*')) {
      const version = parameters.get('v');
      if (parameters.get('as') === 'APIGroupDiscoveryList') {
        if (
          type === 'application/json' &&
          parameters.get('g') === 'apidiscovery.k8s.io' &&
          (version === 'v2' || version === 'v2beta1')
        ) {
          return this.#aggregated(request, path, version);
        }
        continue;
      }
      if (type === 'application/json' || type === '*/*' || type === 'application/*')
        return this.#legacyRoot(path);
    }
    throw notAcceptable(['application/json']);
  }

  /** GET /apis/GROUP; undefined for a group that is not served. */
  group(name: string): Reply | undefined {
    return this.#groups.includes(name)
      ? { code: 200, body: { kind: 'APIGroup', apiVersion: 'v1', ...this.#apiGroup(name) } }
      : undefined;
  }

  /** GET /api/v1 and GET /apis/GROUP/VERSION; undefined when that is not served. */
  resourceList(gv: string): Reply | undefined {
    const served = this.#all.filter((resource) => groupVersion(resource) === gv);
    if (served.length === 0) return undefined;
    return {
      code: 200,
      body: {
        kind: 'APIResourceList',
        apiVersion: 'v1',
        groupVersion: gv,
        resources: served.flatMap(legacyEntries),
      },
    };
  }

  #legacyRoot(path: '/api' | '/apis'): Reply {
    if (path === '/api') {
      return {
        code: 200,
        body: { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] },
      };
    }
    return {
      code: 200,
      body: {
        kind: 'APIGroupList',
        apiVersion: 'v1',
        groups: this.#groups.map((name) => this.#apiGroup(name)),
      },
    };
  }

  #apiGroup(name: string): { name: string; versions: unknown[]; preferredVersion: unknown } {
    const versions = this.#versions(name).map((version) => ({
      groupVersion: `${name}/${version}`,
      version,
    }));
    return { name, versions, preferredVersion: versions[0] };
  }

  #versions(group: string): string[] {
    return [
      ...new Set(this.#all.filter((one) => one.group === group).map(({ version }) => version)),
    ];
  }

  #aggregated(request: ApiRequest, path: '/api' | '/apis', apiVersion: 'v2' | 'v2beta1'): Handled {
    const groups = path === '/api' ? [''] : this.#groups;
    const document = {
      kind: 'APIGroupDiscoveryList',
      apiVersion: `apidiscovery.k8s.io/${apiVersion}`,
      metadata: {},
      items: groups.map((group) => ({
        metadata: group === '' ? {} : { name: group },
        versions: this.#versions(group).map((version) => ({
          version,
          freshness: 'Current',
          resources: this.#all
            .filter((one) => one.group === group && one.version === version)
            .map(aggregatedEntry),
        })),
      })),
    };
    const etag = `"${createHash('sha512').update(JSON.stringify(document)).digest('hex').toUpperCase()}"`;
    const headers = {
      // kubectl takes plain application/json for an empty list of the old kind.
      'content-type': `application/json;g=apidiscovery.k8s.io;v=${apiVersion};as=APIGroupDiscoveryList`,
      etag,
      vary: 'Accept',
      'cache-control': 'public',
    };
    const known = (request.incoming.headers['if-none-match'] ?? '')
      .split(',')
      .map((tag) => tag.trim());
    return known.includes(etag)
      ? { code: 304, body: undefined, headers }
      : { code: 200, body: document, headers };
  }
}

function legacyEntries(resource: Discovered): unknown[] {
  const { plural, singular, namespaced, kind, verbs, shortNames, categories } = resource;
  const entries: unknown[] = [
    {
      name: plural,
      singularName: singular,
      namespaced,
      kind,
      verbs,
      ...(shortNames.length === 0 ? {} : { shortNames }),
      ...(categories.length === 0 ? {} : { categories }),
    },
  ];
  if (resource.status) {
    entries.push({
      name: `${plural}/status`,
      singularName: '',
      namespaced,
      kind,
      verbs: subresourceVerbs,
    });
  }
  if (resource.scale !== undefined) {
    entries.push({
      name: `${plural}/scale`,
      singularName: '',
      namespaced,
      group: 'autoscaling',
      version: 'v1',
      kind: 'Scale',
      verbs: subresourceVerbs,
    });
  }
  return entries;
}

function aggregatedEntry(resource: Discovered): unknown {
  const { group, version, plural, singular, namespaced, kind, verbs, shortNames, categories } =
    resource;
  const own = { group, version, kind };
  const subresources: unknown[] = [];
  if (resource.status) {
    subresources.push({ subresource: 'status', responseKind: own, verbs: subresourceVerbs });
  }
  if (resource.scale !== undefined) {
    const responseKind = { group: 'autoscaling', version: 'v1', kind: 'Scale' };
    subresources.push({ subresource: 'scale', responseKind, verbs: subresourceVerbs });
  }
  return {
    resource: plural,
    responseKind: own,
    scope: namespaced ? 'Namespaced' : 'Cluster',
    singularResource: singular,
    verbs,
    ...(shortNames.length === 0 ? {} : { shortNames }),
    ...(categories.length === 0 ? {} : { categories }),
    ...(subresources.length === 0 ? {} : { subresources }),
  };
}
