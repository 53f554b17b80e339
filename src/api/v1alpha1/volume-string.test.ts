import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseVolume, volumeStringPattern } from './volume-string.ts';

describe('parseVolume', () => {
  it.each([
    ['data:/var/lib/x', { type: 'volume', source: 'data', target: '/var/lib/x', readOnly: false }],
    [
      'data:/var/lib/x/:ro',
      { type: 'volume', source: 'data', target: '/var/lib/x', readOnly: true },
    ],
    ['a.b_c-1:/x:rw', { type: 'volume', source: 'a.b_c-1', target: '/x', readOnly: false }],
    ['/srv/x:/etc/x:ro', { type: 'bind', source: '/srv/x', target: '/etc/x', readOnly: true }],
    ['/:/host:ro', { type: 'bind', source: '/', target: '/host', readOnly: true }],
    ['/srv//a/./b/:/x', { type: 'bind', source: '/srv/a/b', target: '/x', readOnly: false }],
  ])('reads %s', (text, expected) => {
    expect(parseVolume(text)).toEqual(expected);
    expect(text).toMatch(new RegExp(volumeStringPattern));
  });

  it.each([
    ['', /needs a path in the container behind the source/],
    ['data', /needs a path in the container behind the source: "data:/],
    ['/data', /a volume needs a name, so that it can be found again: "data:\/data"/],
    ['data:', /must be absolute/],
    ['data:x', /path in the container must be absolute, "x" is not/],
    ['data:/', /cannot be mounted over \/ itself/],
    ['data:/.', /cannot be mounted over \/ itself/],
    ['./x:/x', /path on the host must be absolute, ".\/x" is not/],
    ['../x:/x', /must be absolute/],
    ['~/x:/x', /must be absolute/],
    ['/a/../b:/x', /may not hold "\.\."/],
    ['data:/x/../../etc', /may not hold "\.\."/],
    ['data:/x:z', /"z" is not an option of a volume here: use ro or rw/],
    ['data:/x:rslave', /rslave is for paths of the host only/],
    ['/a:/x:rslave,rshared', /"rshared" is not an option/],
    ['data:/x:ro:rw', /too many colons/],
    ['-data:/x', /"-data" is not a name for a volume/],
    ['da ta:/x', /"da ta" is not a name for a volume/],
    [':/x', /"" is not a name for a volume/],
    [`${'a'.repeat(129)}:/x`, /up to 128/],
    ['/a\0b:/x', /NUL/],
  ])('refuses %s and says what is right', (text, message) => {
    expect(() => parseVolume(text)).toThrow(message);
  });

  it('never lets a path leave where it begins, and takes nothing that the CRD refuses', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[a./:ro-]{0,24}$/), (text) => {
        let mount;
        try {
          mount = parseVolume(text);
        } catch (error) {
          expect(error).toMatchObject({ name: 'InvalidValueError' });
          return;
        }
        expect(mount.target.split('/')).not.toContain('..');
        expect(mount.target).toMatch(/^\/./);
        expect(text).toMatch(new RegExp(volumeStringPattern));
      }),
      { numRuns: 2000 },
    );
  });
});
