import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openBundle, sealBundle } from './delivery-bundle.ts';
import { generateHostKey, open, seal, SealError } from './seal.ts';

const host = generateHostKey();
const other = generateHostKey();

describe('sealing', () => {
  it('gives back what was sealed, to the host it was sealed for', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (context, text) => {
        expect(open(host, context, seal(host.publicKey, context, text))).toBe(text);
      }),
      { numRuns: 20 },
    );
  });

  it('shows nothing of the content, and never looks the same twice', () => {
    const first = seal(host.publicKey, 'c', 'password password');
    expect(first).not.toBe(seal(host.publicKey, 'c', 'password password'));
    expect(Buffer.from(first.split('.')[2] ?? '', 'base64').toString('latin1')).not.toContain(
      'pass',
    );
  });

  it('refuses another host, another place, and every changed text', () => {
    const sealed = seal(host.publicKey, '/a', 'x');
    expect(() => open(other, '/a', sealed)).toThrow(SealError);
    expect(() => open(host, '/b', sealed)).toThrow(SealError);
    for (let at = 0; at < sealed.length; at += 7) {
      const changed = `${sealed.slice(0, at)}${sealed[at] === 'A' ? 'B' : 'A'}${sealed.slice(at + 1)}`;
      // A changed last letter may stand for the same bytes.
      let text: string | undefined;
      try {
        text = open(host, '/a', changed);
      } catch (error) {
        expect(error).toBeInstanceOf(SealError);
      }
      expect([undefined, 'x']).toContain(text);
    }
  });

  it.each(['', 'v1', 'v1..', 'v2.a.b', 'v1.AAAA.AAAA', '.'])('refuses %j', (text) => {
    expect(() => open(host, 'c', text)).toThrow(SealError);
  });

  it('refuses to seal for what is no key', () => {
    expect(() => seal('nonsense', 'c', 'x')).toThrow(SealError);
  });

  it('carries bundles with any bytes', () => {
    const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
    const bundle = { hash: 'h', files: [Buffer.from(bytes)], environment: { A: 'ä\n' } };
    const sealed = sealBundle(host.publicKey, '/p', bundle);
    expect(openBundle(host, '/p', sealed)).toEqual(bundle);
  });
});
