import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatDuration, maxDurationMs, parseDuration } from './duration.ts';

describe('parseDuration', () => {
  it.each([
    ['0s', 0],
    ['10s', 10_000],
    ['1m30s', 90_000],
    ['1.5h', 5_400_000],
    ['500ms', 500],
    ['1h2m3s4ms', 3_723_004],
    ['1500us', 2],
    ['30s1m', 90_000],
  ])('reads %s', (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });

  it.each([
    ['10', /needs a unit: "10s" or "10ms"/],
    ['', /not a duration/],
    ['-1s', /not a duration/],
    ['1d', /use numbers with units h, m, s, ms/],
    ['s', /not a duration/],
    ['1 s', /not a duration/],
    ['1.s', /not a duration/],
    ['1e3s', /not a duration/],
    ['597h', /too long/],
    [`${'9'.repeat(400)}s`, /too long/],
  ])('refuses %s', (text, message) => {
    expect(() => parseDuration(text)).toThrow(message);
  });

  it('reads back what formatDuration writes', () => {
    expect(formatDuration(90_000)).toBe('1m30s');
    fc.assert(
      fc.property(fc.integer({ min: 0, max: maxDurationMs }), (ms) => {
        expect(parseDuration(formatDuration(ms))).toBe(ms);
      }),
    );
  });
});
