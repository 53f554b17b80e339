import { describe, expect, it } from 'vitest';
import { configMaps, projects, secrets } from '../../../src/kube/resources.ts';
import { openBundle } from '../../../src/registry/delivery-bundle.ts';
import {
  deliveryRecords,
  placementRecords,
  volumeRecords,
} from '../../../src/registry/records/index.ts';
import { generateHostKey } from '../../../src/registry/seal.ts';
import { eventually } from '../../support/eventually.ts';
import { cluster, type Cluster } from './harness.ts';

const key = generateHostKey();

async function configMap(c: Cluster, name: string, data: Record<string, string>): Promise<void> {
  const object = {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name, namespace: 'default' },
    data,
  };
  await c.client.apply(configMaps, object, { fieldManager: 'kubectl', force: true });
}

async function secret(c: Cluster, name: string, data: Record<string, string>): Promise<void> {
  const encoded = Object.fromEntries(
    Object.entries(data).map(([k, v]) => [k, Buffer.from(v).toString('base64')]),
  );
  const metadata = { name, namespace: 'default' };
  const object = { apiVersion: 'v1', kind: 'Secret', metadata, data: encoded };
  await c.client.apply(secrets, object, { fieldManager: 'kubectl', force: true });
}

/** What an instance's host would find in its files, and its templates as JSON. */
async function delivered(c: Cluster, service: string, ordinal = 1): Promise<string[]> {
  const placed = (await c.placements(service)).find((p) => p.ordinal === ordinal);
  if (placed === undefined) return [];
  const path = deliveryRecords.path({
    host: placed.host,
    namespace: 'default',
    project: placed.project,
    service,
    ordinal: String(ordinal),
  });
  const entry = await c.store.get(path);
  if (entry === undefined) return [];
  const bundle = openBundle(key, path, deliveryRecords.decode(entry.value).sealed);
  expect(bundle.hash).toBe(placed.record.delivery?.hash);
  const templates = (bundle.templates ?? []).map((template) => JSON.stringify(template));
  return [...bundle.files.map((file) => Buffer.from(file).toString()), ...templates];
}

const conf = (more: object = {}) => ({
  configMap: { name: 'nginx', key: 'nginx.conf' },
  target: '/etc/nginx.conf',
  ...more,
});

describe('configs and secrets', () => {
  it('are waited for, by name, while others go on; and picked up when they appear', async () => {
    const c = await cluster();
    c.operator();
    await c.agent('h1', { sealingKey: key.publicKey });
    await c.apply('shop', {
      services: { web: { image: 'web:1', configs: [conf()] }, db: { image: 'db:1' } },
    });
    await c.ordinals('db', [1]);
    await eventually('it says what is missing', async () => {
      const status = (await c.service('shop-web'))?.status;
      const [instance] = status?.instances ?? [];
      return (
        instance?.phase === 'Pending' &&
        instance.reason === 'ConfigMissing' &&
        instance.message === 'there is no ConfigMap nginx' &&
        status?.state === 'Pending'
      );
    });
    await configMap(c, 'nginx', { other: 'x' });
    await eventually('it says which key', async () => {
      const [instance] = (await c.service('shop-web'))?.status?.instances ?? [];
      return instance?.message === 'ConfigMap nginx has no key nginx.conf';
    });
    await configMap(c, 'nginx', { 'nginx.conf': 'listen 80;' });
    await c.ready('shop');
    expect(await delivered(c, 'web')).toEqual(['listen 80;']);
  });

  it('replace instances when they change, or only deliver where the service is to be told', async () => {
    const c = await cluster();
    c.operator();
    await c.agent('h1', { sealingKey: key.publicKey });
    await configMap(c, 'nginx', { 'nginx.conf': 'one' });
    await c.apply('shop', {
      services: {
        web: { image: 'web:1', configs: [conf()], update: { monitor: '50ms' } },
        told: { image: 'web:1', configs: [conf({ onChange: { signal: 'SIGHUP' } })] },
      },
    });
    await c.ready('shop');
    const id = async (service: string) => (await c.placements(service))[0]?.record.id;
    const before = { web: await id('web'), told: await id('told') };
    await configMap(c, 'nginx', { 'nginx.conf': 'two' });
    await eventually('both have it', async () => {
      const all = [...(await delivered(c, 'web')), ...(await delivered(c, 'told'))];
      return JSON.stringify(all) === '["two","two"]';
    });
    expect(await id('web')).not.toBe(before.web);
    expect(await id('told')).toBe(before.told);
  });

  it('are followed where only a template names them', async () => {
    const c = await cluster();
    c.operator();
    await c.agent('h1', { sealingKey: key.publicKey });
    const template = { configMap: { name: 'list', key: 'list' }, target: '/list', watch: ['web'] };
    await c.apply('shop', {
      services: { web: { image: 'web:1' }, proxy: { image: 'proxy:1', templates: [template] } },
    });
    await eventually('it says what is missing', async () => {
      const [instance] = (await c.service('shop-proxy'))?.status?.instances ?? [];
      return instance?.message === 'there is no ConfigMap list';
    });
    await configMap(c, 'list', { list: 'one' });
    await c.ready('shop');
    const holds = (text: string) => async (): Promise<boolean> =>
      (await delivered(c, 'proxy')).some((each) => each.includes(`"${text}"`));
    await eventually('it has the first', holds('one'));
    await configMap(c, 'list', { list: 'another' });
    await eventually('it has the second', holds('another'));
  });

  it('keep secrets out of the registry, but for the sealed delivery', async () => {
    const c = await cluster();
    c.operator();
    await c.agent('h1', { sealingKey: key.publicKey });
    await secret(c, 'db', { password: 'hush-hush' });
    await c.apply('shop', {
      configs: { pw: { secret: { name: 'db', key: 'password' } } },
      services: {
        web: {
          image: 'web:1',
          configs: [{ source: 'pw', target: '/run/secrets/pw' }],
          envFrom: [{ secret: 'db', prefix: 'DB_' }],
        },
      },
    });
    await c.ready('shop');
    expect(await delivered(c, 'web')).toEqual(['hush-hush']);
    const { entries } = await c.store.list('/nap/');
    const text = JSON.stringify(entries.map(({ value }) => value));
    expect(text).not.toContain('hush-hush');
    expect(text).not.toContain(Buffer.from('hush-hush').toString('base64'));
    await c.client.delete(projects, { namespace: 'default', name: 'shop' });
    await eventually('the delivery goes with the instance', async () => {
      return (await c.store.list(deliveryRecords.prefix)).entries.length === 0;
    });
  });

  it('go to hosts that can open them only, and are sealed anew for a host with another key', async () => {
    const c = await cluster();
    c.operator();
    await c.agent('h1');
    await c.apply('shop', {
      services: { web: { image: 'web:1', configs: [{ content: 'x', target: '/x' }] } },
    });
    await eventually('it says why', async () => {
      const message = (await c.service('shop-web'))?.status?.conditions?.find(
        (each) => each.type === 'Scheduled',
      )?.message;
      return message?.includes('takes no configs') === true;
    });
    const old = generateHostKey();
    const agent = await c.agent('h2', { sealingKey: old.publicKey });
    await c.ready('shop');
    const before = (await c.placements('web'))[0]?.record;
    await agent.leaveFor(60_000);
    await c.agent('h2', { sealingKey: key.publicKey });
    await eventually('it can be opened', async () => {
      const recipient = (await c.placements('web'))[0]?.record.delivery?.recipient;
      return recipient !== before?.delivery?.recipient;
    });
    expect(await delivered(c, 'web')).toEqual(['x']);
    expect((await c.placements('web'))[0]?.record.id).toBe(before?.id);
  });

  it('leave what runs alone when they vanish', async () => {
    const c = await cluster();
    c.operator();
    await c.agent('h1', { sealingKey: key.publicKey });
    await configMap(c, 'nginx', { 'nginx.conf': 'one' });
    await c.apply('shop', {
      services: { web: { image: 'web:1', configs: [conf()], replicas: 2 } },
    });
    await c.ready('shop');
    const before = await c.placements('web');
    await c.client.delete(configMaps, { namespace: 'default', name: 'nginx' });
    await eventually('it is told', async () => {
      const ready = (await c.service('shop-web'))?.status?.conditions?.find(
        (x) => x.type === 'Ready',
      );
      return ready?.status === 'True' && ready.message.includes('there is no ConfigMap nginx');
    });
    expect(await c.placements('web')).toEqual(before);
    await c.scale('shop-web', 1);
    await c.ordinals('web', [1]);
  });
});

describe('volumes', () => {
  const records = async (c: Cluster) => {
    const { entries } = await c.store.list(volumeRecords.prefix);
    return entries.map(({ key: path, value }) => ({
      ...volumeRecords.parsePath(path),
      ...volumeRecords.decode(value),
    }));
  };

  it('are known host by host, and released with their Project only if they are to be deleted', async () => {
    const c = await cluster();
    c.operator();
    const agent = await c.agent('h1');
    await c.apply('shop', {
      volumes: { 'data-%i': { reclaimPolicy: 'delete' }, media: { external: true, name: 'nas' } },
      services: {
        db: { image: 'db:1', replicas: 2, volumes: ['data-%i:/data', 'keep:/keep', 'media:/m'] },
      },
    });
    await c.ready('shop');
    const wanted = [
      { volume: 'data-1', name: 'default_shop_data-1', reclaimPolicy: 'delete' },
      { volume: 'data-2', name: 'default_shop_data-2', reclaimPolicy: 'delete' },
      { volume: 'keep', name: 'default_shop_keep', reclaimPolicy: 'retain' },
    ];
    await eventually('all are recorded', async () => (await records(c)).length === 3);
    expect(await records(c)).toMatchObject(wanted);
    const [placed] = await c.placements('db');
    expect(placed?.record.container.mounts.map((m) => ('name' in m ? m.name : ''))).toContain(
      'nas',
    );
    // The host is away when the Project goes.
    await agent.die();
    await c.client.delete(projects, { namespace: 'default', name: 'shop' });
    await eventually('the project is gone', async () => (await c.project('shop')) === undefined);
    expect((await records(c)).map((r) => [r.volume, r.released === true])).toEqual([
      ['data-1', true],
      ['data-2', true],
      ['keep', false],
    ]);
    expect((await c.store.list(placementRecords.prefix)).entries).toEqual([]);
  });

  it('of another service come with its host', async () => {
    const c = await cluster();
    c.operator();
    await c.agents('h1', 'h2', 'h3');
    await c.apply('shop', {
      services: {
        data: { image: 'data:1', volumes: ['store:/data'], placement: { machineID: 'machine-h2' } },
        app: { image: 'app:1', volumesFrom: ['data:ro'], replicas: 2 },
      },
    });
    await c.ready('shop');
    for (const { host, record } of await c.placements('app')) {
      expect(host).toBe('h2');
      expect(record.container.mounts).toEqual([
        { type: 'volume', name: 'default_shop_store', target: '/data', readOnly: true },
      ]);
    }
  });
});
