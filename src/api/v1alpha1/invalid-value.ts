/**
 * A value that a parser refuses. `expected` says what would be right; the message names the value too.
 * Never worth a retry: the same text gives the same answer.
 */
export class InvalidValueError extends Error {
  override readonly name = 'InvalidValueError';
  readonly retryable = false;
  readonly value: string | number;
  readonly expected: string;

  constructor(value: string | number, expected: string) {
    super(`${JSON.stringify(value)}: ${expected}`);
    this.value = value;
    this.expected = expected;
  }
}
