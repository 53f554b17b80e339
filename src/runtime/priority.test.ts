import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { getPriority } from 'node:os';
import { getuid } from 'node:process';
import { describe, expect, it } from 'vitest';
import { raisePriority } from './priority.ts';

describe('raisePriority', () => {
  it.skipIf(getuid?.() !== 0)('puts a process before ordinary ones, if it may', async () => {
    const sleeper = spawn('sleep', ['60']);
    const ended = once(sleeper, 'exit');
    const { pid = 0 } = sleeper;
    expect(getPriority(pid)).toBeGreaterThanOrEqual(0);
    raisePriority(pid);
    expect(getPriority(pid)).toBe(-10);
    sleeper.kill();
    await ended;
  });

  it('does nothing where there is nothing to do', () => {
    expect(() => {
      raisePriority(2 ** 22 + 1);
    }).not.toThrow();
  });
});
