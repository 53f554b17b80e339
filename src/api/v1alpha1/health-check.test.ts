import { describe, expect, it } from 'vitest';
import { resolveHealthCheck, type HealthCheckInput } from './health-check.ts';
import { resolveContainerSpec } from './resolve.ts';
import { serviceSpec, type ServiceSpecInput } from './service-spec.ts';
import { validateServiceSpec } from './validate-service-spec.ts';

describe('resolveHealthCheck', () => {
  it('fills in the defaults of a check of its own', () => {
    expect(resolveHealthCheck({ http: { port: 80 } }, 'always')).toEqual({
      probe: { type: 'http', port: 80, path: '/' },
      intervalMs: 10_000,
      timeoutMs: 5000,
      retries: 3,
      startPeriodMs: 0,
      unhealthyAction: 'restart',
    });
  });

  it("leaves to the image's own check what is not said", () => {
    expect(resolveHealthCheck({ interval: '2s' }, 'no')).toEqual({
      probe: { type: 'image' },
      intervalMs: 2000,
      unhealthyAction: 'none',
    });
  });

  it.each([
    ['always', 'restart'],
    ['on-failure', 'restart'],
    ['on-abnormal', 'restart'],
    ['on-success', 'none'],
    ['on-abort', 'none'],
    ['no', 'none'],
  ] as const)('with restart %s the default action is %s', (restart, action) => {
    expect(resolveHealthCheck({ tcp: { port: 1 } }, restart)?.unhealthyAction).toBe(action);
  });

  it('can be no check at all', () => {
    expect(resolveHealthCheck({ disable: true }, 'always')?.probe).toEqual({ type: 'none' });
  });
});

function errors(input: Omit<ServiceSpecInput, 'image'>): string[] {
  const spec = serviceSpec.parse({ image: 'web:1', ...input });
  return validateServiceSpec(spec, ['spec']).map(({ path, message }) => `${path}: ${message}`);
}

describe('what contradicts itself', () => {
  const rows: [HealthCheckInput, RegExp][] = [
    [{ http: { port: 80 }, tcp: { port: 80 } }, /healthCheck.tcp: there is http too/],
    [{ disable: true, tcp: { port: 80 } }, /healthCheck.disable: contradicts tcp/],
    [{ tcp: { port: 80 }, interval: '1ms' }, /healthCheck.interval: too short: at least 100ms/],
    [{ tcp: { port: 80 }, interval: '5' }, /healthCheck.interval: a duration needs a unit/],
    [{ tcp: { port: 80 }, timeout: '0s' }, /healthCheck.timeout: too short/],
    [{ http: { port: 80, path: 'healthz' } }, /healthCheck.http.path: a path begins with "\/"/],
    [{ http: { port: 80, path: '/a b' } }, /healthCheck.http.path/],
    [{ http: { port: 80, path: '/a\r\nX: y' } }, /healthCheck.http.path/],
    [{ exec: { command: [''] } }, /healthCheck.exec.command\[0\]: name a program/],
  ];
  it.each(rows)('%j', (healthCheck, message) => {
    expect(errors({ healthCheck })).toEqual([expect.stringMatching(message)]);
  });

  it('nothing is limited that never starts again', () => {
    expect(errors({ restart: 'no', startLimit: { burst: 3 }, restartSec: '5s' })).toEqual([
      expect.stringMatching(/restartSec: with restart: "no" nothing/),
      expect.stringMatching(/startLimit: with restart: "no" nothing/),
    ]);
  });

  it('is accepted otherwise', () => {
    const healthCheck = { exec: { command: ['true'] }, startPeriod: '0s', retries: 1 };
    const limits = { restartSec: '5s', startLimit: { burst: 5, interval: '1m' } };
    expect(errors({ restart: 'on-failure', healthCheck, ...limits })).toEqual([]);
  });
});

it('a service that says nothing of all this keeps its hash', () => {
  const identity = { namespace: 'default', project: 'shop', service: 'web' };
  const container = resolveContainerSpec(identity, serviceSpec.parse({ image: 'web:1' }), 1);
  expect(Object.keys(container)).not.toContain('healthCheck');
  expect(Object.keys(container)).not.toContain('restartMs');
  expect(Object.keys(container)).not.toContain('startLimit');
});
