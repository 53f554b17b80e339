import { isObject } from '../../api/json.ts';
import { fieldElement, printPath } from './field-set.ts';
import type { PathElement } from './field-set.ts';
import { fieldNames, fieldType, itemElement } from './typed.ts';
import type { MergeType } from './typed.ts';

/** The applied configuration itself is at fault. `code` is the HTTP status to answer with. */
export class ApplyError extends Error {
  override readonly name = 'ApplyError';
  readonly retryable = false;
  readonly code: 400 | 422;
  readonly field: string | undefined;

  constructor(code: 400 | 422, message: string, field?: string) {
    super(message);
    this.code = code;
    this.field = field;
  }
}

/**
 * What merging cannot work with: undeclared fields, list items without keys, two items with one key.
 * Wrong types are left to validation, which names them better.
 *
 * @throws ApplyError
 */
export function checkApplied(
  value: unknown,
  type: MergeType | undefined,
  path: readonly PathElement[] = [],
): void {
  const refuse = (problem: string): never => {
    const field = printPath(path);
    throw new ApplyError(
      400,
      `failed to create typed patch object: ${field === '' ? '.' : field}: ${problem}`,
      field,
    );
  };
  if (!type) return refuse('field not declared in schema');
  if (type.kind === 'map' && isObject(value)) {
    if (type.atomic) return;
    for (const name of fieldNames(value)) {
      checkApplied(value[name], fieldType(type.map, name), [...path, fieldElement(name)]);
    }
  }
  if (type.kind === 'list' && !type.atomic && Array.isArray(value)) {
    const seen = new Set<PathElement>();
    value.forEach((item, i) => {
      const element = itemElement(type, item);
      if (typeof element !== 'string') return refuse(`element ${i}: ${element.problem}`);
      if (seen.has(element)) refuse(`duplicate entries for key ${printPath([element])}`);
      seen.add(element);
      checkApplied(item, type.items, [...path, element]);
    });
  }
}
