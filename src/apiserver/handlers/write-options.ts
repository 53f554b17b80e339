import { invalid } from '../errors/api-error.ts';
import type { ApiRequest } from '../http/request.ts';
import { forbiddenValue, invalidValue, requiredValue } from '../objects/metadata.ts';

/** How strictly unknown and duplicate fields are taken. */
export type FieldValidation = 'Strict' | 'Warn' | 'Ignore';

export interface WriteOptions {
  readonly dryRun: boolean;
  readonly fieldValidation: FieldValidation;
  /** Who owns the fields written. */
  readonly manager: string;
  readonly force: boolean;
}

/** Which options a request may carry. */
export type WriteKind = 'CreateOptions' | 'UpdateOptions' | 'PatchOptions';

/** Reads the query of a write. 422 for what is not valid. `apply` demands a fieldManager and allows force. */
export function writeOptions(request: ApiRequest, kind: WriteKind, apply = false): WriteOptions {
  const { query } = request;
  const refuse = (causes: Parameters<typeof invalid>[2]): never => {
    throw invalid({ group: 'meta.k8s.io', kind }, '', causes);
  };
  const dryRun = query.getAll('dryRun').filter((value) => value !== '');
  if (dryRun.some((value) => value !== 'All')) {
    refuse([
      {
        reason: 'FieldValueNotSupported',
        message: `Unsupported value: ${JSON.stringify(dryRun)}: supported values: "All"`,
        field: 'dryRun',
      },
    ]);
  }
  const validation = query.get('fieldValidation') ?? '';
  if (!['', 'Strict', 'Warn', 'Ignore'].includes(validation)) {
    refuse([
      {
        reason: 'FieldValueNotSupported',
        message: `Unsupported value: "${validation}": supported values: "Ignore", "Strict", "Warn"`,
        field: 'fieldValidation',
      },
    ]);
  }
  const manager = query.get('fieldManager') ?? '';
  if (manager.length > 128) {
    refuse([
      {
        reason: 'FieldValueTooLong',
        message: 'Too long: may not be more than 128 bytes',
        field: 'fieldManager',
      },
    ]);
  }
  if (!/^\P{C}*$/u.test(manager)) {
    refuse([invalidValue('fieldManager', manager, 'should only contain printable characters')]);
  }
  if (apply && manager === '') {
    refuse([requiredValue('fieldManager', 'is required for apply patch')]);
  }
  const force = query.get('force');
  if (!apply && force !== null && kind === 'PatchOptions') {
    refuse([forbiddenValue('force', 'may not be specified for non-apply patch')]);
  }
  return {
    dryRun: dryRun.length > 0,
    fieldValidation: validation === '' ? 'Warn' : (validation as FieldValidation),
    manager: manager === '' ? managerOf(request.incoming.headers['user-agent']) : manager,
    force: force === 'true' || force === '1',
  };
}

/** The first part of the User-Agent, as Kubernetes names managers that do not name themselves. */
function managerOf(userAgent: string | undefined): string {
  const [name = ''] = (userAgent ?? '').split('/');
  return name.replace(/\p{C}/gu, '').slice(0, 128) || 'unknown';
}
