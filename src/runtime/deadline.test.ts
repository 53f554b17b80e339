import { expect, it } from 'vitest';
import { VirtualClock } from '../../test/support/virtual-clock.ts';
import { deadline, DeadlineError } from './deadline.ts';

it('aborts in time and says what took too long', async () => {
  const clock = new VirtualClock();
  const limit = deadline(clock, 100, 'GET /x');
  await clock.advance(99);
  expect(limit.signal.aborted).toBe(false);
  await clock.advance(1);
  expect(limit.signal.reason).toBeInstanceOf(DeadlineError);
  expect(String(limit.signal.reason)).toContain('GET /x took longer than 100 ms');
});

it('follows its parent with the reason of that, and leaves no timer behind', () => {
  const clock = new VirtualClock();
  const parent = new AbortController();
  const limit = deadline(clock, 100, 'it', parent.signal);
  const reason = new Error('stop');
  parent.abort(reason);
  expect(limit.signal.reason).toBe(reason);
  limit.dispose();
  expect(clock.pending).toBe(0);
  expect(deadline(clock, 100, 'it', parent.signal).signal.reason).toBe(reason);
});

it('aborts with an error of the caller’s own', async () => {
  const clock = new VirtualClock();
  const limit = deadline(clock, 100, () => new RangeError('late'));
  await clock.advance(100);
  expect(limit.signal.reason).toEqual(new RangeError('late'));
});
