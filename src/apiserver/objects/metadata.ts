import { isObject, setMember, type JsonObject } from '../../api/json.ts';
import { badRequest, type FieldCause } from '../errors/api-error.ts';
import { labelKeyError, labelValueError, subdomainError } from './names.ts';
import { type KubeObject, type ObjectMeta } from './object.ts';

type Check = (value: unknown) => boolean;
const isString: Check = (value) => typeof value === 'string';
const isNumber: Check = (value) => typeof value === 'number' && Number.isInteger(value);
const isBoolean: Check = (value) => typeof value === 'boolean';
const isStringMap: Check = (value) => isObject(value) && Object.values(value).every(isString);
const listOf =
  (item: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(item);

const ownerFields: Readonly<Record<string, Check>> = {
  apiVersion: isString,
  kind: isString,
  name: isString,
  uid: isString,
  controller: isBoolean,
  blockOwnerDeletion: isBoolean,
};

const managedFields: Readonly<Record<string, Check>> = {
  manager: isString,
  operation: isString,
  apiVersion: isString,
  time: isString,
  fieldsType: isString,
  fieldsV1: isObject,
  subresource: isString,
};

const fits =
  (fields: Readonly<Record<string, Check>>): Check =>
  (value) =>
    isObject(value) &&
    Object.entries(value).every(([key, item]) => item === null || (fields[key]?.(item) ?? true));

const fields: Readonly<Record<string, Check>> = {
  name: isString,
  generateName: isString,
  namespace: isString,
  selfLink: isString,
  uid: isString,
  resourceVersion: isString,
  generation: isNumber,
  creationTimestamp: isString,
  deletionTimestamp: isString,
  deletionGracePeriodSeconds: isNumber,
  labels: isStringMap,
  annotations: isStringMap,
  finalizers: listOf(isString),
  ownerReferences: listOf(fits(ownerFields)),
  managedFields: listOf(fits(managedFields)),
};

/**
 * Reads `metadata` of a body: nulls count as absent, unknown members are dropped and named in `unknown`.
 * A member of the wrong type is 400, as it cannot be decoded at all.
 */
export function decodeMetadata(raw: unknown): { metadata: ObjectMeta; unknown: string[] } {
  if (raw === undefined || raw === null) return { metadata: {}, unknown: [] };
  if (!isObject(raw)) throw badRequest('metadata: Invalid value: must be an object');
  const unknown: string[] = [];
  const metadata: JsonObject = {};
  for (const [key, value] of Object.entries(raw)) {
    const check = Object.hasOwn(fields, key) ? fields[key] : undefined;
    if (check === undefined) unknown.push(`metadata.${key}`);
    else if (value !== null && value !== undefined) {
      if (!check(value)) {
        throw badRequest(
          `unable to decode metadata.${key}: the value has the wrong type: ${JSON.stringify(value).slice(0, 100)}`,
        );
      }
      if (key === 'selfLink') continue;
      setMember(metadata, key, dropNulls(key, value, unknown));
    }
  }
  return { metadata: metadata, unknown };
}

function dropNulls(key: string, value: unknown, unknown: string[]): unknown {
  const known = key === 'ownerReferences' ? ownerFields : undefined;
  if (known === undefined || !Array.isArray(value)) return value;
  return (value as JsonObject[]).map((item, index) => {
    const kept: JsonObject = {};
    for (const [member, content] of Object.entries(item)) {
      if (!Object.hasOwn(known, member)) unknown.push(`metadata.${key}[${index}].${member}`);
      else if (content !== null) kept[member] = content;
    }
    return kept;
  });
}

const cause = (reason: string, field: string, message: string): FieldCause => ({
  reason,
  field,
  message,
});

export const invalidValue = (field: string, value: unknown, why: string): FieldCause =>
  cause('FieldValueInvalid', field, `Invalid value: ${JSON.stringify(value)}: ${why}`);

export const requiredValue = (field: string, why = ''): FieldCause =>
  cause('FieldValueRequired', field, why === '' ? 'Required value' : `Required value: ${why}`);

export const forbiddenValue = (field: string, why: string): FieldCause =>
  cause('FieldValueForbidden', field, `Forbidden: ${why}`);

/** Annotations of one object may hold this much together. */
const maxAnnotationBytes = 256 * 1024;

/** Everything wrong with an object's metadata. `old` is given on updates. */
export function validateMetadata(
  object: KubeObject,
  old: KubeObject | undefined,
  nameError: (name: string) => string | undefined = subdomainError,
): FieldCause[] {
  const { metadata } = object;
  const causes: FieldCause[] = [];
  if (old === undefined) {
    const name = metadata.name ?? '';
    if (name === '')
      causes.push(requiredValue('metadata.name', 'name or generateName is required'));
    else {
      const problem = nameError(name);
      if (problem !== undefined) causes.push(invalidValue('metadata.name', name, problem));
    }
  } else if (metadata.uid !== old.metadata.uid) {
    causes.push(invalidValue('metadata.uid', metadata.uid, 'field is immutable'));
  }
  for (const [key, value] of Object.entries(metadata.labels ?? {})) {
    const badKey = labelKeyError(key);
    if (badKey !== undefined) causes.push(invalidValue('metadata.labels', key, badKey));
    const badValue = labelValueError(value);
    if (badValue !== undefined) causes.push(invalidValue('metadata.labels', value, badValue));
  }
  let bytes = 0;
  for (const [key, value] of Object.entries(metadata.annotations ?? {})) {
    bytes += key.length + value.length;
    const badKey = labelKeyError(key.toLowerCase());
    if (badKey !== undefined) causes.push(invalidValue('metadata.annotations', key, badKey));
  }
  if (bytes > maxAnnotationBytes) {
    causes.push(
      cause(
        'FieldValueTooLong',
        'metadata.annotations',
        `Too long: may not be more than ${maxAnnotationBytes} bytes`,
      ),
    );
  }
  causes.push(...validateOwners(metadata), ...validateFinalizers(metadata, old?.metadata));
  return causes;
}

function validateOwners(metadata: ObjectMeta): FieldCause[] {
  const causes: FieldCause[] = [];
  let controllers = 0;
  for (const [index, owner] of (metadata.ownerReferences ?? []).entries()) {
    const at = `metadata.ownerReferences[${index}]`;
    const text = owner as Partial<typeof owner>;
    if ((text.apiVersion ?? '') === '')
      causes.push(invalidValue(`${at}.apiVersion`, '', 'version must not be empty'));
    for (const member of ['kind', 'name', 'uid'] as const) {
      if ((text[member] ?? '') === '')
        causes.push(invalidValue(`${at}.${member}`, '', `${member} must not be empty`));
    }
    if (owner.controller === true) controllers++;
  }
  if (controllers > 1) {
    causes.push(
      invalidValue(
        'metadata.ownerReferences',
        controllers,
        'Only one reference can have Controller set to true',
      ),
    );
  }
  return causes;
}

const bareFinalizers = new Set(['foregroundDeletion', 'orphan', 'kubernetes']);

function validateFinalizers(metadata: ObjectMeta, old: ObjectMeta | undefined): FieldCause[] {
  const causes: FieldCause[] = [];
  const finalizers = metadata.finalizers ?? [];
  for (const finalizer of finalizers) {
    const problem = labelKeyError(finalizer);
    if (problem !== undefined) causes.push(invalidValue('metadata.finalizers', finalizer, problem));
    else if (
      !finalizer.includes('/') &&
      !bareFinalizers.has(finalizer) &&
      old?.finalizers?.includes(finalizer) !== true
    ) {
      causes.push(
        invalidValue(
          'metadata.finalizers',
          finalizer,
          'name is neither a standard finalizer name nor is it fully qualified',
        ),
      );
    }
  }
  if (finalizers.includes('foregroundDeletion') && finalizers.includes('orphan')) {
    causes.push(
      invalidValue(
        'metadata.finalizers',
        finalizers,
        'finalizer foregroundDeletion and orphan cannot be both set',
      ),
    );
  }
  if (old?.deletionTimestamp !== undefined) {
    const added = finalizers.filter((finalizer) => old.finalizers?.includes(finalizer) !== true);
    if (added.length > 0) {
      causes.push(
        forbiddenValue(
          'metadata.finalizers',
          `no new finalizers can be added if the object is being deleted, found new finalizers []string{${added.map((name) => JSON.stringify(name)).join(', ')}}`,
        ),
      );
    }
  }
  return causes;
}
