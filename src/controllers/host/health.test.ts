import { describe, expect, it } from 'vitest';
import { HostHealth } from './health.ts';

const no = (): boolean => false;

function watching(...hosts: string[]): HostHealth {
  const health = new HostHealth({ ttlMs: 5_000 });
  health.registryHealthy(0);
  for (const host of hosts) health.present(host);
  return health;
}

describe('HostHealth', () => {
  it('takes a host that vanishes from a healthy registry for lost at once', () => {
    const health = watching('a', 'b', 'c');
    health.absent('a', 60_000);
    expect(health.standing('a', 60_000)).toBe('lost');
    expect(health.standing('b', 60_000)).toBe('present');
    expect(health.brake(60_000, no)).toBeUndefined();
  });

  it('gives each host a full TTL when it begins to look', () => {
    const health = watching('b');
    health.absent('a', 0);
    expect(health.standing('a', 4_999)).toBe('absent');
    expect(health.nextLossInMs(1_000)).toBe(4_000);
    expect(health.standing('a', 5_000)).toBe('lost');
  });

  it('gives each host a full TTL after an outage, also those that were noticed missing during it', () => {
    const health = watching('a', 'b');
    health.registryUnhealthy();
    health.absent('a', 70_000);
    expect(health.standing('a', 100_000)).toBe('absent');
    expect(health.nextLossInMs(100_000)).toBeUndefined();
    health.registryHealthy(100_000);
    health.registryHealthy(103_000);
    expect(health.standing('a', 104_999)).toBe('absent');
    health.present('a');
    expect(health.standing('a', 200_000)).toBe('present');
  });

  it('waits for a planned absence to run out, and no longer than is reasonable', () => {
    const health = watching('a', 'b', 'c');
    health.grace('a', 30_000, 10_000);
    health.absent('a', 10_500);
    expect(health.standing('a', 39_999)).toBe('absent');
    expect(health.graceLeftMs('a', 20_000)).toBe(20_000);
    expect(health.standing('a', 40_000)).toBe('lost');
    health.grace('b', 10 * 365 * 86_400_000, 0);
    health.absent('b', 1);
    expect(health.standing('b', 600_000)).toBe('lost');
  });

  it.each([
    { hosts: 3, lost: 1, braked: false, why: 'one of three is an ordinary failure' },
    { hosts: 3, lost: 2, braked: true, why: 'two of three' },
    { hosts: 6, lost: 2, braked: false, why: 'exactly a third' },
    { hosts: 6, lost: 3, braked: true, why: 'half' },
    { hosts: 1, lost: 1, braked: false, why: 'the only host: nowhere to go anyway' },
  ])('brakes with $lost of $hosts lost: $braked ($why)', ({ hosts, lost, braked }) => {
    const names = Array.from({ length: hosts }, (_, i) => `h${String(i)}`);
    const health = watching(...names);
    for (const name of names.slice(0, lost)) {
      health.absent(name, 60_000);
      health.standing(name, 60_000);
    }
    expect(health.brake(60_000, no) !== undefined).toBe(braked);
  });

  it('keeps the brake on while instances wait, and lets go when hosts are back or long gone', () => {
    const health = watching('a', 'b', 'c');
    for (const host of ['a', 'b']) {
      health.absent(host, 60_000);
      health.standing(host, 60_000);
    }
    expect(health.brake(500_000, (host) => host === 'a' || host === 'b')).toBeDefined();
    expect(health.brake(500_000, no)).toBeUndefined();
    expect(health.brake(60_001, no)?.message).toContain('2 of 3 hosts');
    health.present('a');
    expect(health.brake(60_001, no)).toBeUndefined();
  });
});
