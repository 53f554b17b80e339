import type { FieldError } from './field-error.ts';
import { InvalidValueError } from './invalid-value.ts';

/** Runs a parser; what it refuses becomes a FieldError at `path`, and the result undefined. */
export function attempt<T>(
  errors: FieldError[],
  path: string,
  value: string | number,
  parse: () => T,
): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof InvalidValueError)) throw error;
    errors.push({ path, value, message: error.expected, severity: 'error' });
    return undefined;
  }
}
