import { expect, it } from 'vitest';
import { isLoopback } from './loopback.ts';

it.each(['localhost', '127.0.0.1', '127.8.9.10', '::1', '[::1]'])('%s is this machine', (host) => {
  expect(isLoopback(host)).toBe(true);
});

it.each(['127.evil.example', '127.0.0.1.evil.example', '127.0.0.256', '10.0.0.1', '::2', ''])(
  '%s may be anybody',
  (host) => {
    expect(isLoopback(host)).toBe(false);
  },
);
