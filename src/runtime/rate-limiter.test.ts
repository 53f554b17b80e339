import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../../test/support/virtual-clock.ts';
import { BucketRateLimiter, defaultRateLimiter, ExponentialRateLimiter } from './rate-limiter.ts';

describe('ExponentialRateLimiter', () => {
  it('doubles up to the cap and stays there, also after a thousand failures', () => {
    const limiter = new ExponentialRateLimiter(5, 60_000);
    expect([limiter.when('a'), limiter.when('a'), limiter.when('a')]).toEqual([5, 10, 20]);
    for (let i = 0; i < 2000; i++) limiter.when('a');
    expect(limiter.when('a')).toBe(60_000);
    expect(limiter.when('b')).toBe(5);
  });
});

describe('BucketRateLimiter', () => {
  it('spreads a crowd at its rate, after a burst', async () => {
    const clock = new VirtualClock();
    const limiter = new BucketRateLimiter(clock, 10, 3);
    const waits = Array.from({ length: 6 }, () => Math.round(limiter.when()));
    expect(waits).toEqual([0, 0, 0, 100, 200, 300]);
    await clock.advance(400);
    expect(limiter.tryTake()).toBe(true);
    expect(limiter.tryTake()).toBe(false);
  });
});

describe('defaultRateLimiter', () => {
  it('holds back ten thousand keys that fail together', () => {
    const limiter = defaultRateLimiter(new VirtualClock());
    const waits = Array.from({ length: 10_000 }, (_, i) => limiter.when(`k${i}`));
    expect(waits[0]).toBe(5);
    expect(waits.at(-1)).toBeCloseTo(990_000, -3);
  });
});
