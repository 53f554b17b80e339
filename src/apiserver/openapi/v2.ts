import type { JsonObject } from '../../api/json.ts';
import type { ApiKind } from './api-kind.ts';
import { definitions } from './definitions.ts';
import type { PublishedSchema } from './definitions.ts';
import { encodeGnostic } from './gnostic.ts';
import { pathsOf } from './operations.ts';
import type { Operation, Parameter } from './operations.ts';

/**
 * Content-Type of the protobuf form. Clients ask for it as `…spec.v2@v1.0+protobuf`, which is no valid
 * media type: Go clients refuse to parse it in an answer.
 */
export const openapiV2ProtobufMediaType =
  'application/com.github.proto-openapi.spec.v2.v1.0+protobuf';

const cache = new WeakMap<
  readonly ApiKind[],
  { readonly json: JsonObject; protobuf: Uint8Array | undefined }
>();

function cached(kinds: readonly ApiKind[]) {
  let entry = cache.get(kinds);
  if (!entry) cache.set(kinds, (entry = { json: build(kinds), protobuf: undefined }));
  return entry;
}

/** The answer to `GET /openapi/v2` in JSON (swagger 2.0), all kinds in one document. */
export function openapiV2Document(kinds: readonly ApiKind[]): JsonObject {
  return cached(kinds).json;
}

/** The same as a gnostic openapi.v2.Document message, which is what kubectl asks for. */
export function openapiV2Protobuf(kinds: readonly ApiKind[]): Uint8Array {
  const entry = cached(kinds);
  return (entry.protobuf ??= encodeGnostic(entry.json));
}

function build(kinds: readonly ApiKind[]): JsonObject {
  const paths: JsonObject = {};
  for (const { path, parameters, operations } of kinds.flatMap(pathsOf)) {
    const item: JsonObject = { parameters: parameters.map(toParameter) };
    for (const operation of operations) item[operation.method] = toOperation(operation);
    paths[path] = item;
  }
  const all = [...definitions(kinds)].map(([name, schema]) => [name, toSchema(schema)] as const);
  return {
    swagger: '2.0',
    info: { title: 'Kubernetes', version: 'unversioned' },
    paths,
    definitions: Object.fromEntries(all),
  };
}

function reference(name: string): JsonObject {
  return { $ref: `#/definitions/${name}` };
}

function toParameter({ name, in: where, type, description }: Parameter): JsonObject {
  return {
    uniqueItems: true,
    type,
    description,
    name,
    in: where,
    ...(where === 'path' && { required: true }),
  };
}

function toOperation(operation: Operation): JsonObject {
  const answer = { description: 'OK', schema: reference(operation.answer) };
  const body = operation.body !== undefined && {
    name: 'body',
    in: 'body',
    schema: reference(operation.body),
    ...(operation.method !== 'delete' && { required: true }),
  };
  return {
    description: operation.description,
    operationId: operation.operationId,
    consumes: operation.consumes.length > 0 ? operation.consumes : ['*/*'],
    produces: ['application/json'],
    parameters: [...(body ? [body] : []), ...operation.parameters.map(toParameter)],
    responses: {
      '200': answer,
      ...(operation.created && { '201': { ...answer, description: 'Created' } }),
      '401': { description: 'Unauthorized' },
    },
    'x-kubernetes-action': operation.action,
    'x-kubernetes-group-version-kind': operation.gvk,
  };
}

const v3Only = ['anyOf', 'oneOf', 'allOf', 'not', 'nullable', 'x-kubernetes-validations'];

/**
 * Swagger 2.0 knows less: what it cannot say is left out, so that old clients accept what the server
 * accepts. A nullable value has no type for them; neither has an int-or-string.
 */
function toSchema(schema: PublishedSchema): JsonObject {
  const { ref, properties, items, additionalProperties, ...rest } = schema;
  const kept = Object.fromEntries(Object.entries(rest).filter(([key]) => !v3Only.includes(key)));
  if (ref !== undefined) {
    return { ...(rest.description && { description: rest.description }), ...reference(ref) };
  }
  if (schema.nullable) {
    return { ...(rest.description && { description: rest.description }) };
  }
  if (schema['x-kubernetes-preserve-unknown-fields']) return kept;
  return {
    ...kept,
    ...(properties && {
      properties: Object.fromEntries(
        Object.entries(properties).map(([name, child]) => [name, toSchema(child)]),
      ),
    }),
    ...(items && { items: toSchema(items) }),
    ...(typeof additionalProperties === 'object' && {
      additionalProperties: toSchema(additionalProperties),
    }),
  };
}
