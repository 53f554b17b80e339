import { InvalidValueError } from './invalid-value.ts';

/** Shape of an amount of processors, for the CRD. */
export const cpuQuantityPattern = '^([0-9]+(\\.[0-9]{1,3})?|[0-9]+m)$';

/**
 * Reads processors into thousandths of one: `"0.5"` → 500, `2` → 2000, and Kubernetes' `"250m"` → 250.
 * @throws {InvalidValueError} also for parts finer than a thousandth, which no engine can give
 */
export function parseCpuQuantity(value: string | number): number {
  const text = String(value);
  if (!new RegExp(cpuQuantityPattern).test(text)) {
    throw new InvalidValueError(
      value,
      'not an amount of processors: use a number with at most three decimals, or thousandths, e.g. "0.5", 2 or "250m"',
    );
  }
  const millis = text.endsWith('m') ? Number(text.slice(0, -1)) : Math.round(Number(text) * 1000);
  if (millis > 1_000_000_000) throw new InvalidValueError(value, 'more than a million processors');
  return millis;
}

/** 1500 → `1.5`. The way back of `parseCpuQuantity`. */
export function formatCpuQuantity(millis: number): string {
  return String(millis / 1000);
}
