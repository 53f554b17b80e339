import { describe, expect, it } from 'vitest';
import { parseProject } from './parse.ts';

function errorsOf(services: Record<string, object>): string[] {
  const project = {
    kind: 'Project',
    metadata: { name: 'app' },
    spec: {
      services: Object.fromEntries(
        Object.entries(services).map(([name, rest]) => [name, { image: 'a', ...rest }]),
      ),
    },
  };
  const parsed = parseProject(project);
  return parsed.ok
    ? []
    : parsed.errors.filter((e) => e.severity === 'error').map((e) => `${e.path}: ${e.message}`);
}

describe('what contradicts itself is refused with its path', () => {
  it.each<[string, Record<string, object>, string]>([
    [
      'global with replicas',
      { web: { replicas: 2, placement: { global: true } } },
      'spec.services.web.replicas: a global service',
    ],
    [
      'global with machineOf',
      { web: { placement: { global: true, machineOf: 'db' } }, db: {} },
      'spec.services.web.placement.machineOf: has no meaning',
    ],
    [
      'global with maxPerHost',
      { web: { placement: { global: true, maxPerHost: 1 } } },
      'spec.services.web.placement.maxPerHost: has no meaning',
    ],
    [
      'machineOf nothing',
      { web: { placement: { machineOf: 'db' } } },
      'spec.services.web.placement.machineOf: there is no service "db"',
    ],
    [
      'machineOf itself',
      { web: { placement: { machineOf: 'web' } } },
      'spec.services.web.placement.machineOf: a service is always where it is itself',
    ],
    [
      'machineOf what it conflicts with',
      { web: { placement: { machineOf: 'db', conflicts: ['d*'] } }, db: {} },
      'spec.services.web.placement.machineOf: its own placement.conflicts "d*" forbids',
    ],
    [
      'machineOf what conflicts with it',
      { web: { placement: { machineOf: 'db' } }, db: { placement: { conflicts: ['app/w?b'] } } },
      'spec.services.web.placement.machineOf: placement.conflicts "app/w?b" of db forbids',
    ],
    [
      'a ring of machineOf',
      {
        a: { placement: { machineOf: 'b' } },
        b: { placement: { machineOf: 'c' } },
        c: { placement: { machineOf: 'a' } },
      },
      'spec.services.a.placement.machineOf: each waits for the other: a → b → c → a',
    ],
    [
      'a preference for nothing',
      { web: { placement: { preferences: [{ weight: 2 }] } } },
      'spec.services.web.placement.preferences[0]: a preference says either',
    ],
    [
      'a stray percent sign',
      { web: { command: ['date', '+%s'] } },
      'spec.services.web.command[1]: "%s" is no placeholder',
    ],
    [
      'one in the environment',
      { web: { environment: { URL: 'p%40' } } },
      'spec.services.web.environment.URL: "%4" is no placeholder',
    ],
    [
      'a name in a port',
      { web: { ports: ['%H:80'] } },
      'spec.services.web.ports[0]: the only placeholder of a port is %i',
    ],
    [
      'a placeholder in the port of the container',
      { web: { ports: ['80:8%i'] } },
      'spec.services.web.ports[0]: the only placeholder of a port is %i',
    ],
    [
      'a port by number in a global service',
      { web: { ports: ['80%i:80'], placement: { global: true } } },
      'spec.services.web.ports[0]: instances of a global service',
    ],
    [
      'a port that grows too great',
      { web: { replicas: 100, ports: ['80%i:80'] } },
      'spec.services.web.ports[0]: ',
    ],
  ])('%s', (_name, services, message) => {
    expect(errorsOf(services).join('\n')).toContain(message);
  });

  it('takes what can be kept', () => {
    expect(
      errorsOf({
        web: {
          replicas: 3,
          ports: ['80%i:80'],
          volumes: ['data-%i:/data'],
          hostname: 'web-%i',
          placement: {
            conflicts: ['web', 'other/*'],
            maxPerHost: 1,
            preferences: [{ spread: 'zone' }],
          },
        },
        side: { placement: { machineOf: 'web' } },
        logs: {
          placement: { global: true, machineMetadata: { role: 'edge' }, conflicts: ['side'] },
        },
      }),
    ).toEqual([]);
  });
});
