import { describe, expect, it } from 'vitest';
import { parseIpv6Prefix } from '../../network/address/dual-stack.ts';
import { negotiateApiVersion } from './api-version.ts';
import { containerName, createBody } from './container-spec.ts';
import type { CreateRequest } from './engine.ts';
import { parseEvent } from './events.ts';

const key = { namespace: 'default', project: 'shop', service: 'web', ordinal: '2' };

function request(over: Partial<CreateRequest['container']> = {}): CreateRequest {
  return {
    key,
    host: 'h1',
    placementId: '0123456789abcdef',
    specHash: 'hash',
    network: { name: 'nap', gateway: '10.77.1.1' },
    container: {
      image: 'redis:7',
      environment: {},
      ports: [],
      mounts: [],
      labels: {},
      hostname: 'shop-web-2',
      pullPolicy: 'missing',
      restart: 'always',
      stopGracePeriodMs: 2500,
      limits: {},
      reservations: {},
      ...over,
    },
  };
}

describe('createBody', () => {
  it('gives links as lines of /etc/hosts and as variables, which the own ones hide', () => {
    const links = {
      hosts: { db: '10.78.0.1', cache: '10.78.0.2' },
      environment: { DB_PORT: 'tcp://10.78.0.1:5432', DB_NAME: '/a/db' },
    };
    const body = createBody(request({ links, environment: { DB_NAME: 'mine' } }));
    expect(body.HostConfig.ExtraHosts).toEqual(['cache:10.78.0.2', 'db:10.78.0.1']);
    expect(body.Env).toEqual(['DB_NAME=mine', 'DB_PORT=tcp://10.78.0.1:5432']);
    expect(createBody(request()).HostConfig).not.toHaveProperty('ExtraHosts');
  });

  it('mounts paths with a propagation, memory, and delivered files that must exist', () => {
    const mounts = [
      { type: 'bind', source: '/mnt', target: '/mnt', readOnly: true, propagation: 'rslave' },
      { type: 'bind', source: '/a', target: '/a', readOnly: false, propagation: 'rshared' },
      { type: 'tmpfs', target: '/run', options: 'size=1024' },
    ] as const;
    const delivered = {
      files: [{ source: '/run/nap/h1/files/x/0', target: '/etc/app.conf' }],
      environment: { KEY: 'sealed', OWN: 'no' },
    };
    const body = createBody({
      ...request({ mounts: [...mounts], environment: { OWN: 'yes' } }),
      delivered,
    });
    expect(body.HostConfig.Binds).toEqual(['/mnt:/mnt:ro,rslave', '/a:/a:rshared']);
    expect(body.HostConfig.Tmpfs).toEqual({ '/run': 'size=1024' });
    // Among Binds the engine would make a directory where the file is missing.
    expect(body.HostConfig.Mounts).toEqual([
      {
        Type: 'bind',
        Source: '/run/nap/h1/files/x/0',
        Target: '/etc/app.conf',
        ReadOnly: true,
      },
    ]);
    expect(body.Env).toEqual(['KEY=sealed', 'OWN=yes']);
  });

  it('gives an address, and its twin where there is one', () => {
    const of = (over: Partial<CreateRequest>): string =>
      JSON.stringify(createBody({ ...request(), ...over }).NetworkingConfig);
    expect(of({})).toBe('{"EndpointsConfig":{"nap":{}}}');
    expect(of({ address: { ipv4: '10.77.1.5' } })).toBe(
      '{"EndpointsConfig":{"nap":{"IPAMConfig":{"IPv4Address":"10.77.1.5"}}}}',
    );
    const network = { ...request().network, ipv6: parseIpv6Prefix('fd00:77::/64') };
    expect(of({ network, address: { ipv4: '10.77.1.5', ipv6: 'fd00:77::a4d:105' } })).toBe(
      '{"EndpointsConfig":{"nap":{"IPAMConfig":{"IPv4Address":"10.77.1.5","IPv6Address":"fd00:77::a4d:105"}}}}',
    );
  });

  it('has a name for people and labels for the agent, which users cannot overwrite', () => {
    const body = createBody(request({ labels: { team: 'blue', 'nap.dev/host': 'h9' } }));
    expect(body.name).toBe('nap_default_shop_web_2_01234567');
    expect(body.Labels).toEqual({
      team: 'blue',
      'nap.dev/host': 'h1',
      'nap.dev/namespace': 'default',
      'nap.dev/project': 'shop',
      'nap.dev/service': 'web',
      'nap.dev/ordinal': '2',
      'nap.dev/instance': '0123456789abcdef',
      'nap.dev/spec-hash': 'hash',
    });
    expect(containerName({ ...key, project: '_' }, 'abc')).toBe('nap_default___web_2_abc');
  });

  it('leaves restarting to the engine, and rounds the grace up', () => {
    expect(createBody(request()).HostConfig.RestartPolicy).toEqual({ Name: 'unless-stopped' });
    expect(createBody(request({ restart: 'no' })).HostConfig.RestartPolicy).toEqual({ Name: 'no' });
    expect(createBody(request()).StopTimeout).toBe(3);
  });

  it('publishes the ports that have a host port, and exposes all', () => {
    const { ExposedPorts, HostConfig } = createBody(
      request({
        ports: [
          { containerPort: 80, protocol: 'tcp', hostPort: 8080 },
          { containerPort: 80, protocol: 'tcp', hostPort: 8081, hostIP: '127.0.0.1' },
          { containerPort: 53, protocol: 'udp' },
        ],
      }),
    );
    expect(Object.keys(ExposedPorts)).toEqual(['80/tcp', '53/udp']);
    expect(HostConfig.PortBindings).toEqual({
      '80/tcp': [
        { HostIp: '', HostPort: '8080' },
        { HostIp: '127.0.0.1', HostPort: '8081' },
      ],
    });
  });

  it('mounts volumes by name, binds by path, and paths with a colon too', () => {
    const { Binds, Mounts } = createBody(
      request({
        mounts: [
          { type: 'volume', name: 'default_shop_data', target: '/data', readOnly: false },
          { type: 'bind', source: '/srv/x', target: '/x', readOnly: true },
          { type: 'bind', source: '/srv/a:b', target: '/y', readOnly: false },
        ],
      }),
    ).HostConfig;
    expect(Binds).toEqual(['/srv/x:/x:ro']);
    expect(Mounts).toEqual([
      { Type: 'volume', Source: 'default_shop_data', Target: '/data', ReadOnly: false },
      { Type: 'bind', Source: '/srv/a:b', Target: '/y', ReadOnly: false },
    ]);
  });

  it('does not depend on the order in which variables were written', () => {
    const one = createBody(request({ environment: { B: '2', A: '1' } }));
    const other = createBody(request({ environment: { A: '1', B: '2' } }));
    expect(one).toEqual(other);
    expect(one.Env).toEqual(['A=1', 'B=2']);
  });
});

describe('negotiateApiVersion', () => {
  it('speaks what both know', () => {
    expect(negotiateApiVersion('1.41')).toBe('1.41');
    expect(negotiateApiVersion('1.47')).toBe('1.47');
    expect(negotiateApiVersion('1.99')).toBe('1.50');
    expect(negotiateApiVersion('2.0')).toBe('1.50');
  });
  it.each(['1.40', '', 'x'])('refuses %j', (offered) => {
    expect(() => negotiateApiVersion(offered)).toThrow(/API/);
  });
});

describe('parseEvent', () => {
  it('reads an event and nothing else', () => {
    const raw = {
      Type: 'container',
      Action: 'die',
      Actor: { ID: 'c1', Attributes: { a: 'b', n: 1 } },
    };
    expect(parseEvent(raw)).toEqual({
      type: 'container',
      action: 'die',
      id: 'c1',
      labels: { a: 'b' },
    });
    for (const odd of [null, 3, {}, { Type: 'x', Action: 'y' }])
      expect(parseEvent(odd)).toBeUndefined();
  });
});
