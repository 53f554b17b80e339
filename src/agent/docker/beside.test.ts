import type Docker from 'dockerode';
import { expect, it } from 'vitest';
import { besideBody } from './beside.ts';
import type { BesideRequest } from './engine.ts';

const other = {
  Id: 'c1',
  Image: 'sha256:1',
  Config: { Hostname: 'web1', Env: ['PATH=/app', 'OWN=1'], User: '1000', WorkingDir: '/srv' },
  HostConfig: {
    NetworkMode: 'nap',
    Dns: ['10.77.1.1'],
    PortBindings: { '80/tcp': [{ HostPort: '80' }] },
    RestartPolicy: { Name: 'unless-stopped' },
    Memory: 1024,
  },
} as unknown as Docker.ContainerInspectInfo;
const request = { containerId: 'c1', name: 'n', labels: { a: 'b' } };

it("makes a container of another image that shares what is the instance's", () => {
  const body = besideBody(other, ['PATH=/app'], {
    ...request,
    image: 'migrate:4',
    command: ['migrate', 'up'],
  });
  expect(body).toMatchObject({
    Image: 'migrate:4',
    Entrypoint: ['migrate'],
    Cmd: ['up'],
    Env: ['OWN=1'],
    HostConfig: {
      NetworkMode: 'nap',
      VolumesFrom: ['c1'],
      RestartPolicy: { Name: 'no' },
      Memory: 1024,
    },
  });
  expect(body.User).toBeUndefined();
  expect(body.HostConfig?.PortBindings).toBeUndefined();
});

it("runs the instance's own image as the instance does", () => {
  const body = besideBody(other, ['PATH=/app'], request);
  expect(body).toMatchObject({ Image: 'sha256:1', User: '1000', WorkingDir: '/srv' });
  expect(body.Env).toEqual(['PATH=/app', 'OWN=1']);
  expect(body).not.toHaveProperty('Entrypoint');
});

it('has an address of its own on the network of the other one, and its twin where there is one', () => {
  const of = (address: object | undefined): string =>
    JSON.stringify(
      besideBody(other, [], { ...request, ...(address && { address }) } as BesideRequest)
        .NetworkingConfig,
    );
  expect(of(undefined)).toBeUndefined();
  expect(of({ ipv4: '10.77.1.5' })).toBe(
    '{"EndpointsConfig":{"nap":{"IPAMConfig":{"IPv4Address":"10.77.1.5"}}}}',
  );
  expect(of({ ipv4: '10.77.1.5', ipv6: 'fd00:77::a4d:105' })).toBe(
    '{"EndpointsConfig":{"nap":{"IPAMConfig":{"IPv4Address":"10.77.1.5","IPv6Address":"fd00:77::a4d:105"}}}}',
  );
});
