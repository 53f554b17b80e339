import { Ajv } from 'ajv';
import type { ErrorObject, ValidateFunction } from 'ajv';
import { toAjvSchema } from './ajv-schema.ts';
import { cause, noValue } from './cause.ts';
import type { LocatedCause } from './cause.ts';
import { printDottedPath } from './field-path.ts';
import type { FieldPath, Segment } from './field-path.ts';
import { kubernetesFormats } from './formats.ts';
import { SchemaError } from './node.ts';
import type { CauseReason, JsonSchema } from './types.ts';

/** ajv's errors are only looked at up to here: sorting out more costs more than it tells. */
const maxErrors = 1000;

/** Compiles the value validations (types, limits, patterns, enums …) of a schema. */
export function compileValueValidation(schema: JsonSchema): (object: unknown) => LocatedCause[] {
  const ajv = new Ajv({
    allErrors: true,
    verbose: true,
    strict: false,
    validateSchema: false,
    allowUnionTypes: true,
    // Go's patterns allow escapes that JavaScript refuses in unicode mode.
    unicodeRegExp: false,
    logger: false,
    formats: kubernetesFormats,
  });
  let validate: ValidateFunction;
  try {
    validate = ajv.compile(toAjvSchema(schema, true));
  } catch (error) {
    throw new SchemaError(error instanceof Error ? error.message : String(error));
  }
  return (object) => {
    if (validate(object)) return [];
    return relevantErrors((validate.errors ?? []).slice(0, maxErrors)).map((error) =>
      toCause(error, object),
    );
  };
}

/**
 * ajv lists the errors of every branch of anyOf and oneOf. As Kubernetes does, keep those of the branch
 * that came closest, and the fact itself.
 */
function relevantErrors(errors: readonly ErrorObject[]): ErrorObject[] {
  const dropped = new Set<ErrorObject>();
  for (const parent of errors) {
    if (parent.keyword !== 'anyOf' && parent.keyword !== 'oneOf') continue;
    const branches = new Map<string, ErrorObject[]>();
    for (const error of errors) {
      if (!error.schemaPath.startsWith(`${parent.schemaPath}/`)) continue;
      if (!error.instancePath.startsWith(parent.instancePath)) continue;
      const branch = /^\/(\d+)/.exec(error.schemaPath.slice(parent.schemaPath.length))?.[1] ?? '';
      branches.set(branch, [...(branches.get(branch) ?? []), error]);
    }
    const [, ...rest] = [...branches.values()].sort((a, b) => a.length - b.length);
    for (const error of rest.flat()) dropped.add(error);
  }
  const mistyped = new Set(
    errors.filter(({ keyword }) => keyword === 'type').map(({ instancePath }) => instancePath),
  );
  return errors.filter(
    (error) =>
      !dropped.has(error) &&
      error.keyword !== 'if' &&
      // A fraction is no int32, but first of all it is no integer.
      !(error.keyword === 'format' && mistyped.has(error.instancePath)),
  );
}

/** JSON Pointer to path, telling list indexes from map keys by the data. */
function toPath(pointer: string, root: unknown): FieldPath {
  const path: Segment[] = [];
  let at = root;
  for (const part of pointer.split('/').slice(1)) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~');
    path.push(Array.isArray(at) ? Number(key) : key);
    at = (at as Record<string, unknown>)[key];
  }
  return path;
}

function jsonType(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number';
  return typeof value;
}

/** One error of ajv in the words of k8s.io/kube-openapi/pkg/validation and the API server. */
function toCause(error: ErrorObject, root: unknown): LocatedCause {
  const path = toPath(error.instancePath, root);
  const params = error.params as Record<string, unknown>;
  const value: unknown = error.data;
  const name = printDottedPath(path);
  const invalid = (text: string, shown: unknown = value): LocatedCause =>
    cause('FieldValueInvalid', path, shown, `${name} in body ${text}`);
  const sizes = (reason: CauseReason, shown: unknown, detail: string): LocatedCause =>
    cause(reason, path, shown, detail);
  const limit = String(params['limit']);
  switch (error.keyword) {
    case 'type': {
      const types = [params['type']].flat().filter((type) => type !== 'null');
      const found = jsonType(value);
      const detail = `${name} in body must be of type ${types.join(',')}: "${found}"`;
      return cause('FieldValueTypeInvalid', path, found, detail);
    }
    case 'format': {
      const shown = typeof value === 'string' ? `: ${JSON.stringify(value)}` : '';
      const detail = `${name} in body must be of type ${String(params['format'])}${shown}`;
      return cause('FieldValueTypeInvalid', path, value, detail);
    }
    case 'required': {
      const field = [...path, String(params['missingProperty'])];
      return cause('FieldValueRequired', field, noValue, '', path);
    }
    case 'enum': {
      const allowed = (params['allowedValues'] as unknown[]).filter((v) => v !== null);
      const list = allowed.map((v) =>
        JSON.stringify(typeof v === 'string' ? v : JSON.stringify(v)),
      );
      return cause('FieldValueNotSupported', path, value, `supported values: ${list.join(', ')}`);
    }
    case 'maxLength':
      return sizes('FieldValueTooLong', noValue, `may not be more than ${limit} bytes`);
    case 'maxItems':
      return sizes(
        'FieldValueTooMany',
        (value as unknown[]).length,
        `must have at most ${limit} items`,
      );
    case 'maxProperties':
      return sizes(
        'FieldValueTooMany',
        Object.keys(value as object).length,
        `must have at most ${limit} items`,
      );
    case 'minLength':
      return invalid(`should be at least ${limit} chars long`);
    case 'minItems':
      return invalid(`should have at least ${limit} items`, (value as unknown[]).length);
    case 'minProperties':
      return invalid(
        `should have at least ${limit} properties`,
        Object.keys(value as object).length,
      );
    case 'minimum':
      return invalid(`should be greater than or equal to ${limit}`);
    case 'maximum':
      return invalid(`should be less than or equal to ${limit}`);
    case 'exclusiveMinimum':
      return invalid(`should be greater than ${limit}`);
    case 'exclusiveMaximum':
      return invalid(`should be less than ${limit}`);
    case 'multipleOf':
      return invalid(`should be a multiple of ${String(params['multipleOf'])}`);
    case 'pattern':
      return invalid(`should match '${String(params['pattern'])}'`);
    case 'uniqueItems':
      return invalid("shouldn't contain duplicates", noValue);
    case 'anyOf':
      return composite(path, `"${name}" must validate at least one schema (anyOf)`);
    case 'oneOf': {
      const found = params['passingSchemas'] ? 'Found more than one valid' : 'Found none valid';
      return composite(path, `"${name}" must validate one and only one schema (oneOf). ${found}`);
    }
    case 'not':
      return composite(path, `"${name}" must not validate the schema (not)`);
    default:
      return composite(path, `"${name}" ${error.message ?? 'is not valid'}`);
  }
}

/** Kubernetes reports these without a field of their own; the text names it. */
function composite(node: FieldPath, detail: string): LocatedCause {
  return cause('FieldValueInvalid', [], '', detail, node);
}
