import { describe, expect, it } from 'vitest';
import { formatFieldError } from './field-error.ts';
import { guestbook } from './guestbook.fixture.ts';
import { parseProject, parseService } from './parse.ts';

function errorsOf(object: unknown): string[] {
  const parsed = parseProject(object);
  return parsed.ok ? [] : parsed.errors.map(formatFieldError);
}

const withWeb = (web: unknown) => ({
  kind: 'Project',
  metadata: { name: 'app' },
  spec: { services: { web } },
});

describe('parseProject', () => {
  it('fills in the defaults and keeps what it does not know of the object', () => {
    const parsed = parseProject({ ...guestbook, status: { state: 'Running' } });
    if (!parsed.ok) throw new Error(parsed.errors.map(formatFieldError).join());
    expect(parsed.warnings).toEqual([]);
    expect(parsed.value.spec.services['redis-master']).toEqual({
      image: 'redis:7',
      ports: ['6379'],
      volumes: ['data:/data'],
      replicas: 1,
      pullPolicy: 'missing',
      stopGracePeriod: '10s',
    });
    expect(parsed.value.status).toEqual({ state: 'Running' });
    expect(parsed.value.metadata.namespace).toBe('default');
  });

  it.each<[string, unknown, RegExp]>([
    ['no object', undefined, /^: must be an object/],
    ['no spec', { kind: 'Project', metadata: { name: 'a' } }, /^spec: must be an object/],
    ['another kind', { ...guestbook, kind: 'Service' }, /^kind: "Service": must be "Project"/],
    ['no image', withWeb({}), /^spec\.services\.web\.image: must be a string/],
    ['a number for an image', withWeb({ image: 3 }), /image: 3: must be a string/],
    ['too many', withWeb({ image: 'a', replicas: 1e6 }), /replicas: 1000000: .*100000/],
    ['half a replica', withWeb({ image: 'a', replicas: 0.5 }), /replicas: 0.5: must be an integer/],
    [
      'restart: no',
      withWeb({ image: 'a', restart: false }),
      /restart: false: must be "always" or "no"/,
    ],
    [
      'a boolean variable',
      withWeb({ image: 'a', environment: { A: true } }),
      /environment\.A: true: must be an integer or a string; .*quotes/,
    ],
    [
      'a fraction',
      withWeb({ image: 'a', resources: { limits: { cpus: 0.5 } } }),
      /limits\.cpus: 0.5: must be an integer or a string/,
    ],
    [
      'a strategy of its own',
      withWeb({ image: 'a', placement: { strategy: 'best' } }),
      /"best": must be "spread" or "binpack" or "random"/,
    ],
  ])('says where and what for %s', (_, object, message) => {
    expect(errorsOf(object).join('\n')).toMatch(message);
  });

  it('finds what the schema cannot say', () => {
    expect(errorsOf(withWeb({ image: 'a', links: ['db'] }))).toEqual([
      'spec.services.web.links[0]: "db": there is no service "db" in this project: it has web',
    ]);
  });
});

describe('parseService', () => {
  it('does not ask whom links name: a Service alone cannot tell', () => {
    const parsed = parseService({
      kind: 'Service',
      metadata: { name: 'web' },
      spec: { image: 'a', links: ['db'] },
    });
    expect(parsed.ok).toBe(true);
  });
});
