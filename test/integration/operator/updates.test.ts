import { describe, expect, it } from 'vitest';
import type { PlacementRecord } from '../../../src/registry/records/index.ts';
import { eventually } from '../../support/eventually.ts';
import { cluster, type Cluster } from './harness.ts';

const web = (image: string, update: object = {}, more: object = {}) => ({
  image,
  replicas: 3,
  update: { monitor: '100ms', ...update },
  ...more,
});

async function images(of: Cluster, service = 'web'): Promise<string[]> {
  return (await of.placements(service)).map(({ record }) => record.container.image);
}

/** Fails when `:bad`. */
const behave = ({ container }: PlacementRecord) =>
  container.image.endsWith(':bad')
    ? { phase: 'Failed' as const, ready: false, reason: 'CrashLoop', message: 'exited' }
    : {};

async function settled(of: Cluster, image: string, count: number): Promise<void> {
  await eventually(`${String(count)} instances of ${image}`, async () => {
    const all = await of.placements('web');
    return (
      all.length === count &&
      all.every((p) => p.record.container.image === image && p.record.replaces === undefined)
    );
  });
}

describe('rolling updates', () => {
  it('start-first: never fewer serve than before, and the ordinal keeps its endpoint', async () => {
    const c = await cluster();
    c.operator();
    const agents = await c.agents('h1', 'h2');
    await c.apply('shop', { services: { web: web('web:1', { order: 'start-first' }) } });
    await c.ready('shop');
    const started = agents.flatMap((agent) => agent.started).length;
    // Each new one takes a while to become ready: whose predecessor went first would be missed.
    for (const agent of agents) {
      const seen = new Set<string>();
      const slowly = ({ id, container }: PlacementRecord) => {
        if (container.image !== 'web:2' || seen.has(id)) return {};
        seen.add(id);
        setTimeout(() => void agent.behave(slowly), 50);
        return { phase: 'Starting' as const, ready: false };
      };
      await agent.behave(slowly);
    }
    const fewest = await c.serving('shop', 'web');
    await c.apply('shop', { services: { web: web('web:2', { order: 'start-first' }) } });
    await settled(c, 'web:2', 3);
    await c.ready('shop');
    expect(await fewest()).toBe(3);
    expect(agents.flatMap((agent) => agent.started)).toHaveLength(started + 3);
    const { entries } = await c.store.list('/services/default/shop/web/');
    expect(entries.map(({ key }) => key.split('/').at(-1))).toEqual(['1', '2', '3']);
    // The next one goes back to the first seats.
    await c.apply('shop', { services: { web: web('web:3', { order: 'start-first' }) } });
    await settled(c, 'web:3', 3);
  });

  it('says why it is not start-first with a host port', async () => {
    const c = await cluster();
    c.operator();
    await c.agents('h1', 'h2', 'h3');
    const spec = (image: string) =>
      web(image, { order: 'start-first' }, { ports: ['8080:80'], replicas: 2 });
    await c.apply('shop', { services: { web: spec('web:1') } });
    await c.ready('shop');
    await c.apply('shop', { services: { web: spec('web:2') } });
    await settled(c, 'web:2', 2);
    expect((await c.told({ reason: 'StartFirstNotPossible' })).message).toContain(
      'host port 8080 cannot be published twice',
    );
  });

  it('takes the whole project back when one service fails, and goes on with the next spec', async () => {
    const c = await cluster();
    c.operator();
    await c.agent('h1', { behave });
    await c.agent('h2', { behave });
    const both = (api: string, image: string) => ({
      services: {
        api: { image: api, update: { monitor: '100ms' } },
        web: web(image, { failureAction: 'rollback' }),
      },
    });
    await c.apply('shop', both('api:1', 'web:1'));
    await c.ready('shop');
    await eventually('revision 1 is known good', async () =>
      (await c.project('shop'))?.status?.revisions?.some((r) => r.state === 'Ready'),
    );
    await c.apply('shop', both('api:2', 'web:bad'));
    const project = await eventually('it went back', async () => {
      const seen = await c.project('shop');
      return seen?.status?.state === 'RolledBack' ? seen : undefined;
    });
    expect(await images(c)).toEqual(['web:1', 'web:1', 'web:1']);
    expect(await images(c, 'api')).toEqual(['api:1']);
    expect(project.spec.services['web']?.image).toBe('web:bad');
    expect(project.status?.revision).toBe(1);
    expect(project.status?.conditions?.find((x) => x.type === 'Stalled')?.message).toContain(
      'revision 2 failed: web',
    );
    await c.told({ kind: 'Project', reason: 'RolledBack' });
    // Another operator comes to the same result.
    await c.apply('shop', both('api:3', 'web:3'));
    await c.ready('shop');
    expect((await c.project('shop'))?.status?.revision).toBe(3);
    await c.apply('shop', { ...both('api:3', 'web:3'), rollbackTo: 1 });
    await settled(c, 'web:1', 3);
  });

  it('paused: heals, and changes nothing; then goes on', async () => {
    const c = await cluster();
    c.operator();
    const [h1] = await c.agents('h1', 'h2');
    await c.apply('shop', { services: { web: web('web:1') } });
    await c.ready('shop');
    await c.apply('shop', { services: { web: web('web:2') }, paused: true });
    await eventually(
      'it says so',
      async () => (await c.project('shop'))?.status?.state === 'Paused',
    );
    await h1!.die();
    await eventually('all are on h2', async () => {
      const all = await c.placements('web');
      return all.length === 3 && all.every((p) => p.host === 'h2');
    });
    expect(await images(c)).toEqual(['web:1', 'web:1', 'web:1']);
    await c.apply('shop', { services: { web: web('web:2') }, paused: false });
    await settled(c, 'web:2', 3);
  });

  it('restarts nothing for another number of replicas, another placement rule or another policy', async () => {
    const c = await cluster();
    c.operator();
    const agents = await c.agents('h1', 'h2');
    await c.apply('shop', { services: { web: web('web:1') } });
    await c.ready('shop');
    const before = agents.flatMap((agent) => agent.started);
    await c.apply('shop', {
      services: {
        web: {
          ...web('web:1', { order: 'start-first', parallelism: 2 }),
          replicas: 2,
          placement: { strategy: 'binpack' },
        },
      },
    });
    await c.ordinals('web', [1, 2]);
    await c.ready('shop');
    expect(agents.flatMap((agent) => agent.started)).toEqual(before);
  });

  it('goes on where a killed operator was', async () => {
    const c = await cluster();
    const first = c.operator({ claimTtlMs: 2_000 });
    await c.agents('h1', 'h2');
    await c.apply('shop', { services: { web: web('web:1', { order: 'start-first' }) } });
    await c.ready('shop');
    await c.apply('shop', {
      services: { web: web('web:2', { order: 'start-first', monitor: '300ms' }) },
    });
    await eventually('one has a successor', async () =>
      (await c.placements('web')).some((p) => p.record.beside === true),
    );
    first.kill();
    c.operator();
    await eventually('updated by the next one', async () => {
      const all = await c.placements('web');
      return (
        all.length === 3 &&
        all.every((p) => p.record.container.image === 'web:2' && p.record.beside !== true)
      );
    });
  });
});
