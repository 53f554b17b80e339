import type { Authorizer } from './auth/authorize.ts';
import type { ApiContext } from './context.ts';
import {
  forbidden,
  methodNotAllowed,
  notFound,
  badRequest,
  resourceNotFound,
} from './errors/api-error.ts';
import { createObject } from './handlers/create.ts';
import { deleteCollection, deleteObject } from './handlers/delete.ts';
import { Discovery } from './handlers/discovery.ts';
import { finalizeNamespace } from './handlers/finalize.ts';
import { OpenApi } from './handlers/openapi.ts';
import { patchObject } from './handlers/patch.ts';
import { getObject, listObjects } from './handlers/read.ts';
import { answerReview, virtualResources } from './handlers/reviews.ts';
import { getScale, writeScale } from './handlers/scale.ts';
import { replaceObject } from './handlers/update.ts';
import { watchObjects } from './handlers/watch.ts';
import type { ApiRequest, Handled, Target } from './http/request.ts';
import { pathSegmentError } from './objects/names.ts';
import { groupVersion } from './resources/resource.ts';

/** What `GET /version` says. */
export interface VersionInfo {
  readonly major: string;
  readonly minor: string;
  readonly gitVersion: string;
  readonly gitCommit: string;
  readonly gitTreeState: string;
  readonly buildDate: string;
  readonly goVersion: string;
  readonly compiler: string;
  readonly platform: string;
}

export interface RouterOptions {
  readonly context: ApiContext;
  readonly authorizer: Authorizer;
  readonly version: VersionInfo;
  /** Names of the health checks that fail now; none when the server is ready. */
  readonly failing: (endpoint: 'livez' | 'readyz') => readonly string[];
}

/** A request whose path ends in a resource. */
interface ResourcePath {
  readonly gv: string;
  readonly namespace: string | undefined;
  readonly plural: string;
  readonly name: string | undefined;
  readonly subresource: string | undefined;
}

/** Finds the handler of a request, after asking whether its user may do that. */
export class Router {
  readonly #options: RouterOptions;
  readonly #discovery: Discovery;
  readonly #openApi: OpenApi;

  constructor(options: RouterOptions) {
    this.#options = options;
    this.#discovery = new Discovery(options.context.resources);
    this.#openApi = new OpenApi(options.context.resources);
  }

  async handle(request: ApiRequest): Promise<Handled> {
    const segments = pathSegments(request.path);
    const resourcePath = parseResourcePath(segments);
    if (resourcePath !== undefined) return this.#resource(request, resourcePath);
    return this.#document(request, segments);
  }

  #document(request: ApiRequest, segments: readonly string[]): Handled {
    const { authorizer, version } = this.#options;
    const verb = request.method === 'HEAD' ? 'get' : request.method.toLowerCase();
    if (!authorizer.allowsPath(request.user, verb, request.path)) {
      throw forbidden(
        { group: '', plural: '', kind: '' },
        '',
        `User "${request.user.name}" cannot ${verb} path "${request.path}"`,
      );
    }
    const [first = '', ...rest] = segments;
    const found = ((): Handled | undefined => {
      switch (first) {
        case '':
          return {
            code: 200,
            body: {
              paths: [
                '/api',
                '/api/v1',
                '/apis',
                '/healthz',
                '/livez',
                '/openapi/v2',
                '/openapi/v3',
                '/readyz',
                '/version',
              ],
            },
          };
        case 'version':
          return rest.length === 0 ? { code: 200, body: version } : undefined;
        case 'healthz':
        case 'livez':
        case 'readyz':
          return this.#health(first === 'livez' ? 'livez' : 'readyz', first, request);
        case 'openapi':
          return this.#openApi.answer(request, rest);
        case 'api':
          if (rest.length === 0) return this.#discovery.root(request, '/api');
          return rest.length === 1 ? this.#discovery.resourceList(rest[0] ?? '') : undefined;
        case 'apis':
          if (rest.length === 0) return this.#discovery.root(request, '/apis');
          if (rest.length === 1) return this.#discovery.group(rest[0] ?? '');
          return this.#discovery.resourceList(rest.join('/'));
        default:
          return undefined;
      }
    })();
    if (found === undefined || (first === '' && rest.length > 0)) return pageNotFound;
    if (verb !== 'get') throw methodNotAllowed();
    return found;
  }

  #health(endpoint: 'livez' | 'readyz', path: string, request: ApiRequest): Handled {
    const failing = this.#options.failing(endpoint);
    const headers = {
      'content-type': 'text/plain; charset=utf-8',
      'x-content-type-options': 'nosniff',
    };
    if (failing.length === 0) {
      const body = request.query.has('verbose') ? `[+]ping ok\n${path} check passed\n` : 'ok';
      return { code: 200, body, headers };
    }
    const lines = failing.map((name) => `[-]${name} failed: reason withheld`);
    return { code: 500, body: `${lines.join('\n')}\n${path} check failed\n`, headers };
  }

  async #resource(request: ApiRequest, path: ResourcePath): Promise<Handled> {
    const { context, authorizer } = this.#options;
    const resource = context.resources.find(path.gv, path.plural);
    const virtual = virtualResources.find(
      (one) => groupVersion(one) === path.gv && one.plural === path.plural,
    );
    const verb = verbOf(request, path);
    const slash = path.gv.indexOf('/');
    const group = slash < 0 ? '' : path.gv.slice(0, slash);
    const authorize = (wanted: string): void => {
      const allowed = authorizer.allows(request.user, {
        verb: wanted,
        group,
        resource: path.plural,
        subresource: path.subresource ?? '',
        namespace: path.namespace ?? '',
        name: path.name ?? '',
      });
      if (!allowed) throw this.#denied(request, path, wanted, group);
    };
    authorize(verb);
    if (virtual !== undefined) {
      if (request.method !== 'POST') throw methodNotAllowed();
      return answerReview(authorizer, request, virtual, context.clock.now());
    }
    if (resource === undefined) return this.#unknown(path);
    const target: Target = { resource, ...targetOf(path) };
    checkNames(target);
    return this.#dispatch(request, target, verb, () => {
      authorize('create');
    });
  }

  #unknown(path: ResourcePath): Handled {
    // An unknown group is plain text in Kubernetes; what is unknown inside a served one is a Status.
    if (this.#discovery.resourceList(path.gv) === undefined) return pageNotFound;
    throw resourceNotFound();
  }

  #denied(request: ApiRequest, path: ResourcePath, verb: string, group: string): Error {
    const resource =
      path.subresource === undefined ? path.plural : `${path.plural}/${path.subresource}`;
    const where =
      path.namespace === undefined
        ? 'at the cluster scope'
        : `in the namespace "${path.namespace}"`;
    return forbidden(
      { group, plural: path.plural, kind: path.plural },
      path.name ?? '',
      `User "${request.user.name}" cannot ${verb} resource "${resource}" in API group "${group}" ${where}`,
    );
  }

  async #dispatch(
    request: ApiRequest,
    target: Target,
    verb: string,
    authorizeCreate: () => void,
  ): Promise<Handled> {
    const { context } = this.#options;
    const { resource, subresource } = target;
    if (subresource !== undefined) return this.#subresource(request, target, authorizeCreate);
    if (!(resource.verbs as readonly string[]).includes(verb)) throw methodNotAllowed();
    const onOne = target.name !== undefined;
    const fits = verb === 'create' ? !onOne : onOne || (verb !== 'update' && verb !== 'patch');
    if (!fits) throw resource.custom ? badRequest('name must be provided') : methodNotAllowed();
    if (verb === 'create' && resource.namespaced && target.namespace === undefined) {
      throw methodNotAllowed();
    }
    switch (verb) {
      case 'get':
        return getObject(context, request, target);
      case 'list':
        return listObjects(context, request, target);
      case 'watch':
        return watchObjects(context, request, target);
      case 'create':
        return createObject(context, request, target);
      case 'update':
        return replaceObject(context, request, target);
      case 'patch':
        return patchObject(context, request, target, authorizeCreate);
      case 'delete':
        return deleteObject(context, request, target);
      case 'deletecollection':
        return deleteCollection(context, request, target);
      default:
        throw methodNotAllowed();
    }
  }

  async #subresource(
    request: ApiRequest,
    target: Target,
    authorizeCreate: () => void,
  ): Promise<Handled> {
    const { context } = this.#options;
    const { resource, subresource } = target;
    const { method } = request;
    if (subresource === 'finalize' && resource.storage === 'core/namespaces') {
      if (method !== 'PUT') throw methodNotAllowed();
      return finalizeNamespace(context, request, target);
    }
    if (subresource === 'scale' && resource.scale !== undefined) {
      if (method === 'GET') return getScale(context, target);
      if (method === 'PUT' || method === 'PATCH') return writeScale(context, request, target);
      throw methodNotAllowed();
    }
    if (subresource === 'status' && resource.status) {
      if (method === 'GET') return getObject(context, request, target);
      if (method === 'PUT') return replaceObject(context, request, target);
      if (method === 'PATCH') return patchObject(context, request, target, authorizeCreate);
      throw methodNotAllowed();
    }
    throw resourceNotFound();
  }
}

const pageNotFound: Handled = {
  code: 404,
  body: '404 page not found\n',
  headers: { 'content-type': 'text/plain; charset=utf-8', 'x-content-type-options': 'nosniff' },
};

/** Decoded segments of a path. 400 when it is not properly encoded. */
function pathSegments(path: string): string[] {
  try {
    return path
      .replace(/^\/|\/$/g, '')
      .split('/')
      .map((segment) => decodeURIComponent(segment));
  } catch {
    throw badRequest('the path is not properly encoded');
  }
}

function parseResourcePath(segments: readonly string[]): ResourcePath | undefined {
  const [root = ''] = segments;
  const start = root === 'api' ? 2 : root === 'apis' ? 3 : Number.POSITIVE_INFINITY;
  if (segments.length <= start) return undefined;
  const gv = segments.slice(1, start).join('/');
  const rest = segments.slice(start);
  const [head = '', namespace, plural, name, subresource, ...more] = rest;
  const ofNamespace = plural === 'status' || plural === 'finalize';
  if (
    head === 'namespaces' &&
    plural !== undefined &&
    !(gv === 'v1' && ofNamespace && rest.length === 3)
  ) {
    if (more.length > 0) return undefined;
    return { gv, namespace, plural, name, subresource };
  }
  if (rest.length > 3) return undefined;
  return { gv, namespace: undefined, plural: head, name: namespace, subresource: plural };
}

function targetOf(path: ResourcePath): Omit<Target, 'resource'> {
  return { namespace: path.namespace, name: path.name, subresource: path.subresource };
}

/** Names come from the URL into keys of the store: what is not one plain segment does not exist. */
function checkNames({ resource, namespace, name }: Target): void {
  for (const part of [namespace, name]) {
    if (
      part !== undefined &&
      (part === '' || part.length > 253 || pathSegmentError(part) !== undefined)
    ) {
      throw notFound(resource, part);
    }
  }
  if (!resource.namespaced && namespace !== undefined) throw resourceNotFound();
  if (resource.namespaced && namespace === undefined && name !== undefined)
    throw resourceNotFound();
}

function verbOf(request: ApiRequest, path: ResourcePath): string {
  const isWatch = ['true', '1'].includes(request.query.get('watch') ?? '');
  switch (request.method) {
    case 'GET':
    case 'HEAD':
      // As in Kubernetes, only collections are watched: a GET of one object answers it, whatever `watch` says.
      if (path.name !== undefined) return 'get';
      return isWatch ? 'watch' : 'list';
    case 'POST':
      return 'create';
    case 'PUT':
      return 'update';
    case 'PATCH':
      return 'patch';
    case 'DELETE':
      return path.name === undefined ? 'deletecollection' : 'delete';
    default:
      return request.method.toLowerCase();
  }
}
