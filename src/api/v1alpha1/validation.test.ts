import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatFieldError } from './field-error.ts';
import { guestbook } from './guestbook.fixture.ts';
import { projectSpec } from './project.ts';
import { resolveContainerSpec } from './resolve.ts';
import { serviceSpec, type ServiceSpecInput } from './service-spec.ts';
import { validateProject, validateService } from './validation.ts';

function problems(services: Record<string, Partial<ServiceSpecInput>>, name = 'app'): string[] {
  const spec = projectSpec.parse({
    services: Object.fromEntries(
      Object.entries(services).map(([key, value]) => [key, { image: 'a', ...value }]),
    ),
  });
  return validateProject({ metadata: { name }, spec }).map(
    (error) => `${error.severity} ${formatFieldError(error)}`,
  );
}

describe('validateProject', () => {
  it('has nothing to say about the guestbook', () => {
    expect(
      validateProject({ metadata: guestbook.metadata, spec: projectSpec.parse(guestbook.spec) }),
    ).toEqual([]);
  });

  it.each<[string, Record<string, Partial<ServiceSpecInput>>, RegExp[]]>([
    [
      'a bad image',
      { web: { image: 'https://x/y' } },
      [/^error spec\.services\.web\.image: "https:\/\/x\/y": not an image/],
    ],
    [
      'fencing with two at a time',
      { web: { fencing: 'stop', update: { order: 'start-first' } } },
      [/update\.order: "start-first": start-first runs two at a time/],
    ],
    [
      'a bad port',
      { web: { ports: ['80', '80:x'] } },
      [/^error spec\.services\.web\.ports\[1\]: "80:x": the container port "x" must be/],
    ],
    [
      'one host port twice in a service',
      { web: { ports: ['80:80', '0.0.0.0:80:81'] } },
      [/ports\[1\]: .*host port is taken by "80:80" of the same service/],
    ],
    [
      'one host port on two addresses',
      { web: { ports: ['127.0.0.1:80:80', '127.0.0.2:80:80'] } },
      [],
    ],
    ['one host port for two protocols', { web: { ports: ['53:53', '53:53/udp'] } }, []],
    [
      'more ports than a host could bear',
      { web: { ports: ['1-1000', '2001-3000'] } },
      [/ports\[1\]: .*makes 2000 ports of this service in all: at most 1000/],
    ],
    ['as many ports as possible', { web: { ports: ['1001-2000:1-1000'] } }, []],
    [
      'one host port in two services',
      { web: { ports: ['80-81:80-81'] }, api: { ports: ['80-81:1-2'] } },
      [
        /^warning spec\.services\.api\.ports\[0\]: .*the service "web" publishes host port 80\/tcp too: their instances never share a host/,
      ],
    ],
    [
      'a link to nothing',
      { web: { links: ['db'] }, cache: {} },
      [/^error .*links\[0\]: "db": there is no service "db" in this project: it has cache, web/],
    ],
    [
      'an alias twice',
      { web: { links: ['a:x', 'b:x'] }, a: {}, b: {} },
      [/^error .*links\[1\]: "b:x": the name "x" is given twice, to a and b: use another alias/],
    ],
    [
      'an alias that hides a service',
      { web: { links: ['a:b'] }, a: {}, b: {} },
      [/^warning .*hides the service "b"/],
    ],
    [
      'a mount target twice',
      { web: { volumes: ['a:/x', '/srv:/x/'] } },
      [/^error .*volumes\[1\]: .*\/x is taken by "a:\/x"/],
    ],
    [
      'a bad duration',
      { web: { stopGracePeriod: '10' } },
      [/stopGracePeriod: "10": a duration needs a unit/],
    ],
    [
      'labels of nap',
      { web: { labels: { 'nap.dev/host': 'x' } } },
      [/labels\[nap\.dev\/host\]: .*take a prefix of your own/],
    ],
    ['a variable with =', { web: { environment: { 'A=b': 'c' } } }, [/without "="/]],
    ['a relative working directory', { web: { workingDir: 'x' } }, [/absolute path/]],
    ['a bad user', { web: { user: 'a b' } }, [/USER:GROUP/]],
    ['a bad hostname', { web: { hostname: '-x' } }, [/a hostname is made of/]],
    ['a bad signal', { web: { stopSignal: 'SIGFOO' } }, [/not a signal/]],
    [
      'a limit below the reservation',
      {
        web: {
          resources: {
            limits: { memory: '64M', cpus: '0.5' },
            reservations: { memory: '128M', cpus: 1 },
          },
        },
      },
      [
        /limits\.cpus: "0.5": less than what is reserved \(1\)/,
        /limits\.memory: "64M": less than what is reserved \(128M\)/,
      ],
    ],
    [
      'limits that the engine refuses',
      { web: { resources: { limits: { memory: '4M', cpus: '0.001' } } } },
      [/no limit below 0.01/, /no limit below 6Mi/],
    ],
    [
      'an amount that cannot be read',
      { web: { resources: { reservations: { memory: '1X' } } } },
      [/reservations\.memory: "1X": not an amount of memory/],
    ],
    ['a name with dots', { 'a.b': {} }, [/spec\.services\[a\.b\].*lower-case letters/]],
    [
      'the name of an instance',
      { web: {}, 'web-2': {} },
      [
        /^error spec\.services\.web-2: "web-2": is also the name of an instance of the service "web"/,
      ],
    ],
    ['a number at the end alone', { 'web-2': {} }, []],
    [
      'a machine without a name',
      { web: { placement: { machineID: ' ' } } },
      [/machineID: " ": name a host/],
    ],
  ])('%s', (_, services, expected) => {
    const found = problems(services);
    expect(found).toHaveLength(expected.length);
    for (const [index, pattern] of expected.entries()) expect(found[index]).toMatch(pattern);
  });

  it('counts the digits of the last ordinal in the length of names', () => {
    const project = 'p'.repeat(30);
    const service = 's'.repeat(30);
    expect(problems({ [service]: { replicas: 9 } }, project)).toEqual([]);
    expect(problems({ [service]: { replicas: 0 } }, project)).toEqual([]);
    expect(problems({ [service]: { replicas: 10 } }, project)).toEqual([
      expect.stringMatching(
        /-10": instances would be called so, which is 64 characters long and may be at most 63/,
      ),
    ]);
  });

  it('refuses a project whose name cannot stand in a host name', () => {
    expect(problems({ web: {} }, 'my.app').join()).toMatch(/metadata\.name: "my\.app"/);
  });
});

describe('hostile input', () => {
  // What takes long ends at the time limit of the test.
  it('is answered: the worst that the CRD lets through', { timeout: 30_000 }, () => {
    const ports = Array.from({ length: 100 }, () => '1-1000:1-1000');
    const services = Object.fromEntries(
      Array.from({ length: 100 }, (_, i) => [`s${String(i)}`, { ports }]),
    );
    const apart = Object.fromEntries(
      Array.from({ length: 100 }, (_, i) => [`s${String(i)}`, { ports: ['1-1000:1-1000'] }]),
    );
    expect(problems(services).length).toBeGreaterThan(0);
    // A pair of services is warned of once.
    expect(problems(apart)).toHaveLength(99);
  });
});

describe('what is valid', () => {
  it('can always be resolved', () => {
    const text = (good: string, parts: string[]) =>
      fc.oneof(
        fc.constant(good),
        fc.array(fc.constantFrom(...parts), { maxLength: 6 }).map((chosen) => chosen.join('')),
      );
    const input = fc.record(
      {
        image: fc.constant('a'),
        ports: fc.array(text('80:80', ['80', ':', '-', '81', '/udp', '127.0.0.1', '0']), {
          maxLength: 2,
        }),
        volumes: fc.array(text('a:/b', ['a', '/', ':', 'ro', '..']), { maxLength: 2 }),
        stopGracePeriod: text('1s', ['1', 's', 'm', '.', '9999999']),
        resources: fc.record({
          limits: fc.record({
            cpus: text('0.5', ['1', '.', 'm', '0']),
            memory: text('8M', ['1', 'M', 'i', 'b', '.', '0']),
          }),
        }),
        replicas: fc.integer({ min: 0, max: 100_000 }),
      },
      { requiredKeys: ['image'] },
    );
    let resolved = 0;
    fc.assert(
      fc.property(input, (value) => {
        // What the schema refuses (a string that is too long) is as well refused as by validation.
        const { data: spec } = serviceSpec.safeParse(value);
        if (spec === undefined) return;
        if (validateService({ metadata: { name: 'web' }, spec }).length > 0) return;
        resolved += 1;
        resolveContainerSpec({ namespace: 'n', project: '_', service: 'web' }, spec, 1);
      }),
      { numRuns: 3000 },
    );
    expect(resolved).toBeGreaterThan(50);
  });
});
