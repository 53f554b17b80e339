import { Environment } from '@marcbachmann/cel-js';
import { Ajv } from 'ajv';
import { describe, expect, it } from 'vitest';
import { customResourceDefinitions } from './crd.ts';
import { guestbook } from './guestbook.fixture.ts';

type Schema = Readonly<Record<string, unknown>> & {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema;
  readonly items?: Schema;
  readonly 'x-kubernetes-validations'?: readonly { rule: string; message: string }[];
};

const crds = new Map(
  customResourceDefinitions().map((crd) => [
    crd.spec.names.kind,
    crd.spec.versions[0]!.schema.openAPIV3Schema as Schema,
  ]),
);

/** Calls `visit` for each node of a schema, with its path and the worst-case number of its occurrences. */
function walk(
  schema: Schema,
  visit: (node: Schema, path: string, count: number) => void,
  path = '',
  count = 1,
): void {
  visit(schema, path, count);
  for (const [name, child] of Object.entries(schema.properties ?? {})) {
    walk(child, visit, `${path}.${name}`, count);
  }
  if (schema.additionalProperties) {
    walk(
      schema.additionalProperties,
      visit,
      `${path}.*`,
      count * Number(schema['maxProperties'] ?? Infinity),
    );
  }
  if (schema.items)
    walk(schema.items, visit, `${path}[]`, count * Number(schema['maxItems'] ?? Infinity));
}

const allowed = new Set(
  (
    'description type format default enum pattern minLength maxLength minimum maximum minItems maxItems minProperties ' +
    'maxProperties required properties additionalProperties items anyOf x-kubernetes-int-or-string x-kubernetes-list-type ' +
    'x-kubernetes-list-map-keys x-kubernetes-map-type x-kubernetes-validations'
  ).split(' '),
);

describe.each([...crds])('the CRD of %s', (_kind, root) => {
  it('is structural', () => {
    walk(root, (node, path) => {
      const where = (text: string) => `${path}: ${text}`;
      for (const key of Object.keys(node)) expect(allowed, where(key)).toContain(key);
      if (node['x-kubernetes-int-or-string'] === true) {
        expect(node['type'], where('type with int-or-string')).toBeUndefined();
        expect(node['anyOf'], where('anyOf')).toEqual([{ type: 'integer' }, { type: 'string' }]);
      } else {
        expect(node['type'], where('every node needs a type')).toEqual(expect.any(String));
        expect(node['anyOf'], where('anyOf')).toBeUndefined();
      }
      expect(
        node.properties !== undefined && node.additionalProperties !== undefined,
        where('properties and additionalProperties'),
      ).toBe(false);
      if (node['type'] === 'array') {
        expect(node.items, where('items')).toBeDefined();
        expect(node['x-kubernetes-list-type'], where('list type')).toBeDefined();
      }
      if (node['x-kubernetes-list-type'] === 'map') {
        for (const key of node['x-kubernetes-list-map-keys'] as string[]) {
          expect(node.items?.['required'], where('map keys are required')).toContain(key);
          expect(node.items?.properties?.[key]?.['type'], where('map keys are scalars')).toBe(
            'string',
          );
        }
      }
      for (const name of (node['required'] ?? []) as string[]) {
        expect(node.properties?.[name], where(`required ${name}`)).toBeDefined();
        expect(
          node.properties?.[name]?.['default'],
          where(`${name} has a default`),
        ).toBeUndefined();
      }
      if (typeof node['pattern'] === 'string') {
        // RE2, which the API server uses, knows neither look-around nor back-references.
        expect(node['pattern']).not.toMatch(/\(\?[=!<]|\\[1-9]/);
      }
    });
  });

  it('describes every field of spec and status', () => {
    walk(root, (node) => {
      for (const [name, child] of Object.entries(node.properties ?? {})) {
        if (child !== root.properties?.['metadata']) {
          expect(child['description'], name).toEqual(expect.stringMatching(/\S{2,}/));
        }
      }
    });
  });

  it('has rules that a server can afford', () => {
    // apiserver's estimate for a regular expression: 0.1 × bytes of the text × 0.25 × length of the pattern. Keys of maps
    // count as empty there. Limits: 10 million a rule, 100 million a CRD.
    let total = 0;
    walk(root, (node, path, count) => {
      for (const { rule, message } of node['x-kubernetes-validations'] ?? []) {
        expect(count, path).toBeLessThan(Infinity);
        expect(message.length, path).toBeLessThan(2048);
        expect(message, path).not.toContain('\n');
        const bytes = node['type'] === 'string' ? Number(node['maxLength']) * 4 : 0;
        const pattern = /matches\('(.*)'\)/.exec(rule)?.[1] ?? '';
        const cost =
          count * (10 + Math.ceil(bytes * 0.1) * Math.max(1, Math.ceil(pattern.length * 0.25)));
        expect(cost, `${path}: ${rule}`).toBeLessThan(8_000_000);
        total += cost;
      }
    });
    expect(total).toBeLessThan(80_000_000);
  });
});

/** What CEL sees: integers are its int, maps and lists stay. */
function celValue(value: unknown): unknown {
  if (typeof value === 'number' && Number.isInteger(value)) return BigInt(value);
  if (Array.isArray(value)) return value.map(celValue);
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, celValue(part)]));
  }
  return value;
}

const cel = new Environment().registerVariable('self', 'dyn');

/** cel-js's has() takes no index, `has(self[name].links)`; on untyped maps `in` means the same. */
function forCelJs(rule: string): string {
  return rule.replace(/has\((self[^()]*\])\.(\w+)\)/g, "('$2' in $1)");
}

/** Messages of the CEL rules that a value breaks, at every depth. */
function brokenRules(schema: Schema, value: unknown): string[] {
  const broken = (schema['x-kubernetes-validations'] ?? [])
    .filter(({ rule }) => cel.evaluate(forCelJs(rule), { self: celValue(value) }) !== true)
    .map(({ message }) => message);
  if (Array.isArray(value)) {
    return schema.items
      ? broken.concat(value.flatMap((item) => brokenRules(schema.items!, item)))
      : broken;
  }
  if (typeof value !== 'object' || value === null) return broken;
  return broken.concat(
    Object.entries(value).flatMap(([key, part]) => {
      const child = schema.properties?.[key] ?? schema.additionalProperties;
      return child ? brokenRules(child, part) : [];
    }),
  );
}

const ajv = new Ajv({
  allErrors: true,
  strict: false,
  formats: { 'date-time': true, int32: true, int64: true },
});
const validators = new Map([...crds].map(([kind, schema]) => [kind, ajv.compile(schema)]));

/** All that the API server would say of an object. */
function refusals(kind: string, object: unknown): string[] {
  const validate = validators.get(kind)!;
  const errors = validate(object)
    ? []
    : (validate.errors ?? []).map((error) => `${error.instancePath} ${error.message ?? ''}`);
  return errors.length > 0 ? errors : brokenRules(crds.get(kind)!, object);
}

const project = (services: unknown, name = 'app') => ({ metadata: { name }, spec: { services } });
const web = (spec: unknown) => project({ web: { image: 'a', ...(spec as object) } });

describe('what is applied', () => {
  it('takes the guestbook', () => {
    expect(refusals('Project', guestbook)).toEqual([]);
    for (const [name, spec] of Object.entries(guestbook.spec.services)) {
      expect(refusals('Service', { metadata: { name }, spec })).toEqual([]);
    }
  });

  it.each([
    web({ ports: [80, '53:53/udp', '[::1]:80:80', '1-2:3-4'] }),
    web({ links: ['web:me', 'web'] }),
    web({ volumes: ['data:/x:ro', '/srv:/x'] }),
    web({ environment: { A: 1, B: '' }, labels: { 'example.com/x': 'y' } }),
    web({ user: '1000:1000', workingDir: '/', hostname: 'a.b', stopSignal: 'SIGRTMIN+3' }),
    web({
      resources: {
        limits: { cpus: 2, memory: 1048576 },
        reservations: { cpus: '0.5', memory: '1.5G' },
      },
    }),
    web({ stopGracePeriod: '1m30s', restart: 'no', pullPolicy: 'never', replicas: 0 }),
    project({ ['s'.repeat(30)]: { image: 'a', replicas: 9 } }, 'p'.repeat(30)),
    project({}),
  ])('takes %j', (object) => {
    expect(refusals('Project', object)).toEqual([]);
  });

  it.each<[string, unknown, RegExp]>([
    ['no spec', { metadata: { name: 'a' } }, /required property 'spec'/],
    ['no image', project({ web: {} }), /required property 'image'/],
    ['an empty image', web({ image: '' }), /fewer than 1/],
    ['an image with a space', web({ image: 'redis 7' }), /no spaces: use e.g. redis:7/],
    ['a port that is none', web({ ports: ['80:x'] }), /must match pattern/],
    ['port 0', web({ ports: [0] }), />= 1/],
    ['a port too high', web({ ports: [70_000] }), /<= 65535/],
    ['a protocol that is none', web({ ports: ['80/http'] }), /must match pattern/],
    ['a string for a list', web({ ports: '80:80' }), /must be array/],
    ['a boolean variable', web({ environment: { A: true } }), /must be (integer|string)/],
    ['a variable with =', web({ environment: { 'A=1': '' } }), /write \{NAME: value\}/],
    ['a link to no service', web({ links: ['db'] }), /must name a service of this project/],
    ['a link that is none', web({ links: ['Web:x'] }), /SERVICE or SERVICE:ALIAS/],
    ['a relative path', web({ volumes: ['./x:/x'] }), /NAME:\/TARGET or \/HOST_PATH/],
    ['a volume without a target', web({ volumes: ['/data'] }), /NAME:\/TARGET/],
    ['a label of nap', web({ labels: { 'nap.dev/x': '' } }), /take a prefix of your own/],
    ['a duration without a unit', web({ stopGracePeriod: '10' }), /numbers with units/],
    ['a relative directory', web({ workingDir: 'x' }), /an absolute path/],
    ['a user with a space', web({ user: 'a b' }), /USER or USER:GROUP/],
    ['a signal in lower case', web({ stopSignal: 'sigterm' }), /a name or a number/],
    ['a hostname with _', web({ hostname: 'a_b' }), /letters, digits/],
    ['an unquoted no', web({ restart: false }), /must be string/],
    ['too many replicas', web({ replicas: 100_001 }), /<= 100000/],
    ['half a replica', web({ replicas: 1.5 }), /must be integer/],
    [
      'memory without sense',
      web({ resources: { limits: { memory: '1X' } } }),
      /must match pattern/,
    ],
    ['a strategy that is none', web({ placement: { strategy: 'best' } }), /allowed values/],
    ['a service with a dot', project({ 'a.b': { image: 'a' } }), /names of services are made of/],
    ['a project with a dot', project({}, 'a.b'), /no "\."/],
    [
      'names too long',
      project({ ['s'.repeat(30)]: { image: 'a', replicas: 10 } }, 'p'.repeat(30)),
      /at most 63 characters/,
    ],
    [
      'too many services',
      project(
        Object.fromEntries(
          Array.from({ length: 101 }, (_, i) => [`s${String(i)}`, { image: 'a' }]),
        ),
      ),
      /more than 100/,
    ],
  ])('refuses %s', (_, object, message) => {
    expect(refusals('Project', object).join('\n')).toMatch(message);
  });

  it('refuses a Service whose instances would have too long a name', () => {
    const spec = { image: 'a', replicas: 100 };
    expect(refusals('Service', { metadata: { name: 's'.repeat(59) }, spec })).toEqual([]);
    expect(refusals('Service', { metadata: { name: 's'.repeat(60) }, spec }).join()).toMatch(
      /at most 63/,
    );
  });
});

describe('what kubectl shows', () => {
  it('has the columns, names and subresources that the documentation promises', () => {
    const shown = customResourceDefinitions().map(({ metadata, spec }) => ({
      name: metadata.name,
      scope: spec.scope,
      shortNames: spec.names.shortNames,
      categories: spec.names.categories,
      columns: spec.versions[0]!.additionalPrinterColumns.filter(
        (column) => column.priority === undefined,
      )
        .map((column) => column.name.toUpperCase())
        .join(' '),
      subresources: Object.keys(spec.versions[0]!.subresources),
    }));
    expect(shown).toEqual([
      {
        name: 'projects.nap.dev',
        scope: 'Namespaced',
        shortNames: ['proj'],
        categories: ['nap', 'all'],
        columns: 'READY SERVICES INSTANCES STATUS URL AGE',
        subresources: ['status'],
      },
      {
        name: 'services.nap.dev',
        scope: 'Namespaced',
        shortNames: ['napsvc'],
        categories: ['nap', 'all'],
        columns: 'READY STATUS INSTANCES COMPLETIONS IMAGE AGE',
        subresources: ['status', 'scale'],
      },
      {
        name: 'hosts.nap.dev',
        scope: 'Cluster',
        shortNames: ['naphost'],
        categories: ['nap'],
        columns: 'STATUS ADDRESS SUBNET INSTANCES CPU MEMORY VERSION AGE',
        subresources: ['status'],
      },
    ]);
  });

  it('takes every column from a field that exists', () => {
    for (const crd of customResourceDefinitions()) {
      const { schema, additionalPrinterColumns } = crd.spec.versions[0]!;
      for (const { jsonPath } of additionalPrinterColumns) {
        if (jsonPath.startsWith('.metadata')) continue;
        let node = schema.openAPIV3Schema as Schema | undefined;
        for (const segment of jsonPath
          .replace(/\[\?.*?\)\]/, '.[]')
          .split('.')
          .slice(1)) {
          node = segment === '[]' ? node?.items : node?.properties?.[segment];
        }
        expect(node, jsonPath).toBeDefined();
      }
    }
  });
});
