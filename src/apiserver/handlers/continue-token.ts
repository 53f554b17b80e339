import { isObject } from '../../api/json.ts';
import { badRequest } from '../errors/api-error.ts';

/** Where the next page of a list starts. Without `revision` it is read as of now. */
export interface ContinuePoint {
  readonly revision: bigint | undefined;
  readonly after: string;
}

/** An opaque token for `metadata.continue`. */
export function encodeContinue(revision: bigint | undefined, after: string): string {
  const token = { v: 'nap/v1', rv: revision?.toString() ?? '', after };
  return Buffer.from(JSON.stringify(token)).toString('base64url');
}

/** Reads a token back. It must belong to the collection under `prefix`: a token opens no other one. Throws 400. */
export function decodeContinue(token: string, prefix: string): ContinuePoint {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(token, 'base64url').toString());
  } catch {
    throw badRequest('continue key is not valid: malformed token');
  }
  if (!isObject(value) || typeof value['after'] !== 'string' || typeof value['rv'] !== 'string') {
    throw badRequest('continue key is not valid: malformed token');
  }
  const { after, rv } = value;
  if (!after.startsWith(prefix) || !/^\d{0,19}$/.test(rv)) {
    throw badRequest('continue key is not valid: it belongs to another list');
  }
  return { revision: rv === '' ? undefined : BigInt(rv), after };
}
