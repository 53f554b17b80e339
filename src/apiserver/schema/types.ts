import type { JsonObject } from '../../api/json.ts';

/** A CEL rule of a structural schema (`x-kubernetes-validations`). */
export interface ValidationRule {
  readonly rule: string;
  readonly message?: string;
  readonly messageExpression?: string;
  readonly reason?:
    'FieldValueInvalid' | 'FieldValueForbidden' | 'FieldValueRequired' | 'FieldValueDuplicate';
  readonly fieldPath?: string;
  readonly optionalOldSelf?: boolean;
}

/** The part of OpenAPI v3 that Kubernetes allows in a structural schema. */
export interface JsonSchema {
  readonly type?: string;
  readonly format?: string;
  readonly title?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly example?: unknown;
  readonly nullable?: boolean;
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly additionalProperties?: boolean | JsonSchema;
  readonly required?: readonly string[];
  readonly items?: JsonSchema;
  readonly allOf?: readonly JsonSchema[];
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly not?: JsonSchema;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: boolean;
  readonly exclusiveMaximum?: boolean;
  readonly multipleOf?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly uniqueItems?: boolean;
  readonly minProperties?: number;
  readonly maxProperties?: number;
  readonly 'x-kubernetes-int-or-string'?: boolean;
  readonly 'x-kubernetes-preserve-unknown-fields'?: boolean;
  readonly 'x-kubernetes-embedded-resource'?: boolean;
  readonly 'x-kubernetes-list-type'?: 'atomic' | 'set' | 'map';
  readonly 'x-kubernetes-list-map-keys'?: readonly string[];
  readonly 'x-kubernetes-map-type'?: 'atomic' | 'granular';
  readonly 'x-kubernetes-validations'?: readonly ValidationRule[];
}

/** `reason` of a cause in a Status of reason Invalid, as Kubernetes spells it. */
export type CauseReason =
  | 'FieldValueInvalid'
  | 'FieldValueRequired'
  | 'FieldValueTypeInvalid'
  | 'FieldValueNotSupported'
  | 'FieldValueForbidden'
  | 'FieldValueDuplicate'
  | 'FieldValueTooLong'
  | 'FieldValueTooMany';

/** One thing that is wrong with an object; `message` does not repeat `field`. */
export interface FieldCause {
  readonly reason: CauseReason;
  /** For example `Invalid value: "string": spec.replicas in body must be of type integer: "string"`. */
  readonly message: string;
  /** For example `spec.services[web].replicas`. */
  readonly field: string;
}

/** A schema made ready once, then used for every request. All functions leave their argument as it is. */
export interface CompiledSchema {
  readonly schema: JsonSchema;
  /**
   * Drops the fields that the schema does not know. `unknown` names them in the form that Kubernetes
   * prints (`spec.bogus`, `spec.list[2].bogus`), for strict decoding errors and warnings.
   */
  prune(object: JsonObject): { object: JsonObject; unknown: string[] };
  /** Fills in the defaults of absent fields, and of explicit nulls where null is not allowed. */
  applyDefaults(object: JsonObject): JsonObject;
  /** Everything that is wrong with an object; with `old` given, transition rules hold as well. */
  validate(object: JsonObject, old?: JsonObject): FieldCause[];
}
