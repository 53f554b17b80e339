import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { VirtualClock } from '../../test/support/virtual-clock.ts';
import { Licence, licenceFile } from './licence.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nap-licence-'));
});
afterEach(async () => {
  await rm(directory, { recursive: true });
});

describe('a licence', () => {
  it('ends with the lease; the next agent goes on under what was noted, and not longer', async () => {
    const clock = new VirtualClock(1_000);
    const note = licenceFile(join(directory, 'licence.json'));
    let remaining = 4_500;
    let ends = 0;
    const make = (remainingMs: () => number): Licence =>
      new Licence({
        remainingMs,
        sinceBootMs: () => clock.monotonic(),
        note,
        onEnd: () => ends++,
        schedule: (callback, delayMs) => clock.schedule(callback, delayMs),
      });
    const first = make(() => remaining);
    await first.carryOver();
    expect(first.held()).toBe(true);
    await first.note();
    remaining = 0;
    expect(first.held()).toBe(false);
    await first.note();

    await clock.advance(2_000);
    const second = make(() => 0);
    await second.carryOver();
    expect(second.held()).toBe(true);
    await clock.advance(2_499);
    expect(second.held()).toBe(true);
    await clock.advance(1);
    expect(second.held()).toBe(false);
    expect(ends).toBe(1);
  });

  it('that is noted nowhere, or unreadably, is none', async () => {
    const path = join(directory, 'licence.json');
    expect(await licenceFile(path).read()).toBeUndefined();
    await writeFile(path, '{"until":');
    expect(await licenceFile(path).read()).toBeUndefined();
    await licenceFile(path).write(7);
    expect(await licenceFile(path).read()).toBe(7);
    expect(await readFile(path, 'utf8')).toBe('{"until":7}');
  });
});
