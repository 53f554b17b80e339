import { describe, expect, it } from 'vitest';
import { findCondition } from '../../../src/kube/conditions.ts';
import { projects, services } from '../../../src/kube/resources.ts';
import { instanceRecords, serviceRecords } from '../../../src/registry/records/index.ts';
import { eventually } from '../../support/eventually.ts';
import { cluster } from './harness.ts';

const kinds = ['fake', 'embedded'] as const;

const guestbook = {
  services: {
    web: { image: 'guestbook:3', replicas: 3, ports: ['80'], links: ['redis:db'] },
    redis: { image: 'redis:7', ports: ['6379'] },
  },
};

describe.each(kinds)('a project (%s API server)', (kind) => {
  it('becomes services, placements spread over hosts, and a Ready status', async () => {
    const c = await cluster(kind);
    await c.agents('a', 'b', 'c');
    c.operator();
    await c.apply('guestbook', guestbook);
    const project = await c.ready('guestbook');
    expect(project.status).toMatchObject({ state: 'Running', services: '2/2', instances: '4/4' });
    const web = await c.placements('web');
    expect(web.map((p) => p.host).sort()).toEqual(['a', 'b', 'c']);
    expect(web.map((p) => p.record.container.hostname)).toEqual([
      'guestbook-web-1',
      'guestbook-web-2',
      'guestbook-web-3',
    ]);
    const service = await c.service('guestbook-web');
    expect(service?.status).toMatchObject({
      readyReplicas: 3,
      updatedReplicas: 3,
      replicas: 3,
      readyInstances: '3/3',
    });
    expect(service?.status?.instances?.[0]).toMatchObject({
      name: 'guestbook-web-1',
      phase: 'Running',
      ready: true,
    });
    const record = await c.store.get(
      serviceRecords.path({ namespace: 'default', project: 'guestbook', service: 'web' }),
    );
    expect(serviceRecords.decode(record!.value)).toMatchObject({
      ports: [{ port: 80, protocol: 'tcp' }],
      links: [{ service: 'redis', alias: 'db' }],
    });
  });

  it('is deleted only when nothing of it is left on any host', async () => {
    const c = await cluster(kind);
    const [a] = await c.agents('a', 'b');
    c.operator();
    await c.apply('guestbook', guestbook);
    await c.ready('guestbook');
    // One that takes long to stop, as its host says.
    const key = instanceRecords.path({
      ...{ host: 'b', namespace: 'default', project: 'guestbook', service: 'web', ordinal: '9' },
    });
    const value = instanceRecords.encode({
      ...{ id: 'slow', specHash: '1', phase: 'Stopping', ready: false, restarts: 0 },
    });
    await c.store.commit([], [{ type: 'put', key, value }]);
    await c.client.delete(projects, { namespace: 'default', name: 'guestbook' });
    await eventually('all others are gone', async () => {
      const { entries } = await c.store.list(instanceRecords.prefix);
      return entries.length === 1 && (await c.placements()).length === 0;
    });
    const since = performance.now();
    await eventually('a while later', () => performance.now() - since > 500);
    expect((await c.service('guestbook-web'))?.metadata.deletionTimestamp).toBeDefined();
    expect((await c.project('guestbook'))?.metadata.deletionTimestamp).toBeDefined();
    await c.store.commit([], [{ type: 'delete', key }]);
    await eventually(
      'the project is gone',
      async () => (await c.project('guestbook')) === undefined,
    );
    expect(await c.placements()).toEqual([]);
    expect(a!.running).toEqual([]);
    expect((await c.store.list('/nap/v1/instances/')).entries).toEqual([]);
    expect((await c.store.list(serviceRecords.prefix)).entries).toEqual([]);
    expect((await c.client.list(services)).items).toEqual([]);
  });

  it('loses the services that leave its spec', async () => {
    const c = await cluster(kind);
    await c.agents('a');
    c.operator();
    await c.apply('guestbook', guestbook);
    await c.ready('guestbook');
    await c.apply('guestbook', { services: { redis: { image: 'redis:7', ports: ['6379'] } } });
    await eventually('web is gone', async () => (await c.service('guestbook-web')) === undefined);
    expect(await c.placements('web')).toEqual([]);
    expect((await c.ready('guestbook')).status).toMatchObject({ services: '1/1' });
  });

  it('says that a name is taken, makes the rest, and goes on when the name is free', async () => {
    const c = await cluster(kind);
    await c.agents('a');
    c.operator();
    await c.client.create(services, {
      metadata: { namespace: 'default', name: 'guestbook-web' },
      spec: { image: 'other:1' },
    });
    await c.apply('guestbook', guestbook);
    const stalled = await eventually('it says so', async () => {
      const project = await c.project('guestbook');
      return findCondition(project?.status?.conditions, 'Stalled')?.status === 'True'
        ? project
        : undefined;
    });
    expect(findCondition(stalled.status?.conditions, 'Stalled')).toMatchObject({
      reason: 'NameTaken',
      message: expect.stringContaining('guestbook-web exists already') as string,
    });
    await c.ordinals('redis', [1]);
    await c.client.delete(services, { namespace: 'default', name: 'guestbook-web' });
    await c.ready('guestbook');
  });

  it('with a spec that cannot be acted upon says where, and leaves alone what runs', async () => {
    const c = await cluster(kind);
    await c.agents('a');
    c.operator();
    await c.apply('guestbook', guestbook);
    await c.ready('guestbook');
    const before = await c.placements();
    await c.apply('guestbook', {
      services: { ...guestbook.services, web: { image: 'x', ports: ['8080:80', '8080:81'] } },
    });
    const stalled = await eventually('it says so', async () => {
      const condition = findCondition(
        (await c.project('guestbook'))?.status?.conditions,
        'Stalled',
      );
      return condition?.status === 'True' ? condition : undefined;
    });
    expect(stalled.reason).toBe('InvalidSpec');
    expect(stalled.message).toContain('spec.services.web.ports[1]');
    expect(await c.placements()).toEqual(before);
  });
});

describe.each(kinds)('scaling (%s API server)', (kind) => {
  it('follows kubectl scale until the project itself says another number', async () => {
    const c = await cluster(kind);
    await c.agents('a', 'b');
    c.operator();
    await c.apply('guestbook', guestbook);
    await c.ready('guestbook');
    await c.scale('guestbook-web', 5);
    await c.ordinals('web', [1, 2, 3, 4, 5]);
    // The project changes otherwise: the scaling stands.
    await c.apply('guestbook', {
      services: { ...guestbook.services, redis: { image: 'redis:8', ports: ['6379'] } },
    });
    await eventually('redis is updated', async () =>
      (await c.placements('redis')).some((p) => p.record.container.image === 'redis:8'),
    );
    expect((await c.ready('guestbook')).status?.instances).toBe('6/6');
    expect((await c.service('guestbook-web'))?.spec.replicas).toBe(5);
    // The project says another number: it wins.
    await c.apply('guestbook', {
      services: { ...guestbook.services, web: { ...guestbook.services.web, replicas: 2 } },
    });
    await c.ordinals('web', [1, 2]);
  });

  it('removes the highest ordinals and restarts nothing else', async () => {
    const c = await cluster(kind);
    await c.agents('a', 'b', 'c');
    c.operator();
    await c.apply('guestbook', guestbook);
    await c.ready('guestbook');
    const before = await c.placements('web');
    await c.scale('guestbook-web', 1);
    await c.ordinals('web', [1]);
    await c.scale('guestbook-web', 2);
    await c.ordinals('web', [1, 2]);
    expect((await c.placements('web'))[0]?.record).toEqual(before[0]?.record);
  });
});

describe.each(kinds)('an update (%s API server)', (kind) => {
  it('replaces instances one by one, and never has more than one of them down', async () => {
    const c = await cluster(kind);
    const agents = await c.agents('a', 'b', 'c');
    c.operator();
    await c.apply('guestbook', guestbook);
    await c.ready('guestbook');
    const fewest = await c.serving('guestbook', 'web');
    // Each new instance takes a while to become ready.
    for (const agent of agents) {
      let first = true;
      await agent.behave((placement) => {
        if (placement.container.image !== 'guestbook:4' || !first) return {};
        first = false;
        setTimeout(() => void agent.behave(undefined), 100);
        return { phase: 'Starting', ready: false };
      });
    }
    await c.apply('guestbook', {
      services: { ...guestbook.services, web: { ...guestbook.services.web, image: 'guestbook:4' } },
    });
    await eventually('all are updated', async () =>
      (await c.placements('web')).every((p) => p.record.container.image === 'guestbook:4'),
    );
    await c.ready('guestbook');
    expect(await fewest()).toBe(2);
  });

  it('stops at the first instance that fails, says why, and recovers with a third spec', async () => {
    const c = await cluster(kind);
    const agents = await c.agents('a', 'b', 'c');
    c.operator();
    await c.apply('guestbook', guestbook);
    await c.ready('guestbook');
    for (const agent of agents) {
      await agent.behave((placement) =>
        placement.container.image === 'guestbook:bad'
          ? { phase: 'Failed', ready: false, reason: 'ImagePullFailed', message: 'no such image' }
          : {},
      );
    }
    const web = (image: string) => ({
      services: { ...guestbook.services, web: { ...guestbook.services.web, image } },
    });
    await c.apply('guestbook', web('guestbook:bad'));
    const stalled = await eventually('it says so', async () => {
      const condition = findCondition(
        (await c.project('guestbook'))?.status?.conditions,
        'Stalled',
      );
      return condition?.status === 'True' ? condition : undefined;
    });
    expect(stalled.message).toContain('ImagePullFailed: no such image');
    const bad = (await c.placements('web')).filter(
      (p) => p.record.container.image === 'guestbook:bad',
    );
    expect(bad).toHaveLength(1);
    await c.apply('guestbook', web('guestbook:5'));
    await c.ready('guestbook');
    expect(
      (await c.placements('web')).every((p) => p.record.container.image === 'guestbook:5'),
    ).toBe(true);
  });

  it('of what is no part of a container restarts nothing', async () => {
    const c = await cluster(kind);
    await c.agents('a', 'b', 'c');
    c.operator();
    await c.apply('guestbook', guestbook);
    await c.ready('guestbook');
    const before = await c.placements();
    await c.apply('guestbook', {
      services: {
        ...guestbook.services,
        web: { ...guestbook.services.web, placement: { strategy: 'binpack' } },
      },
    });
    await eventually('the change is seen', async () => {
      const service = await c.service('guestbook-web');
      return (
        service?.spec.placement?.strategy === 'binpack' &&
        service.status?.observedGeneration === service.metadata.generation
      );
    });
    expect(await c.placements()).toEqual(before);
  });
});
