import { describe, expect, it } from 'vitest';
import { parseProject, parseService } from './parse.ts';
import type { Project } from './project.ts';
import type { ServiceSpecInput } from './service-spec.ts';

type Spec = Partial<Project['spec']>;

function project(web: Partial<ServiceSpecInput>, spec: Spec = {}, other: object = {}) {
  return {
    apiVersion: 'nap.dev/v1alpha1',
    kind: 'Project',
    metadata: { name: 'shop', namespace: 'default' },
    spec: {
      ...spec,
      services: { web: { image: 'web:1', ...web }, data: { image: 'data:1', ...other } },
    },
  };
}

/** "path: message" of all errors. */
function errors(of: object): string[] {
  const parsed = parseProject(of);
  return parsed.ok
    ? []
    : parsed.errors.filter((e) => e.severity === 'error').map((e) => `${e.path}: ${e.message}`);
}

const conf = { content: 'x', target: '/etc/x' };

describe('volumes and configs of a Project', () => {
  it.each<[string, object]>([
    ['a tmpfs', project({ tmpfs: ['/run:size=64M'] })],
    ['a propagation', project({ volumes: ['/mnt:/mnt:ro,rslave'] })],
    [
      'a volume for each instance',
      project({ volumes: ['data-%i:/d'] }, { volumes: { 'data-%i': {} } }),
    ],
    ['volumes of another', project({ volumesFrom: ['data:ro'] }, {}, { volumes: ['d:/d'] })],
    [
      'a config',
      project({ configs: [{ source: 'a', target: '/a' }] }, { configs: { a: { content: '' } } }),
    ],
    ['a whole Secret', project({ configs: [{ secret: { name: 's' }, target: '/s' }] })],
  ])('may have %s', (_, object) => {
    expect(errors(object)).toEqual([]);
  });

  it.each<[string, object]>([
    ['spec.services.web.tmpfs[0]: /x is taken', project({ volumes: ['a:/x'], tmpfs: ['/x'] })],
    [
      'spec.services.web.configs[0].target: /etc/x is taken',
      project({ volumes: ['a:/etc/x'], configs: [conf] }),
    ],
    [
      'spec.services.web.configs[0].source: there is no config "a"',
      project({ configs: [{ source: 'a', target: '/a' }] }),
    ],
    [
      'spec.services.web.configs[0].source: a config has exactly one',
      project({ configs: [{ target: '/a' }] }),
    ],
    [
      'spec.services.web.configs[0].target: a target is an absolute',
      project({ configs: [{ ...conf, target: '/../x' }] }),
    ],
    [
      'spec.services.web.configs[0].onChange: not a signal',
      project({ configs: [{ ...conf, onChange: { signal: 'NO' } }] }),
    ],
    [
      'spec.services.web.configs[0].onChange: say either',
      project({ configs: [{ ...conf, onChange: {} }] }),
    ],
    ['spec.services.web.envFrom[0]: name either', project({ envFrom: [{}] })],
    [
      'spec.services.web.volumesFrom[0]: each instance of that service',
      project({ volumesFrom: ['data'] }, {}, { volumes: ['d-%i:/d'] }),
    ],
    [
      'spec.services.web.volumesFrom[0]: there is no service "no"',
      project({ volumesFrom: ['no'] }),
    ],
    [
      'spec.services.web.volumesFrom[0]: that service has no volumes',
      project({ volumesFrom: ['data'] }),
    ],
    [
      'spec.services.web.volumesFrom[0]: has its volumes from',
      project({ volumesFrom: ['data'] }, {}, { volumesFrom: ['web'], volumes: ['d:/d'] }),
    ],
    [
      'spec.services.web.volumesFrom[0]: brings instances to the host of data',
      project(
        { volumesFrom: ['data'], placement: { machineOf: 'web' } },
        {},
        { volumes: ['d:/d'] },
      ),
    ],
    [
      'spec.services.web.volumeDefinitions.a: in a Project',
      project({ volumes: ['a:/a'], volumeDefinitions: { a: {} } }),
    ],
    [
      'spec.volumes.a: only an external volume',
      project({ volumes: ['a:/a'] }, { volumes: { a: { name: 'b' } } }),
    ],
    [
      'spec.volumes.a: an external volume is not deleted',
      project(
        { volumes: ['a:/a'] },
        { volumes: { a: { external: true, reclaimPolicy: 'delete' } } },
      ),
    ],
    [
      'spec.volumes.a: an external volume is made by somebody else',
      project({ volumes: ['a:/a'] }, { volumes: { a: { external: true, driver: 'x' } } }),
    ],
    ['spec.configs.a: a config has exactly one', project({}, { configs: { a: {} } })],
  ])('are refused: %s', (message, object) => {
    expect(
      errors(object).some((error) => error.startsWith(message)),
      errors(object).join('\n'),
    ).toBe(true);
  });

  it('warns of a volume that nobody mounts', () => {
    const parsed = parseProject(project({}, { volumes: { a: {} } }));
    expect(parsed.ok && parsed.warnings.map((w) => w.path)).toEqual(['spec.volumes.a']);
  });

  it('are for Projects only where they name other parts of one', () => {
    const service = (spec: object) =>
      parseService({
        apiVersion: 'nap.dev/v1alpha1',
        kind: 'Service',
        metadata: { name: 'web', namespace: 'default' },
        spec: { image: 'web:1', ...spec },
      });
    expect(service({ volumesFrom: ['x'] }).ok).toBe(false);
    expect(service({ configs: [{ source: 'x', target: '/x' }] }).ok).toBe(false);
    expect(service({ configs: [conf] }).ok).toBe(true);
    expect(service({ volumes: ['a:/a'], volumeDefinitions: { a: { driver: 'x' } } }).ok).toBe(true);
  });
});
