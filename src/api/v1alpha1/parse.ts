import { z } from 'zod';
import { fieldPath, type FieldError } from './field-error.ts';
import type { KubeObject } from './meta.ts';
import { projectSpec, type Project, type ProjectSpec } from './project.ts';
import { serviceSpec, type ServiceSpec } from './service-spec.ts';
import type { Service } from './service.ts';
import { validateProject, validateService } from './validation.ts';

/** A Project whose spec has its defaults and holds nothing that cannot be acted on. */
export interface ParsedProject extends Omit<Project, 'spec'> {
  readonly spec: ProjectSpec;
}

/** A Service whose spec has its defaults and holds nothing that cannot be acted on. */
export interface ParsedService extends Omit<Service, 'spec'> {
  readonly spec: ServiceSpec;
}

/** Either the object, with what is probably not meant, or all that is wrong with it (warnings among it). */
export type Parsed<T> =
  | { readonly ok: true; readonly value: T; readonly warnings: readonly FieldError[] }
  | { readonly ok: false; readonly errors: readonly FieldError[] };

const meta = z.looseObject({ name: z.string().min(1), namespace: z.string().optional() });

/**
 * Checks a Project from outside: schema, defaults, then what the schema cannot say. Never throws.
 * The API server has checked much of it before; but objects older than a rule, and other sources, come this way too.
 */
export function parseProject(object: unknown): Parsed<ParsedProject> {
  return parse<ParsedProject>(object, 'Project', projectSpec, validateProject);
}

/** The same for a Service. */
export function parseService(object: unknown): Parsed<ParsedService> {
  return parse<ParsedService>(object, 'Service', serviceSpec, validateService);
}

function parse<T extends KubeObject & { readonly spec: unknown }>(
  object: unknown,
  kind: string,
  spec: z.ZodType<T['spec']>,
  validate: (object: T) => FieldError[],
): Parsed<T> {
  const schema = z.looseObject({ kind: z.literal(kind), metadata: meta, spec });
  const result = schema.safeParse(object);
  if (!result.success) {
    return { ok: false, errors: result.error.issues.map((issue) => fromIssue(issue, object)) };
  }
  // The schema has just vouched for it; zod's type of a loose object with a generic part cannot say so.
  const value = result.data as unknown as T;
  const found = validate(value);
  return found.some((error) => error.severity === 'error')
    ? { ok: false, errors: found }
    : { ok: true, value, warnings: found };
}

function fromIssue(issue: z.core.$ZodIssue, object: unknown): FieldError {
  let value: unknown = object;
  for (const segment of issue.path) {
    value =
      typeof value === 'object' && value !== null
        ? (value as Record<PropertyKey, unknown>)[segment]
        : undefined;
  }
  return { path: fieldPath(...issue.path), value, message: wording(issue), severity: 'error' };
}

function wording(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return `must be ${withArticle(issue.expected)}`;
    case 'invalid_union':
      return 'must be an integer or a string; write fractions, true and false in quotes';
    case 'invalid_value':
      return `must be ${issue.values.map((value) => JSON.stringify(value)).join(' or ')}`;
    default:
      return issue.message;
  }
}

function withArticle(type: string): string {
  const word = type === 'int' ? 'integer' : type === 'record' ? 'object' : type;
  return /^[aeiou]/.test(word) ? `an ${word}` : `a ${word}`;
}
