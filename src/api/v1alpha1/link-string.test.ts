import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { linkStringPattern, parseLink } from './link-string.ts';

describe('parseLink', () => {
  it('reads a service with and without an alias', () => {
    expect(parseLink('redis-master')).toEqual({ service: 'redis-master', alias: 'redis-master' });
    expect(parseLink('redis-master:db')).toEqual({ service: 'redis-master', alias: 'db' });
    expect(parseLink('shop/db')).toEqual({ project: 'shop', service: 'db', alias: 'db' });
    expect(parseLink('_/db:x')).toEqual({ project: '_', service: 'db', alias: 'x' });
  });

  it.each([
    ['', /the service "" is not a DNS label/],
    [':db', /the service "" is not/],
    ['db:', /the alias "" is not/],
    ['a:b:c', /too many colons/],
    ['DB', /the service "DB" is not a DNS label: use lower-case/],
    ['db:My_Alias', /the alias "My_Alias" is not/],
    ['db.other', /"db.other" is not/],
    ['-db', /"-db" is not/],
    [`db:${'a'.repeat(64)}`, /at most 63/],
    ['/db', /the project "" is not/],
    ['a/b/c', /"b\/c" is not/],
    ['Shop/db', /the project "Shop" is not/],
    ['db:a/b', /the project "db:a" is not/],
  ])('refuses %s', (text, message) => {
    expect(() => parseLink(text)).toThrow(message);
  });

  it('takes nothing that the CRD refuses', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[aA0:._/-]{0,12}$/), (text) => {
        const accepted = new RegExp(linkStringPattern).test(text);
        if (accepted) expect(parseLink(text).service).toBe(/^(?:.*\/)?([^:]*)/.exec(text)?.[1]);
        else expect(() => parseLink(text)).toThrow();
      }),
      { numRuns: 1000 },
    );
  });
});
