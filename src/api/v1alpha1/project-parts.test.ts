import { describe, expect, it } from 'vitest';
import { withProjectParts } from './project-parts.ts';
import { resolveContainerSpec, specHash } from './resolve.ts';
import { serviceSpec } from './service-spec.ts';

const identity = { namespace: 'default', project: 'shop', service: 'web' };

describe('what a service takes from its Project', () => {
  it('is nothing for one that names nothing: the very same spec', () => {
    const web = { image: 'web:1', volumes: ['a:/a'] };
    expect(withProjectParts({ services: { web } }, web)).toBe(web);
  });

  it('is definitions of the volumes that it mounts, and contents of the configs that it names', () => {
    const web = {
      image: 'web:1',
      volumes: ['a:/a'],
      configs: [
        { source: 'c', target: '/c' },
        { content: 'own', target: '/own' },
      ],
    };
    const project = {
      services: { web },
      volumes: { a: { driver: 'x', reclaimPolicy: 'delete' as const }, b: {} },
      configs: { c: { secret: { name: 's', key: 'k' } } },
    };
    expect(withProjectParts(project, web)).toEqual({
      image: 'web:1',
      volumes: ['a:/a'],
      volumeDefinitions: { a: { driver: 'x', reclaimPolicy: 'delete' } },
      configs: [
        { secret: { name: 's', key: 'k' }, target: '/c' },
        { content: 'own', target: '/own' },
      ],
    });
  });

  it('is volumes of another service at places of its own, and the host of that', () => {
    const data = {
      image: 'data:1',
      volumes: ['d:/d', '/srv:/srv:rslave', 'x:/own'],
      tmpfs: ['/t'],
    };
    const web = { image: 'web:1', volumes: ['mine:/own'], volumesFrom: ['data:ro'] };
    expect(withProjectParts({ services: { data, web } }, web)).toEqual({
      image: 'web:1',
      volumes: ['mine:/own', 'd:/d:ro', '/srv:/srv:ro,rslave'],
      placement: { machineOf: 'data' },
    });
  });
});

describe('the hash of a container', () => {
  it('does not depend on how volumes are made or reclaimed', () => {
    const hash = (spec: object) =>
      specHash(
        resolveContainerSpec(
          identity,
          serviceSpec.parse({ image: 'i', volumes: ['a:/a'], ...spec }),
          1,
        ),
      );
    expect(hash({})).toBe(
      hash({ volumeDefinitions: { a: { driver: 'x', reclaimPolicy: 'delete' } } }),
    );
    expect(hash({})).not.toBe(hash({ tmpfs: ['/t'] }));
  });
});
