import { describe, expect, test } from 'vitest';
import {
  box,
  cleansUp,
  conditions,
  containers,
  eventually,
  expectExactly,
  idsByInstance,
  instances,
  kubectl,
  otherToolsImage,
  project,
  settles,
  toolsImage,
} from './harness.ts';
import type { KubeObject } from '../support/kubectl.ts';

interface ProjectObject {
  readonly spec: { readonly services: Readonly<Record<string, { readonly image?: string }>> };
  readonly status?: {
    readonly state?: string;
    readonly revision?: number;
    readonly revisions?: readonly { readonly number: number; readonly state: string }[];
  };
}

const get = (name: string): Promise<ProjectObject> => kubectl.get<ProjectObject>(`project/${name}`);

/** The project with fields beside its services. */
function withSpec(object: KubeObject, more: object): KubeObject {
  const { spec } = object as KubeObject & { readonly spec: object };
  const changed: KubeObject & { readonly spec: object } = {
    ...object,
    metadata: object.metadata,
    spec: { ...spec, ...more },
  };
  return changed;
}

async function runs(name: string, service: string, image: string, count: number): Promise<void> {
  await settles(
    `${String(count)} of ${service} run ${image}`,
    async () => {
      const list = await containers(name, { service });
      expect(list.filter((c) => c.running)).toHaveLength(count);
      expect(list.every((c) => c.image === image)).toBe(true);
    },
    120_000,
  );
}

describe('updates', () => {
  cleansUp('release', 'order');
  const update = { monitor: '1s', order: 'start-first', failureAction: 'rollback' };
  const app = (image: string, more: object = {}): KubeObject =>
    project('release', {
      web: { image, replicas: 3, update, ...more },
      api: { image, update: { monitor: '1s' } },
    });

  test('start-first: every ordinal has an instance that serves throughout', async () => {
    await kubectl.apply(app(toolsImage));
    await kubectl.wait('project/release');
    await eventually('the first revision is known good', async () =>
      (await get('release')).status?.revisions?.some(({ state }) => state === 'Ready'),
    );
    const watch = kubectl.follow('get', 'projects', 'release', '-w');
    await kubectl.apply(app(otherToolsImage));
    let fewest = Infinity;
    await eventually(
      'all run the new image',
      async () => {
        const list = await containers('release', { service: 'web' });
        fewest = Math.min(
          fewest,
          new Set(list.filter((c) => c.running).map((c) => c.ordinal)).size,
        );
        return list.length === 3 && list.every((c) => c.image === otherToolsImage);
      },
      120_000,
    );
    expect(fewest).toBe(3);
    await kubectl.wait('project/release');
    expect((await watch.stop()).some((line) => /Updating \d\/4/.test(line))).toBe(true);
    await expectExactly('release', { web: 3, api: 1 });
  });

  test('replicas, placement and policy restart nothing', async () => {
    const before = idsByInstance(await containers('release'));
    await kubectl.apply(
      app(otherToolsImage, {
        replicas: 4,
        placement: { strategy: 'random' },
        update: { ...update, parallelism: 2 },
      }),
    );
    await settles('there are four', () => expectExactly('release', { web: 4, api: 1 }), 60_000);
    expect(idsByInstance(await containers('release'))).toMatchObject(before);
  });

  test('a failing update takes the whole project back, and rollbackTo goes where it is told', async () => {
    await kubectl.wait('project/release');
    const good = (await get('release')).status?.revision;
    await eventually('it is known good', async () =>
      (await get('release')).status?.revisions?.some(
        ({ number, state }) => number === good && state === 'Ready',
      ),
    );
    await kubectl.apply(app(toolsImage, { command: ['sh', '-c', 'exit 3'] }));
    await eventually(
      'it is rolled back',
      async () => (await get('release')).status?.state === 'RolledBack',
      180_000,
    );
    expect((await get('release')).status?.revision).toBe(good);
    expect((await conditions('project/release'))['Stalled']?.message).toContain('failed: web');
    await runs('release', 'web', otherToolsImage, 3);
    await runs('release', 'api', otherToolsImage, 1);
    await kubectl.apply(withSpec(app(toolsImage), { rollbackTo: 1 }));
    await runs('release', 'web', toolsImage, 3);
    await runs('release', 'api', toolsImage, 1);
  });

  test('a service waits until what it depends on has completed, on whatever host', async () => {
    const migrate = ['sh', '-c', 'while [ ! -e /tmp/go ]; do sleep 0.2; done'];
    await kubectl.apply(
      project('order', {
        web: { dependsOn: { migrate: { condition: 'completed' } } },
        migrate: { command: migrate, restart: 'no' },
      }),
    );
    await eventually('web waits', async () => {
      const [web] = await instances('order-web');
      return web?.reason === 'WaitingFor' && web.message === 'migrate to be completed';
    });
    const [job] = await eventually('migrate runs', async () => {
      const list = await containers('order', { service: 'migrate' });
      return list.some((c) => c.running) ? list : undefined;
    });
    expect(await containers('order', { service: 'web' })).toEqual([]);
    await box.docker(job!.host, 'exec', job!.id, 'touch', '/tmp/go');
    await runs('order', 'web', toolsImage, 1);
  });

  test('a circle is refused with its name', async () => {
    await kubectl.apply(
      project('order', {
        web: { dependsOn: { api: {} } },
        api: { dependsOn: { web: {} } },
      }),
    );
    await settles('it says so', async () => {
      const { Stalled } = await conditions('project/order');
      // Kubernetes itself keeps no order of fields.
      expect(Stalled?.message).toMatch(/web → api → web|api → web → api/);
    });
  });
});
