import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readJsonLines } from './ndjson.ts';

async function collect(chunks: readonly Uint8Array[], max?: number): Promise<unknown[]> {
  const seen: unknown[] = [];
  const source = (async function* () {
    for (const chunk of chunks) yield chunk;
  })();
  for await (const line of readJsonLines(source, max)) seen.push(line);
  return seen;
}

describe('readJsonLines', () => {
  it('gives the same lines wherever the stream breaks, also inside a character', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ text: fc.string({ unit: 'grapheme' }), n: fc.integer() })),
        fc.array(fc.nat(400)),
        async (values, cuts) => {
          const bytes = Buffer.from(values.map((value) => `${JSON.stringify(value)}\n`).join(''));
          const at = [0, ...cuts.map((cut) => Math.min(cut, bytes.length)), bytes.length];
          const sorted = at.sort((a, b) => a - b);
          const chunks = sorted.slice(1).map((end, i) => bytes.subarray(sorted[i], end));
          expect(await collect(chunks)).toEqual(values);
        },
      ),
    );
  });

  it('skips what is not JSON, and takes a last line without an end', async () => {
    expect(await collect([Buffer.from('{"a":1}\n\n{"torn\n{"b":2}')])).toEqual([
      { a: 1 },
      { b: 2 },
    ]);
  });

  it('refuses a line without end', async () => {
    await expect(collect([Buffer.alloc(60, 65), Buffer.alloc(60, 65)], 100)).rejects.toThrow(
      /longer/,
    );
  });
});
