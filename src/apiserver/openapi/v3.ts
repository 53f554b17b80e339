import { createHash } from 'node:crypto';
import type { JsonObject } from '../../api/json.ts';
import type { ApiKind } from './api-kind.ts';
import { definitions, groupVersionOf, metaNames } from './definitions.ts';
import type { PublishedSchema } from './definitions.ts';
import { pathsOf } from './operations.ts';
import type { Operation, Parameter } from './operations.ts';

/** Documents are made once for each list of kinds, which a server builds once. */
const cache = new WeakMap<readonly ApiKind[], Map<string, JsonObject>>();

/**
 * The answer to `GET /openapi/v3`: for each group version a path (`api/v1`, `apis/nap.dev/v1alpha1`)
 * with the URL of its document; the hash in it changes with the content.
 */
export function openapiV3Index(kinds: readonly ApiKind[]): JsonObject {
  const paths: JsonObject = {};
  for (const groupVersion of new Set(kinds.map(groupVersionOf))) {
    const path = groupVersion.includes('/') ? `apis/${groupVersion}` : `api/${groupVersion}`;
    const document = JSON.stringify(openapiV3Document(kinds, groupVersion));
    const hash = createHash('sha512').update(document).digest('hex').toUpperCase();
    paths[path] = { serverRelativeURL: `/openapi/v3/${path}?hash=${hash}` };
  }
  return { paths };
}

/** The OpenAPI 3.0 document of one group version (`v1`, `nap.dev/v1alpha1`). */
export function openapiV3Document(kinds: readonly ApiKind[], groupVersion: string): JsonObject {
  let documents = cache.get(kinds);
  if (!documents) cache.set(kinds, (documents = new Map<string, JsonObject>()));
  let document = documents.get(groupVersion);
  if (!document) documents.set(groupVersion, (document = build(kinds, groupVersion)));
  return document;
}

function build(all: readonly ApiKind[], groupVersion: string): JsonObject {
  const kinds = all.filter((kind) => groupVersionOf(kind) === groupVersion);
  const paths: JsonObject = {};
  for (const { path, parameters, operations } of kinds.flatMap(pathsOf)) {
    const item: JsonObject = { parameters: parameters.map(toParameter) };
    for (const operation of operations) item[operation.method] = toOperation(operation);
    paths[path] = item;
  }
  const schemas = [...definitions(kinds)].map(
    ([name, schema]) => [name, toSchema(schema, true)] as const,
  );
  return {
    openapi: '3.0.0',
    info: { title: 'Kubernetes', version: 'unversioned' },
    paths,
    components: { schemas: Object.fromEntries(schemas) },
  };
}

function reference(name: string): JsonObject {
  return { $ref: `#/components/schemas/${name}` };
}

function toParameter({ name, in: where, type, description }: Parameter): JsonObject {
  return {
    name,
    in: where,
    description,
    ...(where === 'path' && { required: true }),
    schema: { type, uniqueItems: true },
  };
}

function toOperation(operation: Operation): JsonObject {
  const answer = {
    description: 'OK',
    content: { 'application/json': { schema: reference(operation.answer) } },
  };
  const { body } = operation;
  const contents = operation.consumes.map(
    (type) => [type, { schema: reference(body ?? '') }] as const,
  );
  return {
    description: operation.description,
    operationId: operation.operationId,
    parameters: operation.parameters.map(toParameter),
    ...(body !== undefined && {
      requestBody: {
        content: Object.fromEntries(contents),
        ...(operation.method !== 'delete' && { required: true }),
      },
    }),
    responses: {
      '200': answer,
      ...(operation.created && { '201': { ...answer, description: 'Created' } }),
      '401': { description: 'Unauthorized' },
    },
    'x-kubernetes-action': operation.action,
    'x-kubernetes-group-version-kind': operation.gvk,
  };
}

/** Structural schemas are OpenAPI v3 already: only references have to be written out. */
function toSchema(schema: PublishedSchema, named = false): JsonObject {
  const { ref, properties, items, additionalProperties, ...rest } = schema;
  if (ref !== undefined) return { ...rest, allOf: [reference(ref)], default: {} };
  // By name, so that `kubectl explain` prints the type as IntOrString and not as Object.
  if (schema['x-kubernetes-int-or-string'] && !named) {
    return { ...rest, allOf: [reference(metaNames.intOrString)] };
  }
  return {
    ...rest,
    ...(properties && {
      properties: Object.fromEntries(
        Object.entries(properties).map(([name, child]) => [name, toSchema(child)]),
      ),
    }),
    ...(items && { items: toSchema(items) }),
    ...(additionalProperties !== undefined && {
      additionalProperties:
        typeof additionalProperties === 'object'
          ? toSchema(additionalProperties)
          : additionalProperties,
    }),
  };
}
