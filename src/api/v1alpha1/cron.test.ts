import { describe, expect, it } from 'vitest';
import { isTimeZone, parseCron } from './cron.ts';
import { InvalidValueError } from './invalid-value.ts';

const at = (text: string): number => Date.parse(text);
const iso = (ms: number | undefined): string | undefined =>
  ms === undefined ? undefined : new Date(ms).toISOString().replace('.000Z', 'Z');

/** The times after `from`, as many as asked for. */
function times(cron: string, zone: string | undefined, from: string, count: number): string[] {
  const schedule = parseCron(cron, zone);
  const found: string[] = [];
  let last = at(from);
  while (found.length < count) {
    const next = schedule.next(last);
    if (next === undefined) break;
    found.push(iso(next) ?? '');
    last = next;
  }
  return found;
}

describe('parseCron', () => {
  it.each([
    ['30 2 * * *', undefined, '2026-01-01T02:30:00Z', '2026-01-02T02:30:00Z'],
    ['*/5 * * * *', 'UTC', '2026-01-01T00:01:00Z', '2026-01-01T00:05:00Z'],
    ['*/2 * * * * *', 'UTC', '2026-01-01T00:00:00.500Z', '2026-01-01T00:00:02Z'],
    ['@daily', 'Europe/Berlin', '2026-01-01T00:00:00Z', '2026-01-01T23:00:00Z'],
    ['0 0 29 2 *', 'UTC', '2026-01-01T00:00:00Z', '2028-02-29T00:00:00Z'],
    ['0 9 * * MON-FRI', 'America/New_York', '2026-01-03T00:00:00Z', '2026-01-05T14:00:00Z'],
  ])('%s in %s: after %s comes %s', (cron, zone, after, expected) => {
    expect(iso(parseCron(cron, zone).next(at(after)))).toBe(expected);
  });

  it('makes up for a time that is left out in spring, and counts one that comes twice in autumn once', () => {
    expect(times('30 2 * * *', 'Europe/Berlin', '2027-03-27T12:00:00Z', 2)).toEqual([
      '2027-03-28T01:00:00Z',
      '2027-03-29T00:30:00Z',
    ]);
    expect(times('30 2 * * *', 'Europe/Berlin', '2026-10-24T12:00:00Z', 2)).toEqual([
      '2026-10-25T00:30:00Z',
      '2026-10-26T01:30:00Z',
    ]);
  });

  it('goes on every half hour while clocks are changed', () => {
    expect(times('*/30 * * * *', 'Europe/Berlin', '2026-10-24T23:45:00Z', 5)).toEqual([
      '2026-10-25T00:00:00Z',
      '2026-10-25T00:30:00Z',
      '2026-10-25T01:00:00Z',
      '2026-10-25T01:30:00Z',
      '2026-10-25T02:00:00Z',
    ]);
  });

  it('knows the last time, that very second included', () => {
    const nightly = parseCron('30 2 * * *');
    expect(iso(nightly.previous(at('2026-01-02T02:30:00Z')))).toBe('2026-01-02T02:30:00Z');
    expect(iso(nightly.previous(at('2026-01-02T02:30:00.900Z')))).toBe('2026-01-02T02:30:00Z');
    expect(iso(nightly.previous(at('2026-01-02T02:29:59.999Z')))).toBe('2026-01-01T02:30:00Z');
  });

  it.each([
    ['0 0 30 2 *', 'UTC', 'never fires'],
    ['61 * * * *', 'UTC', '61'],
    ['* * *', 'UTC', 'MINUTE HOUR'],
    ['2026-01-01T00:00:00', 'UTC', 'MINUTE HOUR'],
    ['@sometimes', 'UTC', 'MINUTE HOUR'],
    ['', 'UTC', 'MINUTE HOUR'],
    ['* * * * * * *', 'UTC', 'MINUTE HOUR'],
    ['* * * * *', 'Mars/Olympus', 'IANA'],
  ])('refuses %j in %s', (cron, zone, expected) => {
    let thrown: unknown;
    try {
      parseCron(cron, zone);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(InvalidValueError);
    expect((thrown as InvalidValueError).expected).toContain(expected);
  });

  it('tells time zones', () => {
    expect(['UTC', 'Europe/Berlin', 'Mars/Olympus', ''].map(isTimeZone)).toEqual([
      true,
      true,
      false,
      false,
    ]);
  });
});
