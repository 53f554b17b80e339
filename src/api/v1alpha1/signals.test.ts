import { expect, it } from 'vitest';
import { isSignal } from './signals.ts';

it('knows the signals that the engine takes', () => {
  expect(['SIGTERM', 'TERM', 'SIGRTMIN+3', 'RTMAX-14', '3', '64'].filter(isSignal)).toHaveLength(6);
  expect(
    ['', 'SIGFOO', 'sigterm', '0', '65', 'SIGRTMIN+16', 'SIG', 'SIGTERM+1'].some(isSignal),
  ).toBe(false);
});
