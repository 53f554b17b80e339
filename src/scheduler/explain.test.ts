import { describe, expect, it } from 'vitest';
import { ClusterState } from './cluster-state.ts';
import { aHost, aRequest } from './fixtures.ts';
import { schedule } from './schedule.ts';
import type { HostInfo, InstanceRequest } from './types.ts';

/** What is said of a request that no host takes. */
function why(
  hosts: HostInfo[],
  over: Partial<InstanceRequest>,
  placed: [string, Partial<InstanceRequest>][] = [],
) {
  const state = new ClusterState();
  for (const host of hosts) state.setHost(host);
  for (const [i, [host, instance]] of placed.entries()) {
    state.place(aRequest(`placed-${String(i)}`, { service: 'other', ...instance }), host);
  }
  const [decision] = schedule(state, [aRequest('new', over)]);
  return decision && decision.host === undefined
    ? decision.explanation
    : `placed on ${String(decision?.host)}`;
}

const inRegion = (region: string) => ({ labels: { region } });
const wanting = (machineMetadata: Record<string, string>) => ({
  rules: { strategy: 'spread' as const, machineMetadata },
});
const gibibyte = 1024 ** 3;

describe('the explanation', () => {
  it('counts causes, the most frequent first', () => {
    expect(
      why(
        [
          aHost('a'),
          aHost('b', inRegion('eu')),
          aHost('c', { ...inRegion('us-east-1'), unschedulable: true }),
        ],
        wanting({ region: 'us-east-1' }),
      ),
    ).toBe('0/3 hosts fit: 2 lack label region=us-east-1, 1 is cordoned');
  });

  it.each<[string, Parameters<typeof why>, string]>([
    ['no hosts', [[], {}], '0/0 hosts fit: no host has joined'],
    ['one not ready', [[aHost('a', { ready: false })], {}], '0/1 hosts fit: 1 is not ready'],
    [
      'some not ready, some cordoned',
      [
        [
          aHost('a', { ready: false }),
          aHost('b', { ready: false, unschedulable: true }),
          aHost('c', { unschedulable: true }),
        ],
        {},
      ],
      '0/3 hosts fit: 2 are not ready, 1 is cordoned',
    ],
    [
      'different labels, said one by one',
      [
        [aHost('a', { labels: { disk: 'hdd', region: 'eu' } }), aHost('b'), aHost('c')],
        wanting({ region: 'eu,us', disk: 'ssd' }),
      ],
      '0/3 hosts fit: 2 lack label region=eu,us, 1 lacks label disk=ssd',
    ],
    [
      'memory',
      [[aHost('a'), aHost('b')], { reservation: { cpuMillis: 0, memoryBytes: 9 * gibibyte } }],
      '0/2 hosts fit: 2 lack 9Gi unreserved memory',
    ],
    [
      'memory here, processors there',
      [
        [aHost('a'), aHost('b')],
        { reservation: { cpuMillis: 1500, memoryBytes: 4 * gibibyte } },
        [
          ['a', { reservation: { cpuMillis: 3000, memoryBytes: 0 } }],
          ['b', { reservation: { cpuMillis: 3000, memoryBytes: 5 * gibibyte } }],
        ],
      ],
      '0/2 hosts fit: 1 lacks 1.5 unreserved cpus, 1 lacks 1.5 unreserved cpus and 4Gi unreserved memory',
    ],
    [
      'ports',
      [
        [aHost('a'), aHost('b')],
        {
          ports: [
            { port: 80, protocol: 'tcp' },
            { port: 81, protocol: 'udp', ip: '127.0.0.1' },
          ],
        },
        [
          ['a', { ports: [{ port: 80, protocol: 'tcp', ip: '10.0.0.1' }] }],
          ['b', { ports: [{ port: 81, protocol: 'udp' }] }],
        ],
      ],
      '0/2 hosts fit: 1 has port 127.0.0.1:81/udp taken, 1 has port 80/tcp taken',
    ],
    [
      'a machine that is not there',
      [[aHost('a'), aHost('b')], { rules: { strategy: 'spread', machineID: 'xyz' } }],
      '0/2 hosts fit: 2 are not machine xyz',
    ],
    [
      'an ambiguous machine',
      [[aHost('a'), aHost('b')], { rules: { strategy: 'spread', machineID: 'id-of' } }],
      '0/2 hosts fit: machineID id-of is ambiguous (2 hosts begin with it)',
    ],
    [
      'the one machine that is wanted, cordoned',
      [
        [aHost('a', { unschedulable: true }), aHost('b')],
        { rules: { strategy: 'spread', machineID: 'a' } },
      ],
      '0/2 hosts fit: 1 is not machine a, 1 is cordoned',
    ],
  ])('%s', (_, args, expected) => {
    expect(why(...args)).toBe(expected);
  });
});
