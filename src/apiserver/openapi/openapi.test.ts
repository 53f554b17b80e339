import { readFileSync } from 'node:fs';
import protobuf from 'protobufjs/light.js';
import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../api/json.ts';
import { compileSchema } from '../schema/structural.ts';
import type { JsonSchema } from '../schema/types.ts';
import type { ApiKind } from './api-kind.ts';
import { builtinKinds } from './builtin-schemas.ts';
import { openapiV2Document, openapiV2Protobuf } from './v2.ts';
import { openapiV3Document, openapiV3Index } from './v3.ts';

const project: ApiKind = {
  group: 'nap.dev',
  version: 'v1alpha1',
  kind: 'Project',
  plural: 'projects',
  namespaced: true,
  subresources: ['status', 'scale'],
  schema: {
    type: 'object',
    description: 'One application.',
    properties: {
      spec: {
        type: 'object',
        properties: {
          services: {
            type: 'object',
            description: 'The services.',
            additionalProperties: {
              type: 'object',
              properties: {
                replicas: { type: 'integer', default: 1, minimum: 0, enum: [0, 1, 2] },
                value: { 'x-kubernetes-int-or-string': true },
                list: { type: 'array', items: { type: 'string', nullable: true } },
              },
            },
          },
        },
        anyOf: [{ required: ['services'] }],
      },
    },
  },
};
const kinds: readonly ApiKind[] = [...builtinKinds, project];

/** Every `$ref` in a document. */
function references(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(references);
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, child]) =>
    key === '$ref' && typeof child === 'string' ? [child] : references(child),
  );
}

describe('OpenAPI v3', () => {
  it('lists every group version with a hash that follows the content', () => {
    const paths = openapiV3Index(kinds)['paths'] as Record<string, { serverRelativeURL: string }>;
    expect(Object.keys(paths).sort()).toEqual([
      'api/v1',
      'apis/apiextensions.k8s.io/v1',
      'apis/coordination.k8s.io/v1',
      'apis/events.k8s.io/v1',
      'apis/nap.dev/v1alpha1',
    ]);
    const url = (all: readonly ApiKind[]) =>
      (openapiV3Index(all)['paths'] as typeof paths)['apis/nap.dev/v1alpha1']?.serverRelativeURL;
    expect(url(kinds)).toMatch(/^\/openapi\/v3\/apis\/nap\.dev\/v1alpha1\?hash=[0-9A-F]{128}$/);
    expect(url([...kinds])).toBe(url(kinds));
    const changed = { ...project, schema: { ...project.schema, description: 'Another.' } };
    expect(url([changed])).not.toBe(url([project]));
  });

  const document = openapiV3Document(kinds, 'nap.dev/v1alpha1');
  const schemas = (document['components'] as { schemas: Record<string, JsonObject> }).schemas;

  it('has what kubectl needs to apply: a patch with the kind and fieldValidation', () => {
    const paths = document['paths'] as Record<string, Record<string, JsonObject>>;
    const item = paths['/apis/nap.dev/v1alpha1/namespaces/{namespace}/projects/{name}'];
    expect(item?.['patch']).toMatchObject({
      'x-kubernetes-group-version-kind': { group: 'nap.dev', kind: 'Project', version: 'v1alpha1' },
      parameters: expect.arrayContaining([
        expect.objectContaining({ name: 'fieldValidation', in: 'query' }),
      ]) as unknown,
    });
    expect(Object.keys(item ?? {})).toEqual(expect.arrayContaining(['get', 'put', 'delete']));
    expect(
      paths['/apis/nap.dev/v1alpha1/namespaces/{namespace}/projects/{name}/scale']?.['patch'],
    ).toMatchObject({ 'x-kubernetes-group-version-kind': { group: 'autoscaling', kind: 'Scale' } });
  });

  it('has the schema of the kind, with metadata that explains itself', () => {
    expect(schemas['dev.nap.v1alpha1.Project']).toMatchObject({
      'x-kubernetes-group-version-kind': [
        { group: 'nap.dev', kind: 'Project', version: 'v1alpha1' },
      ],
      properties: {
        metadata: {
          allOf: [{ $ref: '#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta' }],
        },
      },
    });
  });

  it('names the type of what is a number or a string, for kubectl explain', () => {
    expect(JSON.stringify(schemas['dev.nap.v1alpha1.Project'])).toContain(
      '"value":{"x-kubernetes-int-or-string":true,"allOf":[{"$ref":"#/components/schemas/io.k8s.apimachinery.pkg.util.intstr.IntOrString"}]}',
    );
  });

  it('refers to nothing that is not there, in every document', () => {
    for (const groupVersion of ['v1', 'nap.dev/v1alpha1', 'events.k8s.io/v1']) {
      const all = openapiV3Document(kinds, groupVersion);
      const names = Object.keys((all['components'] as { schemas: JsonObject }).schemas);
      for (const ref of references(all)) {
        expect(names).toContain(ref.replace('#/components/schemas/', ''));
      }
    }
  });

  it('describes every field of the built-in kinds', () => {
    const undescribed = (schema: JsonSchema, at: string): string[] =>
      Object.entries(schema.properties ?? {}).flatMap(([name, child]) => [
        ...(child.description ? [] : [`${at}.${name}`]),
        ...undescribed(child, `${at}.${name}`),
      ]);
    expect(kinds.slice(0, -1).flatMap((kind) => undescribed(kind.schema, kind.kind))).toEqual([]);
  });
});

describe('OpenAPI v2', () => {
  const document = openapiV2Document(kinds);

  it('refers to nothing that is not there', () => {
    const names = Object.keys(document['definitions'] as JsonObject);
    for (const ref of references(document)) {
      expect(names).toContain(ref.replace('#/definitions/', ''));
    }
  });

  it('leaves out what swagger 2.0 cannot say', () => {
    const definition = (document['definitions'] as Record<string, JsonObject>)[
      'dev.nap.v1alpha1.Project'
    ];
    const text = JSON.stringify(definition);
    expect(text).not.toMatch(/anyOf|nullable|oneOf/);
    expect(text).toContain('"x-kubernetes-int-or-string":true');
  });

  it('has a protobuf form with all paths and definitions', () => {
    // Read with a schema of its own: names of paths and definitions, at gnostic's field numbers.
    const field = (id: number, type: string, rule?: string) => ({
      id,
      type,
      ...(rule && { rule }),
    });
    const reader = protobuf.Root.fromJSON({
      nested: {
        Document: {
          fields: {
            swagger: field(1, 'string'),
            paths: field(8, 'Paths'),
            definitions: field(9, 'Definitions'),
          },
        },
        Paths: { fields: { path: field(2, 'Named', 'repeated') } },
        Definitions: { fields: { named: field(1, 'Named', 'repeated') } },
        Named: { fields: { name: field(1, 'string') } },
      },
    }).lookupType('Document');
    const decoded = reader.toObject(reader.decode(openapiV2Protobuf(kinds))) as {
      swagger: string;
      paths: { path: { name: string }[] };
      definitions: { named: { name: string }[] };
    };
    expect(decoded.swagger).toBe('2.0');
    const names = (list: { name: string }[]) => list.map(({ name }) => name);
    expect(names(decoded.paths.path)).toEqual(Object.keys(document['paths'] as JsonObject));
    expect(names(decoded.definitions.named)).toEqual(
      Object.keys(document['definitions'] as JsonObject),
    );
  });
});

describe('the schemas of the built-in kinds', () => {
  it.each(kinds.map((kind) => [`${kind.group}/${kind.kind}`, kind] as const))('%s', (_, kind) => {
    expect(() => compileSchema(kind.schema)).not.toThrow();
  });

  it('accept what clients send', () => {
    const of = (group: string, kind: string) => {
      const found = builtinKinds.find((k) => k.group === group && k.kind === kind);
      return compileSchema(found!.schema);
    };
    const event = {
      metadata: { generateName: 'x.', creationTimestamp: null },
      involvedObject: { kind: 'Project', name: 'p', namespace: 'default' },
      eventTime: null,
      firstTimestamp: '2026-01-01T00:00:00Z',
      lastTimestamp: null,
      source: {},
      count: 1,
    };
    expect(of('', 'Event').validate(event)).toEqual([]);
    expect(of('', 'Event').prune(event).unknown).toEqual([]);
    const lease = { metadata: {}, spec: { renewTime: '2026-01-01T00:00:00.000001Z' } };
    expect(of('coordination.k8s.io', 'Lease').validate(lease)).toEqual([]);
    expect(of('', 'Secret').validate({ metadata: {}, data: { a: 'not base64!' } })).toHaveLength(1);
  });
});

describe('the generated CRDs', () => {
  it('compile, and take a Project of 100 services', async () => {
    const { parse } = await import('yaml');
    const text = readFileSync(
      new URL('../../../crds/projects.nap.dev.yaml', import.meta.url),
      'utf8',
    );
    const crd = parse(text) as {
      spec: { versions: { schema: { openAPIV3Schema: JsonSchema } }[] };
    };
    const schema = compileSchema(crd.spec.versions[0]!.schema.openAPIV3Schema);
    const services = Object.fromEntries(
      Array.from({ length: 100 }, (_, i) => [
        `s-${i}`,
        {
          image: 'redis:7',
          replicas: 2,
          environment: { A: '1', B: 2 },
          ports: [`${8000 + i}:80`, 6379],
          links: [`s-${(i + 1) % 100}:db`],
        },
      ]),
    );
    const object = {
      apiVersion: 'nap.dev/v1alpha1',
      kind: 'Project',
      metadata: { name: 'p' },
      spec: { services },
    };
    const filled = schema.applyDefaults(schema.prune(object).object);
    expect(schema.validate(filled, filled)).toEqual([]);
  });
});
