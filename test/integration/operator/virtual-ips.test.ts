import { describe, expect, it } from 'vitest';
import { findCondition } from '../../../src/kube/conditions.ts';
import {
  serviceRecords,
  virtualRangePath,
  virtualRangeRecords,
  type ServiceRecord,
} from '../../../src/registry/records/index.ts';
import { eventually } from '../../support/eventually.ts';
import { cluster, type Cluster } from './harness.ts';

const image = 'a';
const patientMs = 30_000;
const pathOf = (project: string, service: string): string =>
  serviceRecords.path({ namespace: 'default', project, service });

async function recordOf(
  c: Cluster,
  project: string,
  service: string,
): Promise<ServiceRecord | undefined> {
  const entry = await c.store.get(pathOf(project, service));
  return entry === undefined ? undefined : serviceRecords.decode(entry.value);
}

/** Waits until the record and the status of a service agree on a virtual IP. */
function addressOf(c: Cluster, project: string, service: string): Promise<string> {
  return eventually(`${service} of ${project} has a virtual IP`, async () => {
    const address = (await recordOf(c, project, service))?.virtualIP;
    const shown = (await c.service(`${project}-${service}`))?.status?.virtualIP;
    return address === shown ? address : undefined;
  });
}

describe('virtual IPs', () => {
  it('are given to each service, told to hosts and users, and outlive operators', async () => {
    const c = await cluster();
    await c.agents('h1', 'h2');
    const first = c.operator({ claimTtlMs: 2_000 });
    await c.apply('shop', {
      services: {
        web: { image, replicas: 2, sessionAffinity: 'clientIP', trafficPolicy: 'preferLocal' },
        db: { image },
        plain: { image, endpointMode: 'dns' },
      },
    });
    await c.ready('shop', patientMs);
    const web = await addressOf(c, 'shop', 'web');
    const db = await addressOf(c, 'shop', 'db');
    expect(web).toMatch(/^10\.78\./);
    expect(db).not.toBe(web);
    expect(await recordOf(c, 'shop', 'web')).toMatchObject({
      sessionAffinity: 'clientIP',
      trafficPolicy: 'preferLocal',
    });
    expect((await recordOf(c, 'shop', 'plain'))?.virtualIP).toBeUndefined();
    const range = await c.store.get(virtualRangePath);
    expect(virtualRangeRecords.decode(range?.value ?? '').ranges).toEqual(['10.78.0.0/16']);

    first.kill();
    // With another range: what there is keeps its address, and hosts are told of both.
    c.operator({ virtualRange: '10.90.0.0/16' });
    await c.apply('bank', { services: { web: { image } } });
    expect(await addressOf(c, 'bank', 'web')).toMatch(/^10\.90\./);
    expect(await addressOf(c, 'shop', 'web')).toBe(web);
    expect(await addressOf(c, 'shop', 'db')).toBe(db);
    const ranges = await c.store.get(virtualRangePath);
    expect(virtualRangeRecords.decode(ranges?.value ?? '').ranges).toEqual([
      '10.90.0.0/16',
      '10.78.0.0/16',
    ]);
  });

  it('are set right when somebody changes or deletes the record', async () => {
    const c = await cluster();
    await c.agents('h1');
    c.operator();
    await c.apply('shop', { services: { web: { image }, db: { image } } });
    await c.ready('shop', patientMs);
    const web = await addressOf(c, 'shop', 'web');
    const record = await recordOf(c, 'shop', 'web');
    const key = pathOf('shop', 'web');
    const stolen = await addressOf(c, 'shop', 'db');
    for (const value of [
      serviceRecords.encode({ ...record!, virtualIP: stolen }),
      serviceRecords.encode({ ...record!, virtualIP: 'x' }),
      '{',
      undefined,
    ]) {
      await c.store.commit(
        [],
        [value === undefined ? { type: 'delete', key } : { type: 'put', key, value }],
      );
      await eventually('it is as before', async () => {
        const entry = await c.store.get(key);
        return entry?.value === serviceRecords.encode(record!) && entry.value !== value;
      });
      expect(await addressOf(c, 'shop', 'web')).toBe(web);
    }
  });

  it('of one address claimed by two services while no operator ran go to one of them', async () => {
    const c = await cluster();
    await c.agents('h1');
    const first = c.operator();
    await c.apply('shop', { services: { a: { image }, b: { image } } });
    await c.ready('shop', patientMs);
    const address = await addressOf(c, 'shop', 'a');
    await first.stop();
    const record = (await recordOf(c, 'shop', 'b'))!;
    const value = serviceRecords.encode({ ...record, virtualIP: address });
    await c.store.commit([], [{ type: 'put', key: pathOf('shop', 'b'), value }]);
    c.operator();
    await eventually('they differ', async () => {
      const a = (await recordOf(c, 'shop', 'a'))?.virtualIP;
      const b = (await recordOf(c, 'shop', 'b'))?.virtualIP;
      return a === address && b !== undefined && b !== a;
    });
  });

  it('that are all taken are waited for, with a reason; services run without', async () => {
    const c = await cluster();
    await c.agents('h1');
    c.operator({ virtualRange: '10.90.0.0/28' });
    const services: Record<string, { image: string }> = Object.fromEntries(
      Array.from({ length: 14 }, (_, i) => [`s${i}`, { image }]),
    );
    await c.apply('shop', { services });
    await c.ready('shop', patientMs);
    await c.apply('late', { services: { web: { image }, user: { image, links: ['web'] } } });
    const said = async (type: string, service = 'late-web') =>
      findCondition((await c.service(service))?.status?.conditions, type);
    await eventually('the reason is shown', async () =>
      (await said('VirtualIP'))?.reason === 'VirtualIPsExhausted' ? true : undefined,
    );
    await eventually('it runs', async () => (await said('Ready'))?.status === 'True');
    expect((await recordOf(c, 'late', 'web'))?.virtualIP).toBeUndefined();
    // What is linked to it waits: it could not be told an address.
    await eventually(
      'it says so',
      async () => (await said('Scheduled', 'late-user'))?.reason === 'LinkPending',
    );

    delete services['s0'];
    await c.apply('shop', { services });
    await eventually('one is free', async () => (await said('VirtualIP'))?.status === 'True');
    await c.ready('late', patientMs);
    const [user] = await c.placements('user');
    expect(user?.record.container.links?.hosts).toEqual({ web: await addressOf(c, 'late', 'web') });
  });

  it('are not given out in the overlay', async () => {
    const c = await cluster();
    await c.agents('h1');
    c.operator({ virtualRange: '10.77.0.0/24' });
    await c.apply('shop', { services: { web: { image } } });
    await c.ready('shop', patientMs);
    await eventually('the reason is shown', async () => {
      const conditions = (await c.service('shop-web'))?.status?.conditions;
      return findCondition(conditions, 'VirtualIP')?.reason === 'VirtualRangeUnusable';
    });
    expect(await c.store.get(virtualRangePath)).toBeUndefined();
  });

  it('go and come with endpointMode', async () => {
    const c = await cluster();
    await c.agents('h1');
    c.operator();
    await c.apply('shop', { services: { web: { image } } });
    await addressOf(c, 'shop', 'web');
    await c.apply('shop', { services: { web: { image, endpointMode: 'dns' } } });
    await eventually('it is gone', async () => {
      const shown = (await c.service('shop-web'))?.status;
      return (
        (await recordOf(c, 'shop', 'web'))?.virtualIP === undefined &&
        shown?.virtualIP === undefined
      );
    });
    await c.apply('shop', { services: { web: { image, endpointMode: 'vip' } } });
    await addressOf(c, 'shop', 'web');
  });
});

describe('links', () => {
  it('wait for a service of another project, and restart nobody when that changes', async () => {
    const c = await cluster();
    await c.agents('h1');
    c.operator();
    await c.apply('shop', {
      services: {
        web: { image, links: ['db', 'bank/ledger:books'] },
        db: { image, ports: ['5432'], environment: { MODE: 'fast' } },
      },
    });
    await eventually('the reason is shown', async () => {
      const conditions = (await c.service('shop-web'))?.status?.conditions;
      const said = findCondition(conditions, 'Scheduled');
      return said?.reason === 'LinkMissing' && said.message.includes('ledger in project bank');
    });
    await c.apply('bank', {
      services: { ledger: { image, ports: ['80'], environment: { PASSWORD: 'x' } } },
    });
    await c.ready('shop', patientMs);
    const db = await addressOf(c, 'shop', 'db');
    const ledger = await addressOf(c, 'bank', 'ledger');
    const [before] = await c.placements('web');
    expect(before?.record.container.links?.hosts).toEqual({ db, books: ledger });
    expect(before?.record.container.links?.environment).toMatchObject({
      DB_PORT_5432_TCP_ADDR: db,
      DB_ENV_MODE: 'fast',
      BOOKS_PORT: `tcp://${ledger}:80`,
      BOOKS_NAME: '/shop-web-1/books',
    });
    expect(before?.record.container.links?.environment).not.toHaveProperty('BOOKS_ENV_PASSWORD');
    expect(await recordOf(c, 'shop', 'web')).toMatchObject({
      links: [
        { service: 'db', alias: 'db' },
        { service: 'ledger', alias: 'books', project: 'bank' },
      ],
    });

    await c.apply('bank', {
      services: { ledger: { image: 'b', ports: ['80', '81'], environment: { PASSWORD: 'y' } } },
    });
    await eventually('it is the new one', async () => {
      const [placed] = await c.placements('ledger');
      return placed?.record.container.image === 'b';
    });
    await c.ready('bank', patientMs);
    // A new instance is told of what there is then; the one that runs is left alone.
    await c.scale('shop-web', 2);
    await c.ordinals('web', [1, 2], patientMs);
    const [same, second] = await c.placements('web');
    expect(same?.record.id).toBe(before?.record.id);
    expect(second?.record.container.links?.environment).toHaveProperty('BOOKS_PORT_81_TCP');
    expect(same?.record.specHash).toBe(before?.record.specHash);
  });

  it('of two services to each other wait for nobody', async () => {
    const c = await cluster();
    await c.agents('h1');
    c.operator();
    await c.apply('shop', { services: { a: { image, links: ['b'] }, b: { image, links: ['a'] } } });
    await c.ready('shop', patientMs);
  });

  it('survive that what they lead to is deleted: what runs stays', async () => {
    const c = await cluster();
    await c.agents('h1');
    const first = c.operator();
    await c.apply('bank', { services: { ledger: { image } } });
    await c.apply('shop', { services: { web: { image, links: ['bank/ledger'] } } });
    await c.ready('shop', patientMs);
    const [before] = await c.placements('web');
    await c.apply('bank', { services: { other: { image } } });
    await eventually('it is gone', async () => (await recordOf(c, 'bank', 'ledger')) === undefined);
    await first.stop();
    const second = c.operator();
    await eventually('another one decides', () => second.state.deciding);
    await eventually('the reason is shown', async () => {
      const conditions = (await c.service('shop-web'))?.status?.conditions;
      return findCondition(conditions, 'Ready')?.message.includes('no service ledger') === true;
    });
    expect((await c.placements('web'))[0]?.record.id).toBe(before?.record.id);
  });
});
