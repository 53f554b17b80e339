import type Docker from 'dockerode';
import { describe, expect, it } from 'vitest';
import { inspected } from './from-docker.ts';

function container(network: object): Docker.ContainerInspectInfo {
  return {
    Id: 'c1',
    Name: '/n',
    State: { Status: 'running', Pid: 7, ExitCode: 0, StartedAt: '', FinishedAt: '' },
    Config: { Labels: {} },
    HostConfig: { Dns: [] },
    NetworkSettings: { Networks: { nap: network } },
  } as unknown as Docker.ContainerInspectInfo;
}

describe('the addresses of a container', () => {
  it('are those of both families, as given and as they are', () => {
    const seen = inspected(
      container({
        IPAddress: '10.77.1.5',
        GlobalIPv6Address: 'fd00:77::a4d:105',
        IPAMConfig: { IPv4Address: '10.77.1.5', IPv6Address: 'fd00:77::a4d:105' },
      }),
    );
    expect(seen).toMatchObject({
      addresses: { nap: '10.77.1.5' },
      assigned: { nap: '10.77.1.5' },
      ipv6Addresses: { nap: 'fd00:77::a4d:105' },
      assignedIpv6: { nap: 'fd00:77::a4d:105' },
    });
  });

  it.each([
    { IPAddress: '10.77.1.5', GlobalIPv6Address: '', IPAMConfig: null },
    { IPAddress: '10.77.1.5', GlobalIPv6Address: '', IPAMConfig: { IPv4Address: '10.77.1.5' } },
    { IPAddress: '10.77.1.5' },
  ])('have nothing of IPv6 where there is none', (network) => {
    const seen = inspected(container(network));
    expect(seen).not.toHaveProperty('ipv6Addresses');
    expect(seen).not.toHaveProperty('assignedIpv6');
    expect(seen.addresses).toEqual({ nap: '10.77.1.5' });
  });
});
