import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { globMatches } from './glob.ts';

describe('globMatches', () => {
  it.each([
    ['app/web', 'app/web', true],
    ['app/web', 'app/web2', false],
    ['app/*', 'app/web', true],
    ['*/web', 'app/web', true],
    ['*', 'app/web', false],
    ['app/w?b', 'app/web', true],
    ['app?web', 'app/web', false],
    ['app/*-db*', 'app/my-db-1', true],
    ['app/**', 'app/', true],
    ['', '', true],
    ['', 'a', false],
    ['*', '', true],
  ])('%s against %s: %s', (pattern, text, expected) => {
    expect(globMatches(pattern, text)).toBe(expected);
  });

  it('agrees with a regular expression', () => {
    const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '/', '*', '?'), maxLength: 8 });
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '/'), maxLength: 10 });
    fc.assert(
      fc.property(pattern, text, (p, t) => {
        const source = p.replaceAll('*', '[^/]*').replaceAll('?', '[^/]');
        expect(globMatches(p, t)).toBe(new RegExp(`^${source}$`).test(t));
      }),
      { numRuns: 2_000 },
    );
  });

  it('takes hostile patterns without delay', () => {
    expect(globMatches('*a'.repeat(60) + 'b', 'a'.repeat(10_000))).toBe(false);
  });
});
