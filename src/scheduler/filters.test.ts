import { describe, expect, it } from 'vitest';
import { ClusterState } from './cluster-state.ts';
import { aHost, aRequest } from './fixtures.ts';
import { Pipeline } from './pipeline.ts';
import type { HostInfo, HostPort, InstanceRequest } from './types.ts';

function fitting(
  hosts: HostInfo[],
  request: Partial<InstanceRequest>,
  prepare?: (state: ClusterState) => void,
): string[] {
  const state = new ClusterState();
  for (const host of hosts) state.setHost(host);
  prepare?.(state);
  const pipeline = new Pipeline(aRequest('new', request), state);
  return state.hosts.filter((host) => pipeline.fits(host)).map((host) => host.name);
}

const labelled = (name: string, labels: Record<string, string>) => aHost(name, { labels });

describe('filters', () => {
  it('labels: all keys, one of the values of each', () => {
    const hosts = [
      labelled('a', { region: 'eu', disk: 'ssd' }),
      labelled('b', { region: 'us', disk: 'ssd' }),
      labelled('c', { region: 'eu', disk: 'hdd' }),
      labelled('d', { region: 'eu,us' }),
    ];
    const where = (machineMetadata: Record<string, string>) =>
      fitting(hosts, { rules: { strategy: 'spread', machineMetadata } });
    expect(where({})).toEqual(['a', 'b', 'c', 'd']);
    expect(where({ region: 'eu' })).toEqual(['a', 'c']);
    expect(where({ region: 'eu, us', disk: 'ssd' })).toEqual(['a', 'b']);
    expect(where({ toString: '' })).toEqual([]);
  });

  it('machine: a name, an ID or the beginning of one', () => {
    const hosts = [
      aHost('abc', { machineID: 'ff00' }),
      aHost('b', { machineID: 'abcdef' }),
      aHost('c', { machineID: 'abcd' }),
    ];
    const where = (machineID: string) =>
      fitting(hosts, { rules: { strategy: 'spread', machineID } });
    expect(where('abc')).toEqual(['abc']);
    expect(where('abcd')).toEqual(['c']);
    expect(where('abcde')).toEqual(['b']);
    expect(where('ab')).toEqual([]);
    expect(where('ff')).toEqual(['abc']);
    expect(where('')).toEqual(['abc', 'b', 'c']);
  });

  it.each<[HostPort, HostPort, boolean]>([
    [{ port: 80, protocol: 'tcp' }, { port: 80, protocol: 'tcp' }, false],
    [{ port: 80, protocol: 'tcp' }, { port: 80, protocol: 'udp' }, true],
    [{ port: 80, protocol: 'tcp' }, { port: 81, protocol: 'tcp' }, true],
    [
      { port: 80, protocol: 'tcp', ip: '10.0.0.1' },
      { port: 80, protocol: 'tcp', ip: '10.0.0.2' },
      true,
    ],
    [{ port: 80, protocol: 'tcp', ip: '10.0.0.1' }, { port: 80, protocol: 'tcp' }, false],
    [{ port: 80, protocol: 'tcp' }, { port: 80, protocol: 'tcp', ip: '10.0.0.1' }, false],
    [
      { port: 80, protocol: 'tcp', ip: '0.0.0.0' },
      { port: 80, protocol: 'tcp', ip: '10.0.0.1' },
      false,
    ],
  ])('ports: %j leaves room for %j: %s', (taken, wanted, fits) => {
    const found = fitting([aHost('a')], { ports: [wanted] }, (state) => {
      state.place(aRequest('old', { ports: [taken] }), 'a');
    });
    expect(found).toEqual(fits ? ['a'] : []);
  });

  it('ports: what two instances hold is free only when both have gone', () => {
    const ports: HostPort[] = [{ port: 80, protocol: 'tcp' }];
    const gone = (...ids: string[]) =>
      fitting([aHost('a')], { ports }, (state) => {
        // Two records may say so after a fault: both are facts.
        state.place(aRequest('one', { ports }), 'a');
        state.place(aRequest('two', { ports }), 'a');
        for (const id of ids) state.unplace(id);
      });
    expect(gone('one')).toEqual([]);
    expect(gone('one', 'two')).toEqual(['a']);
  });

  it('resources: what is reserved counts up to the last byte', () => {
    const { capacity } = aHost('a');
    expect(fitting([aHost('a')], { reservation: capacity })).toEqual(['a']);
    expect(fitting([aHost('a')], { reservation: { ...capacity, cpuMillis: 4001 } })).toEqual([]);
    const full = (state: ClusterState) => {
      state.place(aRequest('old', { reservation: { cpuMillis: 9000, memoryBytes: 0 } }), 'a');
    };
    expect(fitting([aHost('a')], { reservation: { cpuMillis: 1, memoryBytes: 0 } }, full)).toEqual(
      [],
    );
    // Whoever reserves nothing fits on a host that is more than full.
    expect(fitting([aHost('a')], {}, full)).toEqual(['a']);
  });
});
