import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../api/json.ts';
import { compileSchema, SchemaError } from './structural.ts';
import type { JsonSchema } from './types.ts';

const port: JsonSchema = {
  type: 'object',
  required: ['name'],
  properties: { name: { type: 'string' }, number: { type: 'integer' } },
};
const service: JsonSchema = {
  type: 'object',
  required: ['image'],
  properties: {
    image: { type: 'string', minLength: 1 },
    replicas: { type: 'integer', format: 'int32', minimum: 0, maximum: 10, default: 1 },
    tier: { type: 'string', enum: ['a', 'b'] },
    value: { 'x-kubernetes-int-or-string': true },
    since: { type: 'string', format: 'date-time' },
    maybe: { type: 'string', nullable: true },
    tags: { type: 'array', items: { type: 'string' }, 'x-kubernetes-list-type': 'set' },
    ports: {
      type: 'array',
      maxItems: 3,
      items: port,
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['name'],
    },
    free: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
    settings: { type: 'object', properties: { depth: { type: 'integer', default: 3 } } },
  },
};
const schema: JsonSchema = {
  type: 'object',
  properties: {
    spec: {
      type: 'object',
      properties: { services: { type: 'object', additionalProperties: service } },
    },
    status: { type: 'object', properties: { ready: { type: 'boolean' } } },
  },
};
const compiled = compileSchema(schema);

function project(web: JsonObject): JsonObject {
  return {
    apiVersion: 'nap.dev/v1alpha1',
    kind: 'Project',
    metadata: { name: 'x' },
    spec: { services: { web } },
  };
}

function causes(web: JsonObject, old?: JsonObject) {
  return compiled
    .validate(project(web), old && project(old))
    .map(({ field, reason, message }) => `${field} ${reason}: ${message}`);
}

describe('pruning', () => {
  it('drops unknown fields and names them as Kubernetes does', () => {
    const input = project({ image: 'x', bogus: 1, ports: [{ name: 'a', z: 1 }] });
    (input['metadata'] as JsonObject)['wrong'] = 1;
    const before = structuredClone(input);
    const { object, unknown } = compiled.prune(input);
    expect(unknown).toEqual([
      'metadata.wrong',
      'spec.services.web.bogus',
      'spec.services.web.ports[0].z',
    ]);
    expect(object).toEqual(project({ image: 'x', ports: [{ name: 'a' }] }));
    expect(input).toEqual(before);
  });

  it('keeps what lies under x-kubernetes-preserve-unknown-fields', () => {
    const input = project({ image: 'x', free: { a: { b: [1, { c: 2 }] } } });
    expect(compiled.prune(input)).toEqual({ object: input, unknown: [] });
  });

  it('does not let a key change the prototype of anything', () => {
    const input = JSON.parse(
      '{"spec":{"services":{"__proto__":{"image":"evil"}},"__proto__":{"services":1}}}',
    ) as JsonObject;
    const { object, unknown } = compiled.prune(input);
    expect(unknown).toEqual(['spec.__proto__', 'spec.services.__proto__']);
    expect((object['spec'] as JsonObject)['services']).toEqual({});
    expect(({} as JsonObject)['image']).toBeUndefined();
  });
});

describe('defaults', () => {
  it('fills absent fields and nulls that are not allowed, inside objects that exist', () => {
    expect(compiled.applyDefaults(project({ image: 'x', replicas: null, settings: {} }))).toEqual(
      project({ image: 'x', replicas: 1, settings: { depth: 3 } }),
    );
  });

  it('drops a null without a default and keeps an allowed one', () => {
    expect(compiled.applyDefaults(project({ image: 'x', tier: null, maybe: null }))).toEqual(
      project({ image: 'x', replicas: 1, maybe: null }),
    );
  });

  it('gives each object a default of its own', () => {
    const shared = compileSchema({
      type: 'object',
      properties: { spec: { type: 'object', properties: { a: { type: 'object', default: {} } } } },
    });
    const one = shared.applyDefaults({ spec: {} })['spec'] as { a: JsonObject };
    one.a['changed'] = true;
    expect(shared.applyDefaults({ spec: {} })).toEqual({ spec: { a: {} } });
  });
});

describe('value validation speaks as Kubernetes', () => {
  const at = 'spec.services.web';
  it.each<[JsonObject, string]>([
    [
      { image: 'x', replicas: 'two' },
      `${at}.replicas FieldValueTypeInvalid: Invalid value: "string": ${at}.replicas in body must be of type integer: "string"`,
    ],
    [{}, `${at}.image FieldValueRequired: Required value`],
    [
      { image: '' },
      `${at}.image FieldValueInvalid: Invalid value: "": ${at}.image in body should be at least 1 chars long`,
    ],
    [
      { image: 'x', replicas: -1 },
      `${at}.replicas FieldValueInvalid: Invalid value: -1: ${at}.replicas in body should be greater than or equal to 0`,
    ],
    [
      { image: 'x', tier: 'c' },
      `${at}.tier FieldValueNotSupported: Unsupported value: "c": supported values: "a", "b"`,
    ],
    [
      { image: 'x', value: 1.5 },
      `${at}.value FieldValueTypeInvalid: Invalid value: "number": ${at}.value in body must be of type integer,string: "number"`,
    ],
    [
      { image: 'x', since: 'yesterday' },
      `${at}.since FieldValueTypeInvalid: Invalid value: "yesterday": ${at}.since in body must be of type date-time: "yesterday"`,
    ],
    [
      { image: 'x', ports: [1, 2, 3, 4].map((n) => ({ name: `p${n}` })) },
      `${at}.ports FieldValueTooMany: Too many: 4: must have at most 3 items`,
    ],
    [
      { image: 'x', tags: ['a', 'b', 'a'] },
      'spec.services[web].tags[2] FieldValueDuplicate: Duplicate value: "a"',
    ],
    [
      { image: 'x', ports: [{ name: 'a' }, { name: 'a' }] },
      'spec.services[web].ports[1] FieldValueDuplicate: Duplicate value: map[string]interface {}{"name":"a"}',
    ],
  ])('%j', (web, expected) => {
    expect(causes(web)).toEqual([expected]);
  });

  it('names a wrong type in metadata', () => {
    const object = { ...project({ image: 'x' }), metadata: { name: 'x', labels: { a: 1 } } };
    expect(compiled.validate(object)).toMatchObject([
      { field: 'metadata.labels.a', reason: 'FieldValueTypeInvalid' },
    ]);
  });

  it('accepts what is right', () => {
    expect(
      causes({ image: 'x', value: '1', maybe: null, since: '2026-01-01T00:00:00Z', tags: ['a'] }),
    ).toEqual([]);
    expect(causes({ image: 'x', value: 7 })).toEqual([]);
  });

  it('reports the branch that came closest of anyOf', () => {
    const either = compileSchema({
      type: 'object',
      properties: {
        spec: {
          type: 'object',
          properties: { a: { type: 'string' }, b: { type: 'string' } },
          anyOf: [{ required: ['a'] }, { required: ['b', 'a'] }] as never,
        },
      },
    });
    expect(either.validate({ spec: {} }).map((c) => c.message)).toContain(
      'Invalid value: "": "spec" must validate at least one schema (anyOf)',
    );
    expect(either.validate({ spec: { a: 'x' } })).toEqual([]);
  });
});

describe('ratcheting', () => {
  it('excuses what was wrong before and was not touched', () => {
    const old = { image: 'x', tier: 'gone', replicas: 1 };
    expect(causes({ ...old, replicas: 2 }, old)).toEqual([]);
    expect(causes({ ...old, tier: 'other' }, old)).toHaveLength(1);
    expect(causes({ ...old, replicas: 99 }, old)).toHaveLength(1);
  });
});

describe('schemas that are not structural are refused', () => {
  it.each<[string, JsonSchema]>([
    ['no type', { type: 'object', properties: { a: {} } }],
    ['unknown type', { type: 'object', properties: { a: { type: 'text' } } }],
    ['list without items', { type: 'object', properties: { a: { type: 'array' } } }],
    [
      'properties beside additionalProperties',
      { type: 'object', properties: { a: { type: 'string' } }, additionalProperties: service },
    ],
    [
      'list of type map without its key',
      {
        type: 'object',
        properties: {
          a: {
            type: 'array',
            items: port,
            'x-kubernetes-list-type': 'map',
            'x-kubernetes-list-map-keys': ['id'],
          },
        },
      },
    ],
  ])('%s', (_, bad) => {
    expect(() => compileSchema(bad)).toThrow(SchemaError);
  });
});
