import { beforeEach, describe, expect, it } from 'vitest';
import { ownedContainer, webKey } from '../../../test/support/instances.ts';
import { VirtualClock } from '../../../test/support/virtual-clock.ts';
import type { HealthCheckSpec } from '../../api/v1alpha1/health-check.ts';
import type { OwnedContainer } from '../ownership.ts';
import { HealthMonitor } from './monitor.ts';
import type { ProbeTarget } from './probe.ts';
import type { CheckResult } from './state.ts';

const key = webKey;
const check: HealthCheckSpec = {
  probe: { type: 'tcp', port: 80 },
  intervalMs: 10_000,
  timeoutMs: 1000,
  retries: 2,
  startPeriodMs: 0,
  unhealthyAction: 'restart',
};
const bootMs = Date.parse('2026-01-01T00:00:00Z');

let clock: VirtualClock;
let asked: ProbeTarget[];
let answer: (target: ProbeTarget) => Promise<CheckResult> | CheckResult;
let changes: string[];
let monitor: HealthMonitor;

beforeEach(() => {
  clock = new VirtualClock(bootMs);
  asked = [];
  changes = [];
  answer = () => ({ type: 'pass' });
  monitor = new HealthMonitor({
    network: 'nap',
    clock,
    random: () => 0,
    prober: async (_probe, target) => {
      asked.push(target);
      return answer(target);
    },
    onChange: (id) => changes.push(id),
  });
});

const container = (over: Partial<OwnedContainer> = {}) =>
  ownedContainer({ startedAt: new Date(clock.now()).toISOString(), ...over });

function observe(...containers: OwnedContainer[]) {
  return monitor.observe('web/1', { key, containers, current: containers[0]?.id, check });
}

const no: CheckResult = { type: 'fail', message: 'refused' };

describe('HealthMonitor', () => {
  it('checks at once, then every second until it passes, then every interval', async () => {
    answer = () => (asked.length < 3 ? no : { type: 'pass' });
    const c = container();
    expect(observe(c)).toMatchObject([{ status: 'starting' }]);
    await clock.advance(0);
    expect(asked).toEqual([{ containerId: 'c1', address: '10.77.1.2' }]);
    await clock.advance(2000);
    expect(observe(c)).toMatchObject([{ status: 'healthy', restarts: true }]);
    await clock.advance(30_000);
    expect(asked).toHaveLength(6);
    expect(changes.length).toBeGreaterThan(0);
  });

  it('says so once when it becomes unhealthy, and once when it recovers', async () => {
    const c = container();
    observe(c);
    await clock.advance(0);
    answer = () => no;
    changes = [];
    await clock.advance(60_000);
    expect(observe(c)).toMatchObject([{ status: 'unhealthy', message: 'refused', flaps: 1 }]);
    expect(changes).toEqual(['web/1']);
    answer = () => ({ type: 'pass' });
    await clock.advance(20_000);
    expect(observe(c)).toMatchObject([{ status: 'healthy', flaps: 1 }]);
    expect(changes).toEqual(['web/1', 'web/1']);
  });

  it('asks nothing of a container that has ended, is paused or is gone, and begins anew with the next run', async () => {
    const c = container();
    observe(c);
    await clock.advance(0);
    const before = asked.length;
    expect(observe({ ...c, state: 'exited' })).toEqual([]);
    await clock.advance(60_000);
    observe({ ...c, state: 'paused' });
    await clock.advance(60_000);
    expect(asked).toHaveLength(before);
    answer = () => new Promise(() => undefined);
    const next = container();
    expect(observe(next)).toMatchObject([{ status: 'starting' }]);
    await clock.advance(0);
    observe();
    await clock.advance(60_000);
    expect(asked).toHaveLength(before + 1);
    expect(clock.pending).toBe(0);
  });

  it('lets what was running before the agent go on serving, until a check says otherwise', async () => {
    const old = container({ startedAt: new Date(bootMs - 60_000).toISOString() });
    expect(observe(old)).toMatchObject([{ status: 'healthy' }]);
    answer = () => no;
    await clock.advance(1000);
    expect(observe(old)).toMatchObject([{ status: 'unhealthy' }]);
  });

  it('goes on with the check of a container that is about to be replaced', async () => {
    const c = container();
    observe(c);
    await clock.advance(0);
    const replaced = (): unknown =>
      monitor.observe('web/1', { key, containers: [c], current: undefined, check: undefined });
    expect(replaced()).toMatchObject([{ status: 'healthy' }]);
    answer = () => no;
    await clock.advance(30_000);
    expect(replaced()).toMatchObject([{ status: 'unhealthy' }]);
  });

  it("reports the engine's verdict on the image's own check, and counts its flaps", () => {
    const image = { ...check, probe: { type: 'image' }, unhealthyAction: 'none' } as const;
    const judged = (status: 'healthy' | 'unhealthy') =>
      monitor.observe('web/1', {
        key,
        containers: [container({ health: { status, message: 'x' } })],
        current: 'c1',
        check: image,
      });
    expect(judged('healthy')).toMatchObject([{ status: 'healthy', flaps: 0, restarts: false }]);
    expect(judged('unhealthy')).toMatchObject([{ status: 'unhealthy', flaps: 1 }]);
    expect(judged('unhealthy')).toMatchObject([{ flaps: 1 }]);
    expect(clock.pending).toBe(0);
  });

  it('never makes more than so many checks at a time, and makes them all', async () => {
    let busy = 0;
    let busiest = 0;
    answer = async () => {
      busiest = Math.max(busiest, ++busy);
      await new Promise<void>((resolve) => {
        clock.schedule(resolve, 100);
      });
      busy--;
      return { type: 'pass' };
    };
    for (let n = 0; n < 200; n++) {
      const c = container({ id: `c${String(n)}` });
      monitor.observe(String(n), { key, containers: [c], current: c.id, check });
    }
    await clock.advance(5000);
    expect(busiest).toBe(32);
    expect(new Set(asked.map(({ containerId }) => containerId)).size).toBe(200);
    expect(changes).toHaveLength(200);
    monitor.stop();
    await clock.advance(60_000);
    expect(asked).toHaveLength(200);
  });
});
