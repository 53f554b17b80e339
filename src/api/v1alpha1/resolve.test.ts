import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalJson } from '../json.ts';
import { containerSpec } from './container-spec.ts';
import { guestbook } from './guestbook.fixture.ts';
import { standaloneProject } from './names.ts';
import { projectSpec } from './project.ts';
import { resolveContainerSpec, specHash } from './resolve.ts';
import { serviceSpec, type ServiceSpecInput } from './service-spec.ts';

const identity = { namespace: 'default', project: 'app', service: 'web' };
const resolve = (spec: Partial<ServiceSpecInput>, ordinal = 1) =>
  resolveContainerSpec(identity, serviceSpec.parse({ image: 'a', ...spec }), ordinal);

describe('resolveContainerSpec', () => {
  it('resolves the guestbook', async () => {
    const { services } = projectSpec.parse(guestbook.spec);
    const containers = Object.entries(services).flatMap(([service, spec]) =>
      Array.from({ length: spec.replicas }, (_, i) => {
        const container = resolveContainerSpec(
          { namespace: 'default', project: 'guestbook', service },
          spec,
          i + 1,
        );
        return { hash: specHash(container), container };
      }),
    );
    await expect(`${JSON.stringify(containers, undefined, 2)}\n`).toMatchFileSnapshot(
      '../../../test/golden/guestbook.containers.json',
    );
  });

  it('gives what the record of a placement takes, with nothing undefined in it', () => {
    const container = resolve({});
    expect(containerSpec.parse(container)).toEqual(container);
    expect(JSON.parse(JSON.stringify(container))).toStrictEqual(container);
  });

  it('names a standalone instance after its service alone', () => {
    const alone = { ...identity, project: standaloneProject };
    const container = resolveContainerSpec(
      alone,
      serviceSpec.parse({ image: 'a', volumes: ['d:/d'] }),
      3,
    );
    expect(container.hostname).toBe('web-3');
    expect(container.mounts[0]).toMatchObject({ name: 'default__web_d' });
  });

  it('leaves a hostname that the user has chosen', () => {
    expect(resolve({ hostname: 'db1' }, 7).hostname).toBe('db1');
  });
});

describe('specHash', () => {
  it('does not change with scale or placement', () => {
    const hash = specHash(resolve({}));
    expect(specHash(resolve({ replicas: 50 }))).toBe(hash);
    expect(specHash(resolve({ placement: { strategy: 'binpack', machineID: 'x' } }))).toBe(hash);
    expect(specHash(resolve({ links: ['web:me'] }))).toBe(hash);
  });

  it('does not change with another way of writing the same', () => {
    expect(
      specHash(resolve({ ports: ['80/tcp'], stopGracePeriod: '90s', environment: { A: 1 } })),
    ).toBe(specHash(resolve({ ports: [80], stopGracePeriod: '1m30s', environment: { A: '1' } })));
  });

  it.each<[Partial<ServiceSpecInput>]>([
    [{ image: 'b' }],
    [{ command: [] }],
    [{ environment: { A: '1' } }],
    [{ ports: ['80'] }],
    [{ volumes: ['d:/d'] }],
    [{ labels: { a: 'b' } }],
    [{ user: '1' }],
    [{ restart: 'no' }],
    [{ stopGracePeriod: '11s' }],
    [{ resources: { limits: { pids: 5 } } }],
    [{ resources: { reservations: { memory: '1M' } } }],
  ])('changes with %j', (spec) => {
    expect(specHash(resolve(spec))).not.toBe(specHash(resolve({})));
  });

  it('does not depend on the order of keys, at any depth', () => {
    const shuffled = (value: unknown): unknown =>
      typeof value !== 'object' || value === null
        ? value
        : Array.isArray(value)
          ? value.map(shuffled)
          : Object.fromEntries(
              Object.entries(value)
                .reverse()
                .map(([key, part]) => [key, shuffled(part)]),
            );
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(canonicalJson(shuffled(value))).toBe(canonicalJson(value));
        expect(JSON.stringify(JSON.parse(canonicalJson(value)))).toBe(canonicalJson(value));
      }),
    );
  });
});
