import { describe, expect, it } from 'vitest';
import type { PullProgress } from './engine.ts';
import { describeProgress, followPull } from './pull.ts';

async function follow(lines: readonly unknown[]): Promise<PullProgress[]> {
  const seen: PullProgress[] = [];
  const stream = (async function* () {
    for (const line of lines) yield line;
  })();
  await followPull('redis:7', stream, (progress) => seen.push(progress));
  return seen;
}

describe('followPull', () => {
  it('adds the layers up', async () => {
    const seen = await follow([
      { status: 'Pulling from library/redis', id: '7' },
      { status: 'Pulling fs layer', id: 'a' },
      { status: 'Already exists', id: 'b' },
      {
        status: 'Downloading',
        id: 'a',
        progressDetail: { current: 10_000_000, total: 40_000_000 },
      },
      { status: 'Download complete', id: 'a' },
      { status: 'Extracting', id: 'a', progressDetail: { current: 1, total: 40_000_000 } },
      { status: 'Pull complete', id: 'a' },
      { status: 'Status: Downloaded newer image for redis:7' },
    ]);
    expect(seen[2]).toEqual({ doneBytes: 10e6, totalBytes: 40e6, layersDone: 1, layers: 2 });
    expect(seen.at(-1)).toEqual({ doneBytes: 40e6, totalBytes: 40e6, layersDone: 2, layers: 2 });
    expect(describeProgress(seen[2]!)).toBe('10.0 of 40.0 MB, 1 of 2 layers');
  });

  it.each([
    [
      { errorDetail: { message: 'manifest unknown' }, error: 'manifest unknown' },
      'redis:7: manifest unknown',
    ],
    [{ error: 'manifest for redis:7 not found' }, 'manifest for redis:7 not found'],
    [{ errorDetail: {} }, 'redis:7: pull failed'],
  ])('throws what the stream says: %j', async (line, message) => {
    await expect(follow([{ status: 'Pulling' }, line])).rejects.toMatchObject({
      reason: 'ImagePullFailed',
      message,
    });
  });

  it('takes lines of other forms for noise', async () => {
    expect(await follow([1, null, 'x', {}, { id: 3, status: 4 }])).toEqual([]);
  });
});
