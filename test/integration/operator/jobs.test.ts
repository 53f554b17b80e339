import { describe, expect, it } from 'vitest';
import type { ProjectSpecInput } from '../../../src/api/v1alpha1/project.ts';
import type { Service } from '../../../src/api/v1alpha1/service.ts';
import { findCondition, isTrue } from '../../../src/kube/conditions.ts';
import { projects, services } from '../../../src/kube/resources.ts';
import { runRecords, type PlacementRecord } from '../../../src/registry/records/index.ts';
import { eventually } from '../../support/eventually.ts';
import { cluster, type Cluster } from './harness.ts';

const done = () => ({
  phase: 'Exited' as const,
  ready: false,
  exitCode: 0,
  reason: 'Completed',
  message: 'exited with code 0 after 0.2 s',
});
const broken = () => ({
  phase: 'Exited' as const,
  ready: false,
  exitCode: 3,
  reason: 'Error',
  message: 'exited with code 3 after 0.2 s',
});

async function serviceWhere(
  c: Cluster,
  name: string,
  holds: (service: Service) => boolean,
): Promise<Service> {
  return eventually(`${name} is as expected`, async () => {
    const service = await c.service(name);
    const current = service?.status?.observedGeneration === service?.metadata.generation;
    return service !== undefined && current && holds(service) ? service : undefined;
  });
}

const condition = (service: Service, type: string) =>
  findCondition(service.status?.conditions, type);

const jobs = { machineMetadata: { role: 'jobs' } };
const oneshot = { type: 'oneshot' as const, placement: jobs };

describe('oneshot services', () => {
  it('run once: neither another operator nor the loss of the host runs them again, a change does', async () => {
    const c = await cluster();
    const first = c.operator();
    const a = await c.agent('a', { metadata: { role: 'jobs' }, behave: done });
    const web = await c.agent('w');
    const spec = (image: string) => ({
      services: {
        migrate: { ...oneshot, image },
        web: {
          image: 'web:1',
          dependsOn: { migrate: { condition: 'completed' as const } },
          placement: { machineID: 'w' },
        },
      },
    });
    await c.apply('shop', spec('migrate:1'));
    await c.ready('shop');
    const complete = await serviceWhere(c, 'shop-migrate', (s) =>
      isTrue(s.status?.conditions, 'Complete'),
    );
    expect(complete.status).toMatchObject({
      state: 'Completed',
      completions: '1/1',
      succeeded: 1,
      failed: 0,
      active: 0,
      readyInstances: '0/0',
    });
    expect(condition(complete, 'Ready')?.status).toBe('True');
    expect(a.started).toHaveLength(1);
    await eventually('the end is noted on the placement', async () => {
      const [p] = await c.placements('migrate');
      return p?.record.finished === true;
    });

    const b = await c.agent('b', { metadata: { role: 'jobs' }, behave: done });
    await a.die();
    await eventually(
      'nothing stands for it on the lost host',
      async () => (await c.placements('migrate')).length === 0,
    );
    await first.stop();
    const second = c.operator();
    await eventually('the next operator decides', () => second.state.deciding);
    // What needs it is healed, though nothing of it is to be seen any more.
    const before = web.started.length;
    await c.scale('shop-web', 2);
    await eventually('web goes on', () => web.started.length === before + 1);
    await serviceWhere(c, 'shop-migrate', (s) => s.status?.instances?.length === 0);
    expect((await c.service('shop-migrate'))?.status).toMatchObject({
      state: 'Completed',
      completions: '1/1',
    });
    expect(b.started).toEqual([]);

    await c.apply('shop', spec('migrate:2'));
    await eventually('the changed one runs', () => b.started.length === 1);
    await c.ready('shop');
    expect(b.started).toHaveLength(1);
    expect(web.started).toHaveLength(before + 1);
  });

  it('run elsewhere when their host is lost before the end', async () => {
    const c = await cluster();
    c.operator();
    const a = await c.agent('a', { behave: () => ({ phase: 'Running', ready: true }) });
    await c.apply('shop', { services: { migrate: { image: 'm', type: 'oneshot' } } });
    const running = await serviceWhere(c, 'shop-migrate', (s) => s.status?.active === 1);
    expect(condition(running, 'Ready')?.status).toBe('False');
    const b = await c.agent('b', { behave: done });
    await a.die();
    await serviceWhere(c, 'shop-migrate', (s) => isTrue(s.status?.conditions, 'Complete'));
    expect(b.started).toHaveLength(1);
  });

  it('stay failed, wherever their host has gone, until they are changed', async () => {
    const c = await cluster();
    c.operator();
    const a = await c.agent('a', { behave: broken });
    await c.apply('shop', { services: { migrate: { image: 'm:1', type: 'oneshot' } } });
    const failed = await serviceWhere(c, 'shop-migrate', (s) =>
      isTrue(s.status?.conditions, 'Failed'),
    );
    expect(failed.status).toMatchObject({ state: 'Failed', failed: 1, completions: '0/1' });
    expect(condition(failed, 'Stalled')).toMatchObject({ status: 'True', reason: 'Error' });
    expect(condition(failed, 'Failed')?.message).toContain('exited with code 3');
    const b = await c.agent('b', { behave: done });
    await a.die();
    await eventually('it is gone', async () => (await c.placements('migrate')).length === 0);
    expect(b.started).toEqual([]);
    await c.apply('shop', { services: { migrate: { image: 'm:2', type: 'oneshot' } } });
    await c.ready('shop');
    expect(b.started).toHaveLength(1);
  });

  it('count as ready with remainAfterExit', async () => {
    const c = await cluster();
    c.operator();
    await c.agent('a', {
      behave: ({ container }) => (container.oneshot === true ? done() : {}),
    });
    await c.apply('shop', {
      services: {
        setup: { image: 's', type: 'oneshot', remainAfterExit: true },
        web: { image: 'w', dependsOn: { setup: { condition: 'healthy' } }, bindsTo: ['setup'] },
      },
    });
    const project = await c.ready('shop');
    expect(project.status).toMatchObject({ instances: '2/2', services: '2/2' });
    const setup = await c.service('shop-setup');
    expect(setup?.status).toMatchObject({
      state: 'Active',
      readyReplicas: 1,
      readyInstances: '1/1',
    });
  });

  it('are forgotten with their Service: a new one of the same name runs anew', async () => {
    const c = await cluster();
    c.operator();
    const a = await c.agent('a', { behave: done });
    const spec = { services: { migrate: { image: 'm', type: 'oneshot' as const } } };
    await c.apply('shop', spec);
    await c.ready('shop');
    const records = async () => (await c.store.list(runRecords.prefix)).entries;
    expect(await records()).toHaveLength(1);
    await c.client.delete(projects, { namespace: 'default', name: 'shop' });
    await eventually('it is gone', async () => (await c.project('shop')) === undefined);
    await eventually('its run is forgotten', async () => (await records()).length === 0);
    await c.apply('shop', spec);
    await c.ready('shop');
    expect(a.started).toHaveLength(2);
  });
});

describe('jobs', () => {
  it('bring all to success, so many at a time, and try again what failed', async () => {
    const c = await cluster();
    c.operator();
    const tries = new Map<string, Set<string>>();
    const open = new Set<string>();
    let release = false;
    let most = 0;
    const agents = await c.agents('a', 'b');
    const behave = (p: PlacementRecord, { ordinal }: { readonly ordinal: string }) => {
      const ids = tries.get(ordinal) ?? new Set<string>();
      tries.set(ordinal, ids.add(p.id));
      // A further try takes the place of the one before.
      for (const id of ids) open.delete(id);
      if (p.finished !== true) open.add(p.id);
      most = Math.max(most, open.size);
      if (!release) return { phase: 'Running' as const, ready: true };
      return ordinal === '2' && ids.size === 1 ? broken() : done();
    };
    for (const agent of agents) await agent.behave(behave);
    await c.apply('shop', {
      services: {
        work: {
          image: 'work',
          type: 'oneshot',
          replicas: 4,
          restartSec: '50ms',
          job: { parallelism: 2 },
          resources: { reservations: { memory: '5G' } },
        },
      },
    });
    const half = await serviceWhere(c, 'shop-work', (s) => s.status?.active === 2);
    expect(half.status).toMatchObject({ completions: '0/4', succeeded: 0 });
    expect(new Set((await c.placements('work')).map((p) => p.ordinal))).toEqual(new Set([1, 2]));
    release = true;
    for (const agent of agents) await agent.behave(behave);
    // Each host has room for one at a time only: what has ended takes none.
    const complete = await serviceWhere(c, 'shop-work', (s) =>
      isTrue(s.status?.conditions, 'Complete'),
    );
    expect(complete.status).toMatchObject({
      completions: '4/4',
      succeeded: 4,
      failed: 1,
      active: 0,
    });
    expect([...tries].map(([ordinal, ids]) => [ordinal, ids.size]).toSorted()).toEqual([
      ['1', 1],
      ['2', 2],
      ['3', 1],
      ['4', 1],
    ]);
    expect(most).toBe(2);
  });

  it('fail with one failure more than backoffLimit, and stop the rest', async () => {
    const c = await cluster();
    c.operator();
    const [a] = await c.agents('a');
    await a!.behave((_p, { ordinal }) =>
      ordinal === '1' ? broken() : { phase: 'Running', ready: true },
    );
    await c.apply('shop', {
      services: {
        work: {
          image: 'work',
          type: 'oneshot',
          replicas: 3,
          restartSec: '10ms',
          job: { backoffLimit: 2 },
        },
      },
    });
    const failed = await serviceWhere(
      c,
      'shop-work',
      (s) => isTrue(s.status?.conditions, 'Failed') && s.status?.active === 0,
    );
    expect(condition(failed, 'Failed')?.reason).toBe('BackoffLimitExceeded');
    expect(condition(failed, 'Stalled')?.status).toBe('True');
    expect(failed.status?.failed).toBe(3);
    expect((await c.placements('work')).map((p) => p.ordinal)).toEqual([1]);
    const project = await c.project('shop');
    expect(findCondition(project?.status?.conditions, 'Ready')?.status).toBe('False');
  });

  it('fail when they are not done in time', async () => {
    const c = await cluster();
    c.operator();
    const [a] = await c.agents('a');
    await a!.behave(() => ({ phase: 'Running', ready: true }));
    await c.apply('shop', {
      services: { work: { image: 'work', type: 'oneshot', job: { deadline: '300ms' } } },
    });
    const failed = await serviceWhere(c, 'shop-work', (s) =>
      isTrue(s.status?.conditions, 'Failed'),
    );
    expect(condition(failed, 'Failed')?.reason).toBe('DeadlineExceeded');
    await eventually('it is stopped', () => a!.running.length === 0);
  });
});

describe('scheduled services', () => {
  const runsOf = async (c: Cluster): Promise<Service[]> => {
    const list = await c.client.list(services, { namespace: 'default' });
    return list.items.filter((s) => s.metadata.labels?.['nap.dev/schedule'] === 'backup');
  };

  it('run at their times, each of them once, whoever leads; keep some runs; and go with them', async () => {
    const c = await cluster('embedded');
    const first = c.operator();
    const a = await c.agent('a', { behave: done });
    await c.apply('shop', {
      services: {
        backup: {
          image: 'backup',
          type: 'oneshot',
          schedule: { cron: '* * * * * *', successfulRuns: 2 },
        },
      },
    });
    const active = await serviceWhere(
      c,
      'shop-backup',
      (s) => s.status?.schedule?.lastSuccessfulTime !== undefined,
    );
    expect(condition(active, 'Ready')?.status).toBe('True');
    // Runs are nobody's missing instances; the Project hears of its Services a moment later.
    await eventually('the project has all', async () => {
      const status = (await c.project('shop'))?.status;
      return status?.services === '1/1' && status.instances === '0/0';
    });
    await first.stop();
    c.operator();
    const before = a.started.length;
    await eventually('the next operator goes on', () => a.started.length >= before + 3);
    const later = await serviceWhere(
      c,
      'shop-backup',
      (s) => (s.status?.schedule?.runs ?? []).filter((r) => r.state === 'Completed').length >= 2,
    );
    expect(Date.parse(later.status?.schedule?.nextScheduleTime ?? '')).toBeGreaterThan(
      Date.parse(later.status?.schedule?.lastScheduleTime ?? ''),
    );
    const times = c.events.filter(({ reason }) => reason === 'RunStarted').map((e) => e.message);
    expect(new Set(times).size).toBe(times.length);
    expect((await runsOf(c)).length).toBeLessThanOrEqual(5);

    await c.apply('shop', {
      services: {
        backup: {
          image: 'backup',
          type: 'oneshot',
          schedule: { cron: '* * * * * *', successfulRuns: 2, suspend: true },
        },
      },
    });
    await serviceWhere(c, 'shop-backup', (s) => s.status?.state === 'Suspended');
    await c.client.delete(projects, { namespace: 'default', name: 'shop' });
    await eventually('all of it is gone', async () => (await runsOf(c)).length === 0);
    await eventually('the project is gone', async () => (await c.project('shop')) === undefined);
    expect(await c.placements()).toEqual([]);
  }, 60_000);

  it('leave a run out while the last one has not ended, with forbid', async () => {
    const c = await cluster();
    c.operator();
    await c.agent('a', { behave: () => ({ phase: 'Running', ready: true }) });
    await c.apply('shop', {
      services: {
        backup: {
          image: 'backup',
          type: 'oneshot',
          schedule: { cron: '* * * * * *', concurrencyPolicy: 'forbid' },
        },
      },
    });
    await eventually('a run was left out', () => c.events.some((e) => e.reason === 'RunLeftOut'));
    expect(await runsOf(c)).toHaveLength(1);
  });
});

describe('a pre-deploy job', () => {
  const spec = (version: number, more: Partial<ProjectSpecInput> = {}): ProjectSpecInput => ({
    preDeploy: 'migrate',
    services: {
      migrate: { image: 'migrate:1', type: 'oneshot', command: ['migrate', String(version)] },
      web: { image: `web:${String(version)}` },
    },
    ...more,
  });
  const versionOf = (p: PlacementRecord): string => p.container.command?.[1] ?? '';

  it('runs before all else of each revision; a failure leaves the last good one as it is', async () => {
    const c = await cluster();
    c.operator();
    const ran: string[] = [];
    let failing = new Set(['2']);
    let held = true;
    const behave = (p: PlacementRecord) => {
      if (p.container.oneshot !== true) return {};
      if (held) return { phase: 'Running' as const, ready: true };
      if (p.finished !== true) ran.push(versionOf(p));
      return failing.has(versionOf(p)) ? broken() : done();
    };
    const [a] = await c.agents('a');
    await a!.behave(behave);
    await c.apply('shop', spec(1));
    const waiting = await eventually('the release waits', async () => {
      const project = await c.project('shop');
      return project?.status?.state === 'PreDeploy' ? project : undefined;
    });
    expect(findCondition(waiting.status?.conditions, 'Ready')).toMatchObject({
      status: 'False',
      reason: 'PreDeploy',
    });
    await serviceWhere(c, 'shop-migrate', (s) => s.status?.active === 1);
    expect(await c.service('shop-web')).toBeUndefined();
    held = false;
    await a!.behave(behave);
    await c.ready('shop');
    const [web] = await c.placements('web');

    await c.apply('shop', spec(2));
    const failed = await eventually('the release has failed', async () => {
      const project = await c.project('shop');
      return isTrue(project?.status?.conditions, 'Stalled') ? project : undefined;
    });
    const stalled = findCondition(failed.status?.conditions, 'Stalled');
    expect(stalled?.message).toContain('revision 2 failed: migrate: pre-deploy job failed');
    expect(failed.status?.revisions?.map(({ state }) => state)).toEqual(['Ready', 'Failed']);
    await eventually('the old revision is said to run', async () => {
      const project = await c.project('shop');
      return project?.status?.state === 'RolledBack';
    });
    expect((await c.placements('web'))[0]?.record).toEqual(web?.record);
    expect(new Set(ran)).toEqual(new Set(['1', '2']));
    const runsBefore = a!.started.length;

    // Once more, on demand, when what was wrong is mended; then on with the release.
    failing = new Set();
    await c.apply('shop', spec(2, { rollbackTo: 2 }));
    await c.ready('shop');
    expect((await c.placements('web'))[0]?.record.container.image).toBe('web:2');
    expect(a!.started.length).toBe(runsBefore + 2);

    // Back to a revision that it has succeeded for: not again.
    await c.apply('shop', spec(2, { rollbackTo: 1 }));
    await eventually('web is back', async () => {
      const [p] = await c.placements('web');
      return p?.record.container.image === 'web:1';
    });
    await c.ready('shop');
    expect(a!.started.length).toBe(runsBefore + 3);
  });

  it('runs for each revision, also when it has not changed itself', async () => {
    const c = await cluster();
    c.operator();
    const [a] = await c.agents('a');
    await a!.behave(({ container }) => (container.oneshot === true ? done() : {}));
    const same = (image: string): ProjectSpecInput => ({
      preDeploy: 'migrate',
      services: { migrate: { image: 'migrate', type: 'oneshot' }, web: { image } },
    });
    await c.apply('shop', same('web:1'));
    await c.ready('shop');
    expect(a!.started).toHaveLength(2);
    await c.apply('shop', same('web:2'));
    await c.ready('shop');
    expect(a!.started).toHaveLength(4);
    // Neither a new operator nor more replicas are a new revision.
    await c.apply('shop', {
      ...same('web:2'),
      services: { ...same('web:2').services, web: { image: 'web:2', replicas: 2 } },
    });
    await c.ready('shop');
    expect(a!.started).toHaveLength(5);
  });
});
