import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Condition } from '../../src/api/v1alpha1/conditions.ts';
import { KubeClient } from '../../src/kube/client.ts';
import { KubeConfig } from '../../src/kube/config.ts';
import {
  isAlreadyExists,
  isConflict,
  isInvalid,
  isNotFound,
  type KubeError,
} from '../../src/kube/errors.ts';
import { EventRecorder } from '../../src/kube/events.ts';
import { addFinalizer, removeFinalizer } from '../../src/kube/finalizers.ts';
import { Informer } from '../../src/kube/informer.ts';
import { LeaderNote } from '../../src/kube/leader-note.ts';
import { configMaps, coreEvents, leases, namespaces, projects } from '../../src/kube/resources.ts';
import { writeStatus } from '../../src/kube/status.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/telemetry/log.ts';
import { serverUnderTest, type ServerUnderTest } from '../support/apiserver.ts';
import { eventually } from '../support/eventually.ts';

/** nap's own client on the server of KUBECONFIG_UNDER_TEST, else on the embedded one. */
let server: ServerUnderTest;
let config: KubeConfig;
let client: KubeClient;
const namespace = `kernel-${randomBytes(4).toString('hex')}`;
const signal = new AbortController().signal;

beforeAll(async () => {
  server = await serverUnderTest();
  config = KubeConfig.fromFile(server.kubeconfig);
  client = new KubeClient(config);
  await client.create(namespaces, { metadata: { name: namespace } });
});

afterAll(async () => {
  await client.delete(namespaces, { name: namespace });
  await config.close();
  await server.close();
});

const spec = { services: { web: { image: 'web:1' } } };

async function errorOf(promise: Promise<unknown>): Promise<KubeError> {
  return promise.then(
    () => {
      throw new Error('it was not refused');
    },
    (error: unknown) => error as KubeError,
  );
}

describe('nap’s client on a real API server', () => {
  it('creates, reads, patches and deletes', async () => {
    const name = { namespace, name: 'crud' };
    const made = await client.create(projects, { metadata: name, spec });
    expect(isAlreadyExists(await errorOf(client.create(projects, { metadata: name, spec })))).toBe(
      true,
    );
    const labels = { a: '1' };
    await client.patch(projects, name, { type: 'merge', body: { metadata: { labels } } });
    expect(isConflict(await errorOf(client.update(projects, made)))).toBe(true);
    const wrong = { type: 'merge', body: { spec: { services: 7 } } } as const;
    expect(isInvalid(await errorOf(client.patch(projects, name, wrong)))).toBe(true);
    const json = [{ op: 'remove', path: '/metadata/labels/a' }] as const;
    const patched = await client.patch(projects, name, { type: 'json', body: json });
    expect(patched.metadata.labels ?? {}).toEqual({});
    await client.delete(projects, name, { propagationPolicy: 'Background' });
    expect(isNotFound(await errorOf(client.get(projects, name)))).toBe(true);
  });

  it('applies what it owns, and removes what it applies no more', async () => {
    const metadata = { namespace, name: 'applied' };
    await client.apply(configMaps, { metadata, data: { a: '1', b: '2' } });
    await client.apply(configMaps, { metadata, data: { c: '3' } }, { fieldManager: 'other' });
    const after = await client.apply(configMaps, { metadata, data: { a: '1' } });
    expect(after.data).toEqual({ a: '1', c: '3' });
    const taken = { metadata, data: { c: 'mine' } };
    expect(isConflict(await errorOf(client.apply(configMaps, taken)))).toBe(true);
    expect((await client.apply(configMaps, taken, { force: true })).data).toEqual({ c: 'mine' });
  });

  it('lists in pages and follows changes', async () => {
    for (let i = 0; i < 7; i++) {
      await client.create(configMaps, {
        metadata: { namespace, name: `page-${i}`, labels: { t: 'p' } },
      });
    }
    const stop = new AbortController();
    const informer = new Informer(client, configMaps, {
      namespace,
      labelSelector: 't=p',
      pageSize: 3,
      log: silentLogger,
    });
    const running = informer.run(stop.signal);
    await informer.waitForSync(stop.signal);
    expect(informer.store.size).toBe(7);
    await client.delete(configMaps, { namespace, name: 'page-3' });
    await client.create(configMaps, {
      metadata: { namespace, name: 'page-x', labels: { t: 'p' } },
    });
    // An object that leaves the selector leaves the cache.
    const body = { metadata: { labels: { t: 'q' } } };
    await client.patch(configMaps, { namespace, name: 'page-0' }, { type: 'merge', body });
    const names = () => informer.store.list().map((object) => object.metadata.name);
    await eventually(
      'the changes',
      () => !names().includes('page-0') && names().includes('page-x'),
    );
    expect(names().sort()).toEqual(['page-1', 'page-2', 'page-4', 'page-5', 'page-6', 'page-x']);
    expect(informer.problem).toBeUndefined();
    stop.abort();
    await running;
  });

  it('writes status and finalizers so that nothing is left behind', async () => {
    const name = { namespace, name: 'finalized' };
    const made = await client.create(projects, { metadata: name, spec });
    const conditions: Condition[] = [
      {
        type: 'Ready',
        status: 'False',
        reason: 'Starting',
        message: '0/1',
        lastTransitionTime: '2026-01-01T00:00:00Z',
      },
    ];
    expect(
      await writeStatus(client, projects, made, { state: 'Pending', conditions }),
    ).toBeDefined();
    const read = await client.get(projects, name);
    expect(read.metadata.generation).toBe(made.metadata.generation);
    expect(
      await writeStatus(client, projects, read, { conditions, state: 'Pending' }),
    ).toBeUndefined();
    const held = await addFinalizer(client, projects, read, 'nap.dev/test', signal);
    expect(held.metadata.finalizers).toContain('nap.dev/test');
    await client.delete(projects, name);
    const deleted = await client.get(projects, name);
    expect(deleted.metadata.deletionTimestamp).toBeDefined();
    await removeFinalizer(client, projects, deleted, 'nap.dev/test', signal);
    expect(await client.find(projects, name)).toBeUndefined();
  });

  it('reports events and counts them', async () => {
    const project = await client.create(projects, { metadata: { namespace, name: 'noisy' }, spec });
    const recorder = new EventRecorder(client, {
      component: 'nap',
      instance: 'm1',
      log: silentLogger,
    });
    recorder.record(project, 'Warning', 'FailedScheduling', '0/3 hosts fit');
    await recorder.flush();
    recorder.record(project, 'Warning', 'FailedScheduling', '0/3 hosts fit');
    recorder.record(
      { apiVersion: 'nap.dev/v1alpha1', kind: 'Host', name: 'h1' },
      'Warning',
      'HostLost',
      'gone',
    );
    await recorder.close();
    expect(recorder.dropped).toBe(0);
    const fieldSelector = 'involvedObject.name=noisy,involvedObject.kind=Project';
    const { items } = await client.list(coreEvents, { namespace, fieldSelector });
    expect(items.map((event) => [event.reason, event.count])).toEqual([['FailedScheduling', 2]]);
  });

  it('keeps a note of who leads, and takes it back', async () => {
    const name = { namespace, name: 'leader' };
    const note = new LeaderNote(client, {
      ...name,
      identity: 'me',
      everyMs: 100,
      clock: systemClock,
      log: silentLogger,
    });
    const stop = new AbortController();
    const running = note.run(stop.signal);
    note.lead();
    const first = await eventually('the note', async () => client.find(leases, name, stop.signal));
    expect(first.spec?.holderIdentity).toBe('me');
    expect(first.spec?.renewTime).toMatch(/\.\d{6}Z$/);
    await eventually('a renewal', async () => {
      const { spec: now } = await client.get(leases, name);
      return now?.renewTime !== first.spec?.renewTime;
    });
    stop.abort();
    await running;
    expect((await client.get(leases, name)).spec?.holderIdentity ?? '').toBe('');
  });
});
