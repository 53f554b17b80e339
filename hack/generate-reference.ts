/**
 * Writes the field reference into README.md from the schemas, between the marks.
 *
 *   tsx hack/generate-reference.ts [--check]     --check: only say whether it is current
 */
import { readFile, writeFile } from 'node:fs/promises';
import { customResourceDefinitions } from '../src/api/v1alpha1/crd.ts';

interface Schema {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema;
  readonly items?: Schema;
  readonly 'x-kubernetes-int-or-string'?: boolean;
}

const openMark = '<!-- reference -->';
const closeMark = '<!-- /reference -->';

function typeOf(schema: Schema): string {
  if (schema['x-kubernetes-int-or-string'] === true) return 'string or int';
  if (schema.items !== undefined) return `list of ${typeOf(schema.items)}`;
  if (schema.additionalProperties !== undefined) {
    return `map to ${typeOf(schema.additionalProperties)}`;
  }
  if (schema.enum !== undefined) return schema.enum.map(String).join(' \\| ');
  return schema.type ?? 'any';
}

function rows(schema: Schema, path: string): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const full = path === '' ? name : `${path}.${name}`;
    const fallback =
      field.default === undefined || typeof field.default === 'object'
        ? ''
        : ` Default: ${JSON.stringify(field.default)}.`;
    const text = (field.description ?? '').replaceAll('|', '\\|').replaceAll('\n', ' ');
    const nested = field.items ?? field.additionalProperties ?? field;
    return [`| \`${full}\` | ${typeOf(field)} | ${text}${fallback} |`, ...rows(nested, full)];
  });
}

function specOf(kind: string): Schema {
  const crd = customResourceDefinitions().find((each) => each.spec.names.kind === kind);
  const schema = crd?.spec.versions[0]?.schema.openAPIV3Schema as Schema | undefined;
  const spec = schema?.properties?.['spec'];
  if (spec === undefined) throw new Error(`there is no kind ${kind}`);
  return spec;
}

function tableOf(schema: Schema): string {
  return ['| field | type | meaning |', '| --- | --- | --- |', ...rows(schema, '')].join('\n');
}

const { services, ...project } = specOf('Project').properties ?? {};
if (services === undefined) throw new Error('a Project has no services');
const reference = [
  tableOf(specOf('Service')),
  'Of a Project (`spec`), beside its services:',
  tableOf({
    properties: {
      services: { ...services, additionalProperties: { type: 'service' } },
      ...project,
    },
  }),
  'Of a Host (`spec`):',
  tableOf(specOf('Host')),
].join('\n\n');

const readme = await readFile('README.md', 'utf8');
const [before, rest = ''] = readme.split(openMark);
const [, after] = rest.split(closeMark);
if (before === undefined || after === undefined) throw new Error('README.md has lost its marks');
const current = `${before}${openMark}\n\n${reference}\n\n${closeMark}${after}`;
if (process.argv.includes('--check')) {
  if (current !== readme) {
    process.stderr.write('the reference in README.md is not current; run `make crds`\n');
    process.exit(1);
  }
} else {
  await writeFile('README.md', current);
}
