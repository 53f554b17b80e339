import type { Environment } from '@marcbachmann/cel-js';
import { evaluate } from '@marcbachmann/cel-js';
import { isObject } from '../../../api/json.ts';
import type { SchemaNode } from '../node.ts';

/**
 * CEL's view of a schema node: the name of its type, and how decoded JSON becomes a value of that type.
 * The mapping is Kubernetes': integers are int, numbers double, `date-time` a timestamp, declared
 * objects are messages with escaped field names, maps map<string, T>, int-or-string is dyn.
 */
export interface CelType {
  readonly name: string;
  /** `value` must satisfy the schema's types. */
  convert(value: unknown): unknown;
  readonly field: (key: string) => CelType | undefined;
  readonly items: CelType | undefined;
}

/** Words that cannot be CEL identifiers; Kubernetes escapes fields of such names as `__word__`. */
const reserved = new Set(
  (
    'true false null in as break const continue else for function if import let loop package ' +
    'namespace return var void while'
  ).split(' '),
);

/** Kubernetes' escaping of field names; undefined for names that rules cannot reach. */
export function escapeFieldName(name: string): string | undefined {
  if (reserved.has(name)) return `__${name}__`;
  if (!/^[A-Za-z_.\-/][A-Za-z0-9_.\-/]*$/.test(name)) return undefined;
  return name
    .replaceAll('__', '__underscores__')
    .replaceAll('.', '__dot__')
    .replaceAll('-', '__dash__')
    .replaceAll('/', '__slash__');
}

/** Base of all messages. A Map, so that a field called "constructor" is nothing special. */
export class CelMessage extends Map<string, unknown> {}

/** Type names live in one table of the CEL library: each needs a name of its own. */
let lastType = 0;

/** Registers the types that `node` needs with `env`. */
export function celType(env: Environment, node: SchemaNode): CelType {
  const { schema } = node;
  if (node.nullable) {
    const inner = celTypeNonNull(env, node);
    return { ...inner, name: 'dyn', convert: (v) => (v === null ? null : inner.convert(v)) };
  }
  if (schema['x-kubernetes-int-or-string']) return dynamic;
  return celTypeNonNull(env, node);
}

function celTypeNonNull(env: Environment, node: SchemaNode): CelType {
  switch (node.schema.type) {
    case 'string':
      return stringTypes[node.schema.format ?? ''] ?? plain('string');
    case 'boolean':
      return plain('bool');
    case 'integer':
      return { ...plain('int'), convert: (v) => BigInt(Math.trunc(v as number)) };
    case 'number':
      return plain('double');
    case 'array': {
      const items = node.items ? celType(env, node.items) : dynamic;
      return {
        name: `list<${items.name}>`,
        convert: (v) => (v as unknown[]).map((item) => items.convert(item)),
        field: () => undefined,
        items,
      };
    }
    case 'object':
      if (node.fields.size > 0) return message(env, node);
      if (node.values) return mapType(celType(env, node.values));
      return mapType(dynamic);
    default:
      return dynamic;
  }
}

function mapType(values: CelType): CelType {
  return {
    name: `map<string, ${values.name}>`,
    convert: (v) =>
      new Map(
        Object.entries(v as object).map(([key, value]): [string, unknown] => [
          key,
          values.convert(value),
        ]),
      ),
    field: () => values,
    items: undefined,
  };
}

function message(env: Environment, node: SchemaNode): CelType {
  lastType += 1;
  const name = `Object_${lastType}`;
  class Message extends CelMessage {}
  const fields = new Map<string, { escaped: string; type: CelType }>();
  const declared: Record<string, string> = {};
  for (const [key, child] of node.fields) {
    // Of the root's metadata rules see the names only, as in Kubernetes.
    const seen = node.resource && key === 'metadata' ? nameOnly(child) : child;
    const escaped = escapeFieldName(key);
    if (escaped === undefined) continue;
    const type = celType(env, seen);
    fields.set(key, { escaped, type });
    declared[escaped] = type.name;
  }
  env.registerType(name, { ctor: Message, fields: declared });
  env.registerOperator(`${name} == ${name}`, celEqual);
  return {
    name,
    convert: (value) => {
      const out = new Message();
      const object = value as Record<string, unknown>;
      for (const key of Object.keys(object)) {
        const field = fields.get(key);
        if (field && object[key] !== undefined)
          out.set(field.escaped, field.type.convert(object[key]));
      }
      return out;
    },
    field: (key) => fields.get(key)?.type,
    items: undefined,
  };
}

function nameOnly(metadata: SchemaNode): SchemaNode {
  const fields = [...metadata.fields].filter(([key]) => key === 'name' || key === 'generateName');
  return { ...metadata, fields: new Map(fields), resource: false };
}

function plain(name: string): CelType {
  return { name, convert: (v) => v, field: () => undefined, items: undefined };
}

const dynamic: CelType = {
  name: 'dyn',
  convert: toDynamic,
  field: () => dynamic,
  items: undefined,
};

function toDynamic(value: unknown): unknown {
  if (typeof value === 'number') return Number.isInteger(value) ? BigInt(value) : value;
  if (Array.isArray(value)) return value.map(toDynamic);
  if (!isObject(value)) return value;
  return new Map(Object.entries(value).map(([k, v]): [string, unknown] => [k, toDynamic(v)]));
}

/** A text that its format refused is left to value validation; the rule then fails on its type. */
const through =
  (expression: string) =>
  (value: unknown): unknown => {
    try {
      return evaluate(expression, { value });
    } catch {
      return value;
    }
  };

const stringTypes: Readonly<Record<string, CelType | undefined>> = {
  'date-time': {
    ...plain('google.protobuf.Timestamp'),
    convert: through('timestamp(value)'),
  },
  date: {
    ...plain('google.protobuf.Timestamp'),
    convert: through('timestamp(value + "T00:00:00Z")'),
  },
  duration: { ...plain('google.protobuf.Duration'), convert: through('duration(value)') },
  byte: { ...plain('bytes'), convert: (v) => new Uint8Array(Buffer.from(v as string, 'base64')) },
};

/** Equality of converted values. */
export function celEqual(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== typeof b) {
    // CEL compares numbers across their types.
    return (
      (typeof a === 'bigint' || typeof a === 'number') &&
      (typeof b === 'bigint' || typeof b === 'number') &&
      Number(a) === Number(b)
    );
  }
  if (Array.isArray(a)) {
    return Array.isArray(b) && a.length === b.length && a.every((v, i) => celEqual(v, b[i]));
  }
  if (a instanceof Map) {
    if (!(b instanceof Map) || a.size !== b.size) return false;
    return [...a].every(([key, value]) => b.has(key) && celEqual(value, b.get(key)));
  }
  if (a instanceof Date) return b instanceof Date && a.getTime() === b.getTime();
  if (a instanceof Uint8Array) return b instanceof Uint8Array && Buffer.compare(a, b) === 0;
  return isDuration(a) && isDuration(b) && a.seconds === b.seconds && a.nanos === b.nanos;
}

function isDuration(value: unknown): value is { seconds: bigint; nanos: number } {
  return typeof value === 'object' && value !== null && 'seconds' in value && 'nanos' in value;
}
