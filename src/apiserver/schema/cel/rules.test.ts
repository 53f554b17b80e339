import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../api/json.ts';
import { compileSchema, SchemaError } from '../structural.ts';
import type { JsonSchema, ValidationRule } from '../types.ts';

const properties: Readonly<Record<string, JsonSchema>> = {
  replicas: { type: 'integer' },
  max: { type: 'integer' },
  ratio: { type: 'number' },
  image: { type: 'string' },
  memory: { type: 'string' },
  value: { 'x-kubernetes-int-or-string': true },
  'with-dash': { type: 'string' },
  namespace: { type: 'string' },
  since: { type: 'string', format: 'date-time' },
  list: { type: 'array', items: { type: 'string' } },
  services: {
    type: 'object',
    additionalProperties: {
      type: 'object',
      properties: {
        links: { type: 'array', items: { type: 'string' } },
        replicas: { type: 'integer' },
      },
    },
  },
};

function withRules(...rules: ValidationRule[]) {
  return compileSchema({
    type: 'object',
    properties: {
      spec: { type: 'object', properties, 'x-kubernetes-validations': rules },
    },
  });
}

function holds(rule: string, spec: JsonObject): boolean {
  return withRules({ rule }).validate({ metadata: { name: 'x' }, spec }).length === 0;
}

describe('rules', () => {
  it.each<[string, JsonObject, boolean]>([
    ['!has(self.max) || self.replicas <= self.max', { replicas: 3, max: 2 }, false],
    ['!has(self.max) || self.replicas <= self.max', { replicas: 3 }, true],
    ['self.ratio > 0.5 && double(self.replicas) / 2.0 == 1.5', { ratio: 0.6, replicas: 3 }, true],
    ['self.replicas / 2 == 1', { replicas: 3 }, true],
    [
      'type(self.value) == int ? self.value > 0 : self.value.matches("^[0-9]+$")',
      { value: 0 },
      false,
    ],
    [
      'type(self.value) == int ? self.value > 0 : self.value.matches("^[0-9]+$")',
      { value: '8' },
      true,
    ],
    [
      'self.__namespace__ == "a" && self.with__dash__dash == "b"',
      { namespace: 'a', 'with-dash': 'b' },
      true,
    ],
    ['self.since < timestamp("2026-01-01T00:00:00Z")', { since: '2025-06-01T00:00:00Z' }, true],
    [
      'self.services.all(s, has(self.services[s].links) && self.services[s].links.all(l, l.split(":")[0] in self.services))',
      { services: { a: { links: ['b:x'] }, b: { links: [] } } },
      true,
    ],
    [
      'self.services.all(s, !has(self.services[s].links) || self.services[s].links.all(l, l in self.services))',
      { services: { a: { links: ['zzz'] } } },
      false,
    ],
    ['self.services.exists(s, s.startsWith("w"))', { services: { web: {} } }, true],
    [
      'self.services.map(s, self.services[s].replicas).sum() == 5',
      { services: { a: { replicas: 2 }, b: { replicas: 3 } } },
      true,
    ],
    [
      'size(self.list) == 2 && self.list.isSorted() && self.list.indexOf("b") == 1',
      { list: ['a', 'b'] },
      true,
    ],
    ['self.list.filter(x, x != "a").map(x, x + "!") == ["b!"]', { list: ['a', 'b'] }, true],
    [
      'sets.contains(self.list, ["a"]) && !sets.intersects(self.list, ["z"])',
      { list: ['a', 'b'] },
      true,
    ],
    [
      'isQuantity(self.memory) && quantity(self.memory).isLessThan(quantity("1Gi"))',
      { memory: '512Mi' },
      true,
    ],
    ['isQuantity(self.memory)', { memory: '12 apples' }, false],
    [
      'quantity("1.5Gi").compareTo(quantity("1536Mi")) == 0 && quantity("100m").sign() == 1',
      {},
      true,
    ],
    [
      'self.image.find("[0-9]+") == "7" && self.image.replace("redis", "x") == "x:7"',
      { image: 'redis:7' },
      true,
    ],
    ['\'has(self.nothing)\' == "has(self.nothing)"', {}, true],
  ])('%s with %j: %s', (rule, spec, expected) => {
    expect(holds(rule, spec)).toBe(expected);
  });

  it('reports what Kubernetes reports', () => {
    const schema = withRules(
      { rule: 'self.replicas <= 3', message: 'too many' },
      { rule: 'self.replicas <= 2', messageExpression: '"has " + string(self.replicas)' },
      { rule: 'self.replicas <= 1' },
      {
        rule: 'false',
        message: 'no',
        reason: 'FieldValueForbidden',
        fieldPath: '.services["a"]'.replaceAll('"', "'"),
      },
    );
    expect(schema.validate({ spec: { replicas: 4 } })).toEqual([
      { reason: 'FieldValueInvalid', field: 'spec', message: 'Invalid value: "object": too many' },
      { reason: 'FieldValueInvalid', field: 'spec', message: 'Invalid value: "object": has 4' },
      {
        reason: 'FieldValueInvalid',
        field: 'spec',
        message: 'Invalid value: "object": failed rule: self.replicas <= 1',
      },
      { reason: 'FieldValueForbidden', field: 'spec.services[a]', message: 'Forbidden: no' },
    ]);
  });

  it('says when a rule fails on a missing field', () => {
    const [found] = withRules({ rule: 'self.max > 1' }).validate({ spec: {} });
    expect(found?.message).toBe(
      'Invalid value: "object": no such key: max evaluating rule: self.max > 1',
    );
  });

  it('does not run rules on an object with wrong types', () => {
    const found = withRules({ rule: 'self.replicas > 1', message: 'never' }).validate({
      spec: { replicas: 'x' },
    });
    expect(found.map((c) => c.message).join()).not.toContain('never');
    expect(found.at(-1)?.message).toContain('some validation rules were not checked');
  });

  it('does not fail on an old state of another type', () => {
    const schema = withRules({ rule: 'self.replicas >= oldSelf.replicas', message: 'shrunk' });
    const found = schema.validate({ spec: { replicas: 1 } }, { spec: { replicas: 'many' } });
    expect(found).toMatchObject([{ field: 'spec', reason: 'FieldValueInvalid' }]);
  });

  it('lets rules at the root see the name', () => {
    const schema = compileSchema({
      type: 'object',
      properties: { spec: { type: 'object', properties } },
      'x-kubernetes-validations': [{ rule: 'self.metadata.name.size() < 3', message: 'long' }],
    });
    expect(schema.validate({ metadata: { name: 'ab', labels: { a: 'b' } }, spec: {} })).toEqual([]);
    expect(schema.validate({ metadata: { name: 'abc' }, spec: {} })).toMatchObject([
      { field: '<nil>', message: 'Invalid value: "object": long' },
    ]);
  });
});

describe('transition rules', () => {
  const item: JsonSchema = {
    type: 'object',
    required: ['name'],
    properties: {
      name: { type: 'string' },
      size: {
        type: 'integer',
        'x-kubernetes-validations': [{ rule: 'self >= oldSelf', message: 'cannot shrink' }],
      },
    },
  };
  const schema = compileSchema({
    type: 'object',
    properties: {
      spec: {
        type: 'object',
        properties: {
          tier: {
            type: 'string',
            'x-kubernetes-validations': [{ rule: 'self == oldSelf', message: 'immutable' }],
          },
          once: {
            type: 'string',
            'x-kubernetes-validations': [
              { rule: 'oldSelf.hasValue() || self == "first"', optionalOldSelf: true },
            ],
          },
          items: {
            type: 'array',
            items: item,
            'x-kubernetes-list-type': 'map',
            'x-kubernetes-list-map-keys': ['name'],
          },
        },
      },
    },
  });
  const messages = (spec: JsonObject, old?: JsonObject) =>
    schema.validate({ spec }, old && { spec: old }).map((c) => `${c.field}: ${c.message}`);

  it('hold on updates only', () => {
    expect(messages({ tier: 'b' })).toEqual([]);
    expect(messages({ tier: 'b' }, { tier: 'a' })).toEqual([
      'spec.tier: Invalid value: "string": immutable',
    ]);
    expect(messages({ tier: 'b' }, {})).toEqual([]);
  });

  it('match list items by their keys, not by their place', () => {
    const old = {
      items: [
        { name: 'a', size: 5 },
        { name: 'b', size: 1 },
      ],
    };
    expect(
      messages(
        {
          items: [
            { name: 'b', size: 2 },
            { name: 'a', size: 5 },
          ],
        },
        old,
      ),
    ).toEqual([]);
    expect(
      messages(
        {
          items: [
            { name: 'b', size: 2 },
            { name: 'a', size: 4 },
          ],
        },
        old,
      ),
    ).toEqual(['spec.items[1].size: Invalid value: "integer": cannot shrink']);
  });

  it('with optionalOldSelf hold on creation as well', () => {
    expect(messages({ once: 'x' })).toHaveLength(1);
    expect(messages({ once: 'first' })).toEqual([]);
    expect(messages({ once: 'x' }, { once: 'first' })).toEqual([]);
  });
});

describe('rules that do not compile are refused', () => {
  it.each([
    'self.nothing',
    'self.image + 1 > 2',
    'has(self.nothing)',
    'has(self.services["a"].nothing)',
    'self.image',
    'self.image ==',
    'unknown(self)',
    'other.x == 1',
    'self.list.all(x, x > 1)',
  ])('%s', (rule) => {
    expect(() => withRules({ rule })).toThrow(SchemaError);
  });

  it('messageExpression and fieldPath too', () => {
    expect(() => withRules({ rule: 'true', messageExpression: '1' })).toThrow(SchemaError);
    expect(() => withRules({ rule: 'true', fieldPath: '.nothing' })).toThrow(SchemaError);
  });
});
