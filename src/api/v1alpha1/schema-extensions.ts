/** One CEL rule of a CRD (`x-kubernetes-validations`). */
export interface ValidationRule {
  readonly rule: string;
  readonly message: string;
  readonly reason?: 'FieldValueInvalid' | 'FieldValueForbidden' | 'FieldValueDuplicate';
  /** JSON path, relative to where the rule stands, of what the message is about. */
  readonly fieldPath?: string;
}

/** Says what must hold and, for who breaks it, what would be right. */
export function rule(expression: string, message: string): ValidationRule {
  return { rule: expression, message };
}

/** What a zod schema's `meta` may carry beyond JSON schema; crd.ts writes it into the CRD. */
export interface SchemaExtensions {
  /** A union of integer and string: becomes `x-kubernetes-int-or-string`. */
  readonly intOrString?: true;
  readonly pattern?: string;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly maxProperties?: number;
  readonly 'x-kubernetes-list-type'?: 'atomic' | 'set' | 'map';
  readonly 'x-kubernetes-list-map-keys'?: readonly string[];
  readonly 'x-kubernetes-validations'?: readonly ValidationRule[];
}

/**
 * A `pattern` that shows what would be right. An API server answers a value that breaks one with the pattern and nothing else
 * ("should match '…'"), and a rule with words of its own is too expensive where integers are allowed, too (service-spec.ts).
 * So the pattern begins with examples, as alternatives of their own: they are values that it allows anyway.
 */
export function exampleFirst(pattern: string, ...examples: readonly string[]): string {
  for (const example of examples) {
    if (!new RegExp(pattern).test(example) || /[\\^$.|?*+()[\]{}]/.test(example)) {
      throw new Error(`${example} is no example of ${pattern}`);
    }
  }
  return `^(${examples.join('|')})$|${pattern}`;
}
