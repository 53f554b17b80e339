import { printFieldPath } from './field-path.ts';
import type { FieldPath } from './field-path.ts';
import type { CauseReason, FieldCause } from './types.ts';

/**
 * A cause together with the place of the schema node that raised it, which decides whether an update
 * that did not touch that place may keep it.
 */
export interface LocatedCause extends FieldCause {
  readonly node: FieldPath;
  /** Transition rules are never excused. */
  readonly transition?: boolean;
}

const prefixes: Record<CauseReason, string> = {
  FieldValueInvalid: 'Invalid value',
  FieldValueTypeInvalid: 'Invalid value',
  FieldValueRequired: 'Required value',
  FieldValueNotSupported: 'Unsupported value',
  FieldValueForbidden: 'Forbidden',
  FieldValueDuplicate: 'Duplicate value',
  FieldValueTooLong: 'Too long',
  FieldValueTooMany: 'Too many',
};

/** Reasons whose message does not show the value. */
const withoutValue = new Set<CauseReason>([
  'FieldValueRequired',
  'FieldValueForbidden',
  'FieldValueTooLong',
]);

/** Marks "there is no value to show", which is not the same as null. */
export const noValue = Symbol('no value');

/** The text of a cause as k8s.io/apimachinery's field.Error builds it, without the field. */
export function causeMessage(reason: CauseReason, value: unknown, detail: string): string {
  let message = prefixes[reason];
  if (!withoutValue.has(reason) && value !== noValue) message += `: ${showValue(value)}`;
  return detail === '' ? message : `${message}: ${detail}`;
}

/** A cause at `path`, raised by the schema node at `node` (default: the same place). */
export function cause(
  reason: CauseReason,
  path: FieldPath,
  value: unknown,
  detail: string,
  node: FieldPath = path,
): LocatedCause {
  return {
    reason,
    field: printFieldPath(path),
    message: causeMessage(reason, value, detail),
    node,
  };
}

function showValue(value: unknown): string {
  if (value === null || value === undefined) return '"null"';
  return typeof value === 'object' ? goSyntax(value) : quote(value as string | number | boolean);
}

/** Go's %q for strings, %v for the rest. */
export function quote(value: string | number | boolean): string {
  return typeof value === 'string' ? JSON.stringify(value) : String(value);
}

/** Go's %#v of decoded JSON, which is how Kubernetes shows lists and objects in messages. */
function goSyntax(value: unknown): string {
  if (value === null) return 'interface {}(nil)';
  if (Array.isArray(value)) return `[]interface {}{${value.map(goSyntax).join(', ')}}`;
  if (typeof value === 'object') {
    const entries = Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([k, v]) => `${JSON.stringify(k)}:${goSyntax(v)}`);
    return `map[string]interface {}{${entries.join(', ')}}`;
  }
  return quote(value as string | number | boolean);
}
