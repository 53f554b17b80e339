import { equalJson, isObject } from '../../api/json.ts';
import type { FieldCause } from '../errors/api-error.ts';
import { forbiddenValue, invalidValue } from '../objects/metadata.ts';
import { labelNameError } from '../objects/names.ts';
import type { KubeObject } from '../objects/object.ts';
import type { Strategy } from './resource.ts';

/** Namespaces are held by a finalizer of their own until they are empty. */
export const namespaceStrategy: Strategy = {
  prepareCreate(object) {
    object['spec'] = { finalizers: ['kubernetes'] };
    object['status'] = { phase: 'Active' };
    object.metadata.labels = {
      ...object.metadata.labels,
      'kubernetes.io/metadata.name': object.metadata.name ?? '',
    };
  },
  prepareUpdate(object, old) {
    object['spec'] = old['spec'];
    object.metadata.labels = {
      ...object.metadata.labels,
      'kubernetes.io/metadata.name': object.metadata.name ?? '',
    };
  },
  validateName: labelNameError,
};

/** Everything in a Secret or ConfigMap together may be this large. */
const maxDataBytes = 1024 * 1024;
const dataKey = /^[-._a-zA-Z0-9]+$/;

function validateData(object: KubeObject, members: readonly string[]): FieldCause[] {
  const causes: FieldCause[] = [];
  let bytes = 0;
  for (const member of members) {
    const data = object[member];
    if (!isObject(data)) continue;
    for (const [key, value] of Object.entries(data)) {
      bytes += typeof value === 'string' ? Buffer.byteLength(value) : 0;
      if (!dataKey.test(key) || key.length > 253 || key === '.' || key === '..') {
        causes.push(
          invalidValue(
            `${member}[${key}]`,
            key,
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
          ),
        );
      }
    }
  }
  if (bytes > maxDataBytes) {
    causes.push({
      reason: 'FieldValueTooLong',
      message: `Too long: may not be more than ${maxDataBytes} bytes`,
      field: members[0] ?? 'data',
    });
  }
  return causes;
}

function validateImmutable(
  object: KubeObject,
  old: KubeObject | undefined,
  members: readonly string[],
): FieldCause[] {
  if (old?.['immutable'] !== true) return [];
  const causes = members
    .filter((member) => !equalJson(object[member] ?? {}, old[member] ?? {}))
    .map((member) => forbiddenValue(member, 'field is immutable when `immutable` is set'));
  if (object['immutable'] !== true) {
    causes.push(forbiddenValue('immutable', 'field is immutable when `immutable` is set'));
  }
  return causes;
}

/** `stringData` is written into `data`; the type never changes. */
export const secretStrategy: Strategy = {
  prepareCreate(object) {
    foldStringData(object);
    if (object['type'] === undefined || object['type'] === '') object['type'] = 'Opaque';
  },
  prepareUpdate(object, old) {
    foldStringData(object);
    if (object['type'] === undefined || object['type'] === '') object['type'] = old['type'];
  },
  validate(object, old) {
    const causes = [...validateData(object, ['data']), ...validateImmutable(object, old, ['data'])];
    for (const [key, value] of Object.entries(object['data'] ?? {})) {
      if (typeof value === 'string' && !/^[A-Za-z0-9+/]*={0,2}$/.test(value)) {
        causes.push(invalidValue(`data[${key}]`, '<secret>', 'must be base64'));
      }
    }
    if (old !== undefined && object['type'] !== old['type']) {
      causes.push(invalidValue('type', object['type'], 'field is immutable'));
    }
    return causes;
  },
};

function foldStringData(object: KubeObject): void {
  const { stringData } = object;
  delete object['stringData'];
  if (!isObject(stringData)) return;
  const data: Record<string, unknown> = isObject(object['data']) ? { ...object['data'] } : {};
  for (const [key, value] of Object.entries(stringData)) {
    if (key !== '__proto__')
      data[key] = Buffer.from(typeof value === 'string' ? value : '').toString('base64');
  }
  object['data'] = data;
}

export const configMapStrategy: Strategy = {
  validate: (object, old) => [
    ...validateData(object, ['data', 'binaryData']),
    ...validateImmutable(object, old, ['data', 'binaryData']),
  ],
};

export const leaseStrategy: Strategy = {
  validate(object) {
    const spec = isObject(object['spec']) ? object['spec'] : {};
    const causes: FieldCause[] = [];
    const duration = spec['leaseDurationSeconds'];
    if (typeof duration === 'number' && duration <= 0) {
      causes.push(invalidValue('spec.leaseDurationSeconds', duration, 'must be greater than 0'));
    }
    const transitions = spec['leaseTransitions'];
    if (typeof transitions === 'number' && transitions < 0) {
      causes.push(
        invalidValue('spec.leaseTransitions', transitions, 'must be greater than or equal to 0'),
      );
    }
    return causes;
  },
};
