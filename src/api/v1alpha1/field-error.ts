/** One thing wrong with an object, in words that tell how to put it right. */
export interface FieldError {
  /** Where, as kubectl writes it: `spec.services.web.ports[0]`. */
  readonly path: string;
  /** What stands there. */
  readonly value: unknown;
  /** What would be right. */
  readonly message: string;
  /** `warning`: legal, and probably not what is meant. Only `error` stops an object from being acted on. */
  readonly severity: 'error' | 'warning';
}

/** A map key that can stand behind a dot in a path; others go into brackets. */
const plainKey = /^[A-Za-z_][A-Za-z0-9_-]*$/;

/** Joins path segments as kubectl does: `spec`, `ports`, `0` → `spec.ports[0]`; odd keys become `labels[a.b/c]`. */
export function fieldPath(...segments: readonly PropertyKey[]): string {
  return segments.reduce<string>((path, segment) => {
    const text = String(segment);
    if (typeof segment === 'number' || !plainKey.test(text)) return `${path}[${text}]`;
    return path === '' ? text : `${path}.${text}`;
  }, '');
}

/** Longest quotation of a refused value in a message, characters. */
const maxQuoted = 80;

/** `spec.ports[0]: "80:x": the port …`: one line for a condition, an event or a log. */
export function formatFieldError(error: FieldError): string {
  // JSON.stringify gives undefined for an absent value.
  const json = JSON.stringify(error.value) as string | undefined;
  if (json === undefined) return `${error.path}: ${error.message}`;
  const quoted = json.length > maxQuoted ? `${json.slice(0, maxQuoted)}…` : json;
  return `${error.path}: ${quoted}: ${error.message}`;
}
