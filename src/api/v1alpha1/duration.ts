import { InvalidValueError } from './invalid-value.ts';
import { exampleFirst } from './schema-extensions.ts';

/** Shape of a duration, for the CRD: `1m30s`, `500ms`, `1.5h`. */
export const durationPattern = '^([0-9]+(\\.[0-9]+)?(h|ms|m|s|us))+$';

/** The same, with examples for who reads it in an error. */
export const durationExample = exampleFirst(durationPattern, '30s', '1m30s');

/** Longest duration, milliseconds: what a timer can hold (2^31 - 1 ms, nearly 25 days). */
export const maxDurationMs = 2 ** 31 - 1;

const unitMs = { h: 3_600_000, m: 60_000, s: 1000, ms: 1, us: 0.001 } as const;

/**
 * Reads compose's durations (`30s`, `1m30s`, `1.5h`, `500ms`; units h, m, s, ms, us, largest first not needed) into
 * whole milliseconds, rounded.
 * @throws {InvalidValueError} also when no timer can hold it
 */
export function parseDuration(value: string): number {
  if (!new RegExp(durationPattern).test(value)) {
    throw new InvalidValueError(
      value,
      /^\d+$/.test(value)
        ? `a duration needs a unit: "${value}s" or "${value}ms"`
        : 'not a duration: use numbers with units h, m, s, ms, e.g. "30s" or "1m30s"',
    );
  }
  let ms = 0;
  for (const [, amount, unit] of value.matchAll(/([0-9.]+)(h|ms|m|s|us)/g)) {
    ms += Number(amount) * unitMs[unit as keyof typeof unitMs];
  }
  const rounded = Math.round(ms);
  if (rounded > maxDurationMs) {
    throw new InvalidValueError(value, 'too long: at most 596h (nearly 25 days)');
  }
  return rounded;
}

/** The way back, as short as it gets: 90_000 → `1m30s`, 0 → `0s`. Takes whole milliseconds. */
export function formatDuration(ms: number): string {
  let rest = ms;
  let text = '';
  for (const unit of ['h', 'm', 's', 'ms'] as const) {
    const count = Math.floor(rest / unitMs[unit]);
    rest -= count * unitMs[unit];
    if (count > 0) text += `${String(count)}${unit}`;
  }
  return text === '' ? '0s' : text;
}
