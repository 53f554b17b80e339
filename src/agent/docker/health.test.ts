import type Docker from 'dockerode';
import { describe, expect, it } from 'vitest';
import type { ContainerSpec } from '../../registry/records/index.ts';
import { createBody } from './container-spec.ts';
import { withoutFrames } from './exec.ts';
import { inspected } from './from-docker.ts';

function body(over: Partial<ContainerSpec>): ReturnType<typeof createBody> {
  return createBody({
    key: { namespace: 'default', project: 'shop', service: 'web', ordinal: '1' },
    host: 'h1',
    placementId: '0123456789abcdef',
    specHash: 'hash',
    network: { name: 'nap', gateway: '10.77.1.1' },
    container: {
      image: 'web:1',
      environment: {},
      ports: [],
      mounts: [],
      labels: {},
      hostname: 'shop-web-1',
      pullPolicy: 'missing',
      restart: 'always',
      stopGracePeriodMs: 1000,
      limits: {},
      reservations: {},
      ...over,
    },
  });
}

describe('the engine', () => {
  it.each([
    [{ restart: 'always' }, 'unless-stopped'],
    [{ restart: 'always', restartMs: 5000 }, 'no'],
    [{ restart: 'always', startLimit: { burst: 3, intervalMs: 1000 } }, 'no'],
    [{ restart: 'on-failure' }, 'no'],
    [{ restart: 'on-success' }, 'no'],
    [{ restart: 'on-abnormal' }, 'no'],
    [{ restart: 'on-abort' }, 'no'],
    [{ restart: 'no' }, 'no'],
  ] as const)('of %j is told to restart: %s', (over, name) => {
    expect(body(over).HostConfig.RestartPolicy).toEqual({ Name: name });
  });

  it("makes the image's own check unless the agent makes another, or none is wanted", () => {
    const unhealthyAction = 'none';
    const check = (healthCheck: ContainerSpec['healthCheck']) =>
      body({ ...(healthCheck && { healthCheck }) }).Healthcheck;
    expect(check(undefined)).toBeUndefined();
    expect(check({ probe: { type: 'tcp', port: 80 }, unhealthyAction })).toEqual({
      Test: ['NONE'],
    });
    expect(check({ probe: { type: 'none' }, unhealthyAction })).toEqual({ Test: ['NONE'] });
    const times = { intervalMs: 1500, retries: 2 };
    expect(check({ probe: { type: 'image' }, ...times, unhealthyAction })).toEqual({
      Interval: 1_500_000_000,
      Retries: 2,
    });
  });
});

describe("the engine's verdict", () => {
  function health(Health: unknown): unknown {
    return inspected({
      Id: 'c1',
      Name: '/c1',
      RestartCount: 0,
      State: { Status: 'running', StartedAt: '', FinishedAt: '', Health },
      Config: {},
      HostConfig: {},
      NetworkSettings: { Networks: {} },
    } as unknown as Docker.ContainerInspectInfo).health;
  }

  it.each([
    [undefined, undefined],
    [{ Status: 'none' }, undefined],
    [{ Status: '' }, undefined],
    [
      { Status: 'starting', Log: null },
      { status: 'starting', message: undefined },
    ],
    [
      { Status: 'healthy', Log: [{ ExitCode: 1, Output: 'x' }] },
      { status: 'healthy', message: undefined },
    ],
    [
      {
        Status: 'unhealthy',
        Log: [
          { ExitCode: 0, Output: '' },
          { ExitCode: 7, Output: 'a\n b\n' },
        ],
      },
      { status: 'unhealthy', message: "the image's check: exit code 7: a b" },
    ],
  ])('%j', (given, expected) => {
    expect(health(given)).toEqual(expected);
  });
});

describe('withoutFrames', () => {
  const frame = (text: string, stream = 1): Buffer => {
    const header = Buffer.from([stream, 0, 0, 0, 0, 0, 0, 0]);
    header.writeUInt32BE(Buffer.byteLength(text), 4);
    return Buffer.concat([header, Buffer.from(text)]);
  };

  it('joins standard output and standard error, and takes what there is of a frame that was cut', () => {
    const whole = Buffer.concat([frame('one '), frame('two ', 2), frame('three')]);
    expect(withoutFrames(whole).toString()).toBe('one two three');
    expect(withoutFrames(whole.subarray(0, -3)).toString()).toBe('one two th');
    expect(withoutFrames(frame('one').subarray(0, 5)).toString()).toBe('');
  });
});
