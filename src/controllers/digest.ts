import { createHash } from 'node:crypto';
import { canonicalJson } from '../api/json.ts';

/** Short digest of a JSON value that does not depend on the order of its keys. */
export function digest(value: unknown): string {
  return createHash('sha256').update(canonicalJson(value)).digest('hex').slice(0, 16);
}
