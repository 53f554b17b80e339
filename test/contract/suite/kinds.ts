/* eslint-disable @typescript-eslint/no-unsafe-member-access, @typescript-eslint/no-unsafe-assignment -- answers are looked into as they come off the wire */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { scratchNamespace, type RawClient, type ServerUnderTest } from '../../support/apiserver.ts';
import { project, projectsPath, service, servicesPath } from './fixtures.ts';

const web = (spec: Record<string, unknown>): unknown =>
  project('app', { web: { image: 'a', ...spec } });

/** What nap's kinds take, and with which words they refuse the rest: those that a user of kubectl reads. */
export function kindsSuite(server: () => ServerUnderTest): void {
  describe('nap’s kinds', () => {
    let client: RawClient;
    let ns: Awaited<ReturnType<typeof scratchNamespace>>;
    beforeAll(async () => {
      client = server().client;
      ns = await scratchNamespace(client);
    });
    afterAll(() => ns.drop());

    it.each([
      [
        'every kind of port',
        web({ ports: [80, '6379', '53:53/udp', '127.0.0.1:80:80', '[::1]:80:80', '1-2:3-4'] }),
      ],
      ['links', web({ links: ['web:me', 'web'] })],
      ['volumes', web({ volumes: ['data:/x:ro', '/srv:/x'] })],
      ['numbers for strings', web({ environment: { A: 1, B: '' }, labels: { 'a.com/x': 'y' } })],
      [
        'users, directories, names, signals',
        web({ user: '1000:1000', workingDir: '/', hostname: 'a.b', stopSignal: 'SIGRTMIN+3' }),
      ],
      [
        'resources',
        web({
          resources: {
            limits: { cpus: 2, memory: 1048576 },
            reservations: { cpus: '0.5', memory: '1.5G' },
          },
        }),
      ],
      ['durations', web({ stopGracePeriod: '1m30s', restart: 'no', pullPolicy: 'never' })],
      ['no replicas', web({ replicas: 0 })],
      [
        'names as long as may be',
        project('p'.repeat(30), { ['s'.repeat(30)]: { image: 'a', replicas: 9 } }),
      ],
      ['no services', project('app', {})],
      [
        'as many services as may be',
        project(
          'app',
          Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`s${i}`, { image: 'a' }])),
        ),
      ],
    ])('take %s', async (_what, object) => {
      const answer = await client.post(`${projectsPath(ns.name)}?dryRun=All`, object);
      expect(answer.code, answer.text).toBe(201);
    });

    it.each<[what: string, object: unknown, field: string, message: RegExp]>([
      [
        'no spec',
        { apiVersion: 'nap.dev/v1alpha1', kind: 'Project', metadata: { name: 'app' } },
        'spec',
        /Required value/,
      ],
      ['no image', project('app', { web: {} }), 'spec.services.web.image', /Required value/],
      ['an empty image', web({ image: '' }), 'spec.services.web.image', /at least 1 chars long/],
      [
        'an image with a space',
        web({ image: 'redis 7' }),
        'spec.services[web].image',
        /no spaces: use e.g. redis:7/,
      ],
      ['a port that is none', web({ ports: ['80:x'] }), 'spec.services.web.ports[0]', /"80:x"/],
      ['port 0', web({ ports: [0] }), 'spec.services.web.ports[0]', /greater than or equal to 1$/],
      [
        'a port too high',
        web({ ports: [70_000] }),
        'spec.services.web.ports[0]',
        /less than or equal to 65535/,
      ],
      [
        'a protocol that is none',
        web({ ports: ['80/http'] }),
        'spec.services.web.ports[0]',
        /tcp.udp.sctp/,
      ],
      [
        'a string for a list',
        web({ ports: '80:80' }),
        'spec.services.web.ports',
        /must be of type array/,
      ],
      [
        'a boolean variable',
        web({ environment: { A: true } }),
        'spec.services.web.environment.A',
        /must be of type integer,string/,
      ],
      [
        'a variable with =',
        web({ environment: { 'A=1': '' } }),
        'spec.services[web].environment',
        /write \{NAME: value\}/,
      ],
      [
        'a link to no service',
        web({ links: ['db'] }),
        'spec.services',
        /a link must name a service of this project/,
      ],
      [
        'a link that is none',
        web({ links: ['Web:x'] }),
        'spec.services[web].links[0]',
        /a link is SERVICE or SERVICE:ALIAS/,
      ],
      [
        'a relative path',
        web({ volumes: ['./x:/x'] }),
        'spec.services[web].volumes[0]',
        /NAME:\/TARGET or \/HOST_PATH:\/TARGET/,
      ],
      [
        'a volume without a target',
        web({ volumes: ['/data'] }),
        'spec.services[web].volumes[0]',
        /a volume is NAME:\/TARGET/,
      ],
      [
        'a label of nap',
        web({ labels: { 'nap.dev/x': '' } }),
        'spec.services[web].labels',
        /take a prefix of your own/,
      ],
      [
        'a duration without a unit',
        web({ stopGracePeriod: '10' }),
        'spec.services[web].stopGracePeriod',
        /numbers with units/,
      ],
      [
        'a relative directory',
        web({ workingDir: 'x' }),
        'spec.services[web].workingDir',
        /an absolute path/,
      ],
      [
        'a user with a space',
        web({ user: 'a b' }),
        'spec.services[web].user',
        /USER or USER:GROUP/,
      ],
      [
        'a signal in lower case',
        web({ stopSignal: 'sigterm' }),
        'spec.services[web].stopSignal',
        /a signal is a name or a number/,
      ],
      [
        'a hostname with _',
        web({ hostname: 'a_b' }),
        'spec.services[web].hostname',
        /made of letters, digits/,
      ],
      [
        'an unquoted no',
        web({ restart: false }),
        'spec.services.web.restart',
        /must be of type string: "boolean"/,
      ],
      [
        'too many replicas',
        web({ replicas: 100_001 }),
        'spec.services.web.replicas',
        /less than or equal to 100000/,
      ],
      [
        'half a replica',
        web({ replicas: 1.5 }),
        'spec.services.web.replicas',
        // As Kubernetes up to 1.33 and since then say it.
        /must be of type (integer: "number"|int32: "float64")/,
      ],
      [
        'replicas in words',
        web({ replicas: 'two' }),
        'spec.services.web.replicas',
        /must be of type integer: "string"/,
      ],
      [
        'memory without sense',
        web({ resources: { limits: { memory: '1X' } } }),
        'spec.services.web.resources.limits.memory',
        /"1X"/,
      ],
      [
        'a strategy that is none',
        web({ placement: { strategy: 'best' } }),
        'spec.services.web.placement.strategy',
        /supported values: "spread", "binpack", "random"/,
      ],
      [
        'a service with a dot',
        project('app', { 'a.b': { image: 'a' } }),
        'spec.services',
        /names of services are made of/,
      ],
      ['a project with a dot', project('a.b', {}), '<nil>', /no "\."/],
      [
        'names too long',
        project('p'.repeat(30), { ['s'.repeat(30)]: { image: 'a', replicas: 10 } }),
        '<nil>',
        /at most 63 characters: shorten the name/,
      ],
      [
        'too many services',
        project(
          'app',
          Object.fromEntries(Array.from({ length: 101 }, (_, i) => [`s${i}`, { image: 'a' }])),
        ),
        'spec.services',
        /must have at most 100 items/,
      ],
    ])('refuse %s', async (_what, object, field, message) => {
      const answer = await client.post(`${projectsPath(ns.name)}?dryRun=All`, object);
      expect(answer.code, answer.text).toBe(422);
      const causes: { field?: string; message: string }[] = answer.body.details.causes;
      expect(causes).toContainEqual(
        expect.objectContaining({ field, message: expect.stringMatching(message) as string }),
      );
      expect(answer.body.message).toMatch(message);
    });

    it('refuse a value of the wrong type once', async () => {
      const answer = await client.post(projectsPath(ns.name), web({ replicas: 1.5 }));
      const causes: { field: string }[] = answer.body.details.causes;
      expect(causes.filter(({ field }) => field === 'spec.services.web.replicas')).toHaveLength(1);
    });

    it('refuse a Service whose instances would have too long a name', async () => {
      const path = `${servicesPath(ns.name)}?dryRun=All`;
      const long = (length: number): unknown => service('s'.repeat(length), { replicas: 100 });
      expect((await client.post(path, long(59))).code).toBe(201);
      const refused = await client.post(path, long(60));
      expect(refused.code).toBe(422);
      expect(refused.body.message).toContain('may have at most 63 characters');
    });
  });
}
