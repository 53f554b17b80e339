import { isObject } from '../../api/json.ts';
import { age, humanDuration } from './age.ts';
import { compileJsonPath } from './json-path.ts';
import type { Column } from './resource.ts';

const nameDescription =
  'Name must be unique within a namespace. Is required when creating resources. Cannot be updated.';
const ageDescription =
  'CreationTimestamp is a timestamp representing the server time when this object was created.';

export const nameColumn: Column = {
  name: 'Name',
  type: 'string',
  format: 'name',
  description: nameDescription,
  priority: 0,
  read: (object) => object.metadata.name ?? '',
};

export const ageColumn: Column = {
  name: 'Age',
  type: 'string',
  format: '',
  description: ageDescription,
  priority: 0,
  read: (object, now) => age(object.metadata.creationTimestamp, now),
};

/** `additionalPrinterColumns` of a CRD version; without any there is an Age, as in the real server. */
export function printerColumns(declared: unknown): Column[] {
  const columns = [nameColumn];
  if (!Array.isArray(declared) || declared.length === 0) return [...columns, ageColumn];
  for (const column of declared as unknown[]) {
    if (!isObject(column)) continue;
    columns.push(customColumn(column));
  }
  return columns;
}

function customColumn(column: Record<string, unknown>): Column {
  const text = (member: string): string => {
    const value = column[member];
    return typeof value === 'string' ? value : '';
  };
  const type = text('type');
  const read = compileJsonPath(text('jsonPath'));
  return {
    name: text('name'),
    type,
    format: text('format'),
    description:
      text('description') ||
      `Custom resource definition column (in JSONPath format): ${text('jsonPath')}`,
    priority: typeof column['priority'] === 'number' ? column['priority'] : 0,
    read: (object, now) => cell(read(object), type, now),
  };
}

/** A cell of `type`; values of another type give null. Source: apiextensions' tableconvertor. */
function cell(values: unknown[], type: string, now: number): string | number | boolean | null {
  const [first] = values;
  if (first === undefined || first === null) return null;
  switch (type) {
    case 'integer':
      return typeof first === 'number' ? Math.trunc(first) : null;
    case 'number':
      return typeof first === 'number' ? first : null;
    case 'boolean':
      return typeof first === 'boolean' ? first : null;
    case 'date': {
      const at = typeof first === 'string' ? Date.parse(first) : Number.NaN;
      return Number.isNaN(at) ? '<invalid>' : humanDuration(now - at);
    }
    default:
      return values.map(asText).join(' ');
  }
}

function asText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}
