import { isObject, type JsonObject } from '../../api/json.ts';
import type { Authorizer, PolicyRule } from '../auth/authorize.ts';
import { badRequest } from '../errors/api-error.ts';
import { contentType, decodeObjectBody, readBody } from '../http/body.ts';
import type { ApiRequest, Reply } from '../http/request.ts';
import { kubeTime } from '../objects/object.ts';
import type { Discovered } from './discovered.ts';

/** Questions that a client asks about itself by "creating" an object; nothing is stored. */
const review = (group: string, plural: string, kind: string): Discovered => ({
  group,
  version: 'v1',
  plural,
  singular: kind.toLowerCase(),
  kind,
  shortNames: [],
  categories: [],
  namespaced: false,
  verbs: ['create'],
  status: false,
  scale: undefined,
});

export const virtualResources: readonly Discovered[] = [
  review('authorization.k8s.io', 'selfsubjectaccessreviews', 'SelfSubjectAccessReview'),
  review('authorization.k8s.io', 'selfsubjectrulesreviews', 'SelfSubjectRulesReview'),
  review('authentication.k8s.io', 'selfsubjectreviews', 'SelfSubjectReview'),
];

/** POST of one of the reviews. */
export async function answerReview(
  authorizer: Authorizer,
  request: ApiRequest,
  kind: Discovered,
  nowMs: number,
): Promise<Reply> {
  const body = decodeObjectBody(contentType(request.incoming), await readBody(request.incoming));
  const spec = isObject(body.object['spec']) ? body.object['spec'] : {};
  const document = (status: JsonObject, withSpec = true): Reply => ({
    code: 201,
    body: {
      kind: kind.kind,
      apiVersion: `${kind.group}/${kind.version}`,
      metadata: { creationTimestamp: withSpec ? null : kubeTime(nowMs) },
      ...(withSpec ? { spec } : {}),
      status,
    },
  });
  switch (kind.kind) {
    case 'SelfSubjectAccessReview':
      return document({ allowed: isAllowed(authorizer, request, spec) });
    case 'SelfSubjectRulesReview': {
      const rules = authorizer.rulesFor(request.user, text(spec, 'namespace'));
      return document({
        resourceRules: rules.map(resourceRule),
        nonResourceRules: [
          {
            verbs: ['get'],
            nonResourceURLs: [
              '/api',
              '/api/*',
              '/apis',
              '/apis/*',
              '/healthz',
              '/livez',
              '/openapi',
              '/openapi/*',
              '/readyz',
              '/version',
            ],
          },
        ],
        incomplete: false,
      });
    }
    default: {
      const { name, uid, groups } = request.user;
      return document(
        { userInfo: { username: name, ...(uid === '' ? {} : { uid }), groups } },
        false,
      );
    }
  }
}

function isAllowed(authorizer: Authorizer, request: ApiRequest, spec: JsonObject): boolean {
  const { resourceAttributes: resource, nonResourceAttributes: path } = spec;
  if (isObject(resource)) {
    return authorizer.allows(request.user, {
      verb: text(resource, 'verb'),
      group: text(resource, 'group'),
      resource: text(resource, 'resource'),
      subresource: text(resource, 'subresource'),
      namespace: text(resource, 'namespace'),
      name: text(resource, 'name'),
    });
  }
  if (isObject(path))
    return authorizer.allowsPath(request.user, text(path, 'verb'), text(path, 'path'));
  throw badRequest('exactly one of nonResourceAttributes or resourceAttributes must be specified');
}

function resourceRule(rule: PolicyRule): JsonObject {
  const { verbs, apiGroups, resources, resourceNames } = rule;
  return { verbs, apiGroups, resources, ...(resourceNames === undefined ? {} : { resourceNames }) };
}

function text(object: JsonObject, member: string): string {
  const value = object[member];
  return typeof value === 'string' ? value : '';
}
