import { describe, expect, it } from 'vitest';
import type { PlacementRecord } from '../../../src/registry/records/index.ts';
import { eventually } from '../../support/eventually.ts';
import { cluster } from './harness.ts';

const starting = () => ({ phase: 'Running' as const, ready: false });

describe('services that depend on others', () => {
  it('wait on the first deployment, on an update, and start anew when told to', async () => {
    const c = await cluster();
    c.operator();
    const [agent] = await c.agents('h1');
    await agent!.behave(starting);
    const spec = (db: string, web: string) => ({
      services: {
        web: {
          image: web,
          update: { monitor: '50ms' },
          dependsOn: { db: { condition: 'healthy' as const, restart: true } },
        },
        db: { image: db, update: { monitor: '50ms' } },
      },
    });
    await c.apply('shop', spec('db:1', 'web:1'));
    const waiting = await eventually('web waits', async () => {
      const status = (await c.service('shop-web'))?.status;
      return status?.instances?.find((i) => i.reason === 'WaitingFor');
    });
    expect(waiting.message).toBe('db to be healthy');
    await c.ordinals('db', [1]);
    expect(await c.placements('web')).toEqual([]);
    await agent!.behave(undefined);
    await c.ready('shop');

    // An update of both: web follows db.
    await agent!.behave(({ container }: PlacementRecord) =>
      container.image === 'db:2' ? starting() : {},
    );
    await c.apply('shop', spec('db:2', 'web:2'));
    await eventually('db is being updated', async () =>
      (await c.placements('db')).some((p) => p.record.container.image === 'db:2'),
    );
    await eventually('web says what it waits for', async () =>
      (await c.service('shop-web'))?.status?.conditions?.some((x) =>
        x.message.includes('waiting for db to be'),
      ),
    );
    expect((await c.placements('web'))[0]?.record.container.image).toBe('web:1');
    await agent!.behave(undefined);
    await c.ready('shop');
    const [web] = await c.placements('web');
    expect(web?.record.container.image).toBe('web:2');

    // An update of db alone starts web anew.
    await c.apply('shop', spec('db:3', 'web:2'));
    await eventually('web was started anew', async () => {
      const [now] = await c.placements('web');
      return now !== undefined && now.record.id !== web?.record.id;
    });
    await c.ready('shop');
  });

  it('stop and start with what they are part of, and make way for what conflicts with them', async () => {
    const c = await cluster();
    c.operator();
    await c.agents('h1', 'h2');
    await c.apply('shop', {
      services: {
        web: { image: 'web:1', replicas: 2 },
        sidekick: { image: 'side:1', partOf: ['web'] },
        maintenance: { image: 'page:1', replicas: 0, conflictsWith: ['web'] },
      },
    });
    await c.ready('shop');
    await c.ordinals('sidekick', [1]);
    await c.scale('shop-maintenance', 1);
    await c.ordinals('web', []);
    await c.ordinals('sidekick', []);
    await c.ordinals('maintenance', [1]);
    await eventually(
      'web says that it is stopped',
      async () => (await c.service('shop-web'))?.status?.state === 'Stopped',
    );
    await c.scale('shop-maintenance', 0);
    await c.ordinals('web', [1, 2]);
    await c.ordinals('sidekick', [1]);
    await c.ready('shop');
  });
});
