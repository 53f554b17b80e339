import { expect, it } from 'vitest';
import { Metrics } from './metrics.ts';

it('tells of the process, and how busy its event loop was', async () => {
  const metrics = Metrics.ofProcess();
  const busyUntil = performance.now() + 50;
  while (performance.now() < busyUntil);
  await new Promise((resolve) => setTimeout(resolve, 1));
  const text = await metrics.render();
  expect(text).toMatch(/^process_resident_memory_bytes \d+$/m);
  expect(text).toMatch(/^nodejs_eventloop_lag_seconds /m);
  // Its figures would be those of a look that is never taken.
  expect(text).not.toContain('nodejs_eventloop_lag_p99_seconds');
  const [, share = ''] = /^nodejs_eventloop_utilization (\S+)$/m.exec(text) ?? [];
  expect(Number(share)).toBeGreaterThan(0);
  expect(Number(share)).toBeLessThanOrEqual(1);
});
