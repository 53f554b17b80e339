import { expect, it } from 'vitest';
import { Backoff } from './backoff.ts';

it('grows to the cap, jitters over the whole range, and starts over on reset', () => {
  const longest = new Backoff({ baseMs: 100, capMs: 1000, random: () => 1 });
  const delays: number[] = [];
  let backoff = longest;
  for (let i = 0; i < 6; i++) {
    delays.push(backoff.delayMs);
    backoff = backoff.next();
  }
  expect(delays).toEqual([0, 100, 200, 400, 800, 1000]);
  expect(backoff.reset().next().delayMs).toBe(100);
  expect(new Backoff({ random: () => 0 }).next().next().delayMs).toBe(0);
  expect(longest.delayMs).toBe(0);
});
