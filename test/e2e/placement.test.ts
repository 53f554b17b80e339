import { afterEach, describe, expect, test } from 'vitest';
import {
  box,
  cleansUp,
  conditions,
  containerOf,
  eventually,
  hosts,
  instances,
  kubectl,
  project,
  settles,
} from './harness.ts';

const hostsOf = async (service: string): Promise<(string | undefined)[]> =>
  (await instances(service)).map(({ host }) => host);

function withParts(of: ReturnType<typeof project>, parts: object): ReturnType<typeof project> {
  const whole = of as typeof of & { spec: object };
  return { ...whole, spec: { ...whole.spec, ...parts } };
}

describe('placement', () => {
  cleansUp('place');

  // Whatever a test came to: the next one, and the next file, find hosts that take everything.
  afterEach(async () => {
    await kubectl.run(
      ...['patch', 'host', 'h3', '--type=merge'],
      ...['-p', '{"spec":{"unschedulable":false,"drain":null}}'],
    );
  });

  test('global, beside another service, apart from one, and filled-in placeholders', async () => {
    await kubectl.apply(
      project('place', {
        db: { placement: { machineMetadata: { zone: 'z2' }, conflicts: ['web'] } },
        side: { placement: { machineOf: 'db' } },
        web: {
          replicas: 2,
          ports: ['808%i:80'],
          hostname: 'web%i',
          environment: { WHO: '%n on %H' },
          placement: { maxPerHost: 1 },
        },
        logs: { placement: { global: true } },
      }),
    );
    await kubectl.wait('project/place');
    expect(await hostsOf('place-db')).toEqual(['h2']);
    expect(await hostsOf('place-side')).toEqual(['h2']);
    expect((await hostsOf('place-web')).toSorted()).toEqual(['h1', 'h3']);
    expect((await hostsOf('place-logs')).toSorted()).toEqual([...hosts]);
    const second = await containerOf('place', 'web', 2);
    const said = await box.docker(
      second.host,
      'exec',
      second.id,
      'sh',
      '-c',
      'echo $WHO; hostname',
    );
    expect(said.trim().split('\n')).toEqual([`place-web-2 on ${second.host}`, 'web2']);
    const ports = await box.docker(
      second.host,
      'inspect',
      '-f',
      '{{json .HostConfig.PortBindings}}',
      second.id,
    );
    expect(JSON.parse(ports)).toEqual({ '80/tcp': [{ HostIp: '', HostPort: '8082' }] });
  });

  test('contradictions are refused at apply, with words', async () => {
    const refused = (services: Record<string, object>) =>
      kubectl.apply(project('place-bad', services)).then(
        () => 'taken',
        (error: unknown) => String(error),
      );
    expect(await refused({ a: { replicas: 2, placement: { global: true } } })).toContain(
      'a global service has one instance on every matching host',
    );
    expect(await refused({ a: { placement: { machineOf: 'b' } } })).toContain(
      'placement.machineOf must name another service',
    );
  });

  test('a host is drained: what can move serves elsewhere first, what cannot says why', async () => {
    await kubectl.apply(
      project('place', {
        web: { replicas: 3 },
        db: { placement: { machineMetadata: { zone: 'z3' } }, volumes: ['data:/data'] },
      }),
    );
    await kubectl.wait('project/place');
    await kubectl.run(
      'patch',
      'host',
      'h3',
      '--type=merge',
      '-p',
      '{"spec":{"drain":{"deadline":"5m"}}}',
    );
    await settles(
      'only the volume keeps h3',
      async () => {
        expect(await hostsOf('place-web')).not.toContain('h3');
        expect((await conditions('host/h3'))['Drained']).toMatchObject({
          status: 'False',
          reason: 'Blocked',
          message: expect.stringContaining('place-db-1: its volume data is there') as string,
        });
      },
      60_000,
    );
    expect((await instances('place-web')).every(({ ready }) => ready)).toBe(true);
  });

  test('an instance goes back to its volume; a host that returns gets its share when rebalancing is on', async () => {
    const services = {
      web: { replicas: 6 },
      db: { placement: { machineMetadata: { zone: 'z3' } }, volumes: ['data:/data'] },
    };
    await kubectl.run(
      'patch',
      'host',
      'h3',
      '--type=merge',
      '-p',
      '{"spec":{"unschedulable":true}}',
    );
    await kubectl.apply(project('place', services));
    await eventually('all six are elsewhere', async () => {
      const at = await hostsOf('place-web');
      return at.length === 6 && !at.includes('h3');
    });
    await kubectl.run(
      'patch',
      'host',
      'h3',
      '--type=merge',
      '-p',
      '{"spec":{"unschedulable":false}}',
    );
    await eventually(
      'the plan can be seen',
      async () => {
        const text = await kubectl.run(
          'get',
          'project',
          'place',
          '-o',
          'jsonpath={.status.rebalance}',
        );
        return text.includes('to h3: ');
      },
      60_000,
    );
    await kubectl.apply(withParts(project('place', services), { rebalance: 'on' }));
    await settles(
      'the shares are even',
      async () => {
        expect((await hostsOf('place-web')).filter((host) => host === 'h3')).toHaveLength(2);
        expect(await hostsOf('place-db')).toEqual(['h3']);
      },
      90_000,
    );
  });
});
