import protobuf from 'protobufjs/light.js';
import { isObject, type JsonObject } from '../../api/json.ts';

/*
 * The part of gnostic's openapi.v2 messages that this server's documents use. Field numbers are those of
 * github.com/google/gnostic/openapiv2/OpenAPIv2.proto. Maps are lists of (name, value) pairs there, and
 * values of any type are YAML texts, of which JSON is a kind.
 */
const f = (id: number, type = 'string'): protobuf.IField => ({ id, type });
const many = (id: number, type = 'string'): protobuf.IField => ({ id, type, rule: 'repeated' });
const named = (value: string) => ({ fields: { name: f(1), value: f(2, value) } });
const parameterFields = { required: f(1, 'bool'), in: f(2), description: f(3), name: f(4) };

const root = protobuf.Root.fromJSON({
  nested: {
    Any: { fields: { yaml: f(2) } },
    NamedAny: named('Any'),
    Info: { fields: { title: f(1), version: f(2) } },
    Document: {
      fields: {
        swagger: f(1),
        info: f(2, 'Info'),
        paths: f(8, 'Paths'),
        definitions: f(9, 'Definitions'),
      },
    },
    Paths: { fields: { path: many(2, 'NamedPathItem') } },
    NamedPathItem: named('PathItem'),
    PathItem: {
      fields: {
        get: f(2, 'Operation'),
        put: f(3, 'Operation'),
        post: f(4, 'Operation'),
        delete: f(5, 'Operation'),
        patch: f(8, 'Operation'),
        parameters: many(9, 'ParametersItem'),
      },
    },
    Operation: {
      fields: {
        description: f(3),
        operationId: f(5),
        produces: many(6),
        consumes: many(7),
        parameters: many(8, 'ParametersItem'),
        responses: f(9, 'Responses'),
        vendorExtension: many(13, 'NamedAny'),
      },
    },
    ParametersItem: { fields: { parameter: f(1, 'Parameter') } },
    Parameter: {
      fields: { bodyParameter: f(1, 'BodyParameter'), nonBodyParameter: f(2, 'NonBodyParameter') },
    },
    BodyParameter: {
      fields: {
        description: f(1),
        name: f(2),
        in: f(3),
        required: f(4, 'bool'),
        schema: f(5, 'Schema'),
      },
    },
    NonBodyParameter: {
      fields: {
        queryParameterSubSchema: f(3, 'QueryParameter'),
        pathParameterSubSchema: f(4, 'PathParameter'),
      },
    },
    QueryParameter: { fields: { ...parameterFields, type: f(6), uniqueItems: f(20, 'bool') } },
    PathParameter: { fields: { ...parameterFields, type: f(5), uniqueItems: f(19, 'bool') } },
    Responses: { fields: { responseCode: many(1, 'NamedResponseValue') } },
    NamedResponseValue: named('ResponseValue'),
    ResponseValue: { fields: { response: f(1, 'Response') } },
    Response: { fields: { description: f(1), schema: f(2, 'SchemaItem') } },
    SchemaItem: { fields: { schema: f(1, 'Schema') } },
    Definitions: { fields: { additionalProperties: many(1, 'NamedSchema') } },
    NamedSchema: named('Schema'),
    Schema: {
      fields: {
        Ref: f(1),
        format: f(2),
        title: f(3),
        description: f(4),
        default: f(5, 'Any'),
        multipleOf: f(6, 'double'),
        maximum: f(7, 'double'),
        exclusiveMaximum: f(8, 'bool'),
        minimum: f(9, 'double'),
        exclusiveMinimum: f(10, 'bool'),
        maxLength: f(11, 'int64'),
        minLength: f(12, 'int64'),
        pattern: f(13),
        maxItems: f(14, 'int64'),
        minItems: f(15, 'int64'),
        uniqueItems: f(16, 'bool'),
        maxProperties: f(17, 'int64'),
        minProperties: f(18, 'int64'),
        required: many(19),
        enum: many(20, 'Any'),
        additionalProperties: f(21, 'AdditionalProperties'),
        type: f(22, 'TypeItem'),
        items: f(23, 'ItemsItem'),
        properties: f(25, 'Properties'),
        example: f(30, 'Any'),
        vendorExtension: many(31, 'NamedAny'),
      },
    },
    AdditionalProperties: { fields: { schema: f(1, 'Schema'), boolean: f(2, 'bool') } },
    TypeItem: { fields: { value: many(1) } },
    ItemsItem: { fields: { schema: many(1, 'Schema') } },
    Properties: { fields: { additionalProperties: many(1, 'NamedSchema') } },
  },
});

/** A swagger 2.0 document, as openapiV2Document makes them, in protobuf. */
export function encodeGnostic(document: JsonObject): Uint8Array {
  const message = {
    swagger: document['swagger'],
    info: document['info'],
    paths: { path: pairs(document['paths'], pathItem) },
    definitions: { additionalProperties: pairs(document['definitions'], schemaMessage) },
  };
  return root.lookupType('Document').encode(message).finish();
}

function pairs(
  map: unknown,
  convert: (value: JsonObject) => JsonObject,
): { name: string; value: JsonObject }[] {
  return Object.entries((map ?? {}) as Record<string, JsonObject>).map(([name, value]) => ({
    name,
    value: convert(value),
  }));
}

function any(value: unknown): JsonObject {
  return { yaml: `${JSON.stringify(value)}\n` };
}

function extensions(source: JsonObject): JsonObject[] {
  return Object.entries(source)
    .filter(([name]) => name.startsWith('x-'))
    .map(([name, value]) => ({ name, value: any(value) }));
}

function pathItem(item: JsonObject): JsonObject {
  const out: JsonObject = { parameters: (item['parameters'] as JsonObject[]).map(parameter) };
  for (const method of ['get', 'put', 'post', 'delete', 'patch']) {
    const found = item[method];
    if (isObject(found)) out[method] = operation(found);
  }
  return out;
}

function operation(source: JsonObject): JsonObject {
  return {
    ...source,
    parameters: (source['parameters'] as JsonObject[]).map(parameter),
    responses: {
      responseCode: pairs(source['responses'], ({ description, schema }) => ({
        response: {
          description,
          ...(isObject(schema) && { schema: { schema: schemaMessage(schema) } }),
        },
      })),
    },
    vendorExtension: extensions(source),
  };
}

function parameter(source: JsonObject): JsonObject {
  if (source['in'] === 'body') {
    const schema = schemaMessage(source['schema'] as JsonObject);
    return { parameter: { bodyParameter: { ...source, schema } } };
  }
  const kind = source['in'] === 'path' ? 'pathParameterSubSchema' : 'queryParameterSubSchema';
  return { parameter: { nonBodyParameter: { [kind]: source } } };
}

function schemaMessage(schema: JsonObject): JsonObject {
  const { $ref, type, items, properties, additionalProperties, ...rest } = schema;
  const out: JsonObject = { ...rest, vendorExtension: extensions(rest) };
  for (const key of ['default', 'example']) if (key in rest) out[key] = any(rest[key]);
  if (Array.isArray(rest['enum'])) out['enum'] = rest['enum'].map(any);
  if ($ref !== undefined) out['Ref'] = $ref;
  if (type !== undefined) out['type'] = { value: [type] };
  if (isObject(items)) out['items'] = { schema: [schemaMessage(items)] };
  if (properties !== undefined) {
    out['properties'] = { additionalProperties: pairs(properties, schemaMessage) };
  }
  if (isObject(additionalProperties)) {
    out['additionalProperties'] = { schema: schemaMessage(additionalProperties) };
  }
  return out;
}
