import { expect, it, vi } from 'vitest';
import { maxDelayMs, systemClock } from './clock.ts';

it('waits long for what is far away, though setTimeout would fire at once', () => {
  vi.useFakeTimers();
  try {
    const due = vi.fn();
    const setTimeout = vi.spyOn(globalThis, 'setTimeout');
    systemClock.schedule(due, 8_000 * 365 * 24 * 3_600_000);
    expect(setTimeout).toHaveBeenCalledWith(due, maxDelayMs);
    vi.advanceTimersByTime(maxDelayMs - 1);
    expect(due).not.toHaveBeenCalled();
  } finally {
    vi.useRealTimers();
  }
});
