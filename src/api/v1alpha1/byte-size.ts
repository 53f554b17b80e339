import { InvalidValueError } from './invalid-value.ts';

/** Shape of an amount of memory, for the CRD. */
export const byteSizePattern = '^[0-9]+(\\.[0-9]+)?([kKmMgGtT]i?)?[bB]?$';

const exponent = { '': 0, k: 1, m: 2, g: 3, t: 4 } as const;

/**
 * Reads compose's amounts of memory: `512k`, `64M`, `64mb`, `1.5G`, Kubernetes' `64Mi` too, or a number of bytes.
 * All units are powers of 1024, as in docker run (go-units `RAMInBytes`). Whole bytes, rounded down.
 * @throws {InvalidValueError}
 */
export function parseByteSize(value: string | number): number {
  const match = /^(\d+(?:\.\d+)?)([kmgt]?)i?b?$/i.exec(String(value));
  if (!match || !new RegExp(byteSizePattern).test(String(value))) {
    throw new InvalidValueError(
      value,
      'not an amount of memory: use bytes or the units k, M, G, T, e.g. "64M", "1.5G" or 1048576',
    );
  }
  const unit = (match[2] ?? '').toLowerCase() as keyof typeof exponent;
  const bytes = Math.floor(Number(match[1]) * 1024 ** exponent[unit]);
  if (!Number.isSafeInteger(bytes)) {
    throw new InvalidValueError(value, 'too much memory: at most 8191T');
  }
  return bytes;
}

/** As a Kubernetes quantity that loses nothing: 4294967296 → `4Gi`, 1500 → `1500`. */
export function formatByteSize(bytes: number): string {
  if (bytes === 0) return '0';
  let amount = bytes;
  for (const unit of ['', 'Ki', 'Mi', 'Gi'] as const) {
    if (amount % 1024 !== 0) return `${String(amount)}${unit}`;
    amount /= 1024;
  }
  return `${String(amount)}Ti`;
}

/** For reading: three significant digits in the largest fitting unit: 4100000000 → `3.82Gi`. */
export function formatByteSizeRounded(bytes: number): string {
  const units = ['', 'Ki', 'Mi', 'Gi', 'Ti'] as const;
  let amount = bytes;
  let index = 0;
  while (amount >= 1024 && index < units.length - 1) {
    amount /= 1024;
    index += 1;
  }
  return `${String(Number(amount.toPrecision(amount >= 1000 ? 4 : 3)))}${units[index] ?? ''}`;
}
