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
