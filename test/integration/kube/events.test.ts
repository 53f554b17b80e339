import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { KubeObject } from '../../../src/api/v1alpha1/meta.ts';
import { KubeClient } from '../../../src/kube/client.ts';
import { KubeConfig } from '../../../src/kube/config.ts';
import { EventRecorder } from '../../../src/kube/events.ts';
import { silentLogger } from '../../../src/telemetry/log.ts';
import { eventually } from '../../support/eventually.ts';
import { fail, FakeKube } from '../../support/fake-kube.ts';
import { fastClock } from '../../support/fast-clock.ts';

let fake: FakeKube;
let config: KubeConfig;
let recorder: EventRecorder;

beforeEach(async () => {
  fake = await FakeKube.start();
  config = KubeConfig.fromString(fake.kubeconfig(), { insecureLoopback: true });
  recorder = new EventRecorder(new KubeClient(config), {
    component: 'nap-operator',
    instance: 'm1',
    log: silentLogger,
    clock: fastClock(50),
  });
});

afterEach(async () => {
  await recorder.close();
  await config.close();
  await fake.stop();
});

const project = (name: string): KubeObject => ({
  apiVersion: 'nap.dev/v1alpha1',
  kind: 'Project',
  metadata: { name, namespace: 'a', uid: `uid-${name}`, resourceVersion: '7' },
});

const stored = (): Record<string, unknown>[] =>
  fake
    .requestsOf('POST')
    .map((request) => {
      const { metadata } = JSON.parse(request.body) as KubeObject;
      return fake.read(`${request.path}/${metadata.name}`) as unknown as Record<string, unknown>;
    })
    .filter((event) => (event as unknown) !== undefined);

describe('EventRecorder', () => {
  it('writes what kubectl describe shows', async () => {
    recorder.record(project('p'), 'Warning', 'FailedScheduling', '0/3 hosts fit');
    await recorder.flush();
    expect(stored()).toHaveLength(1);
    expect(stored()[0]).toMatchObject({
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { namespace: 'a' },
      involvedObject: { kind: 'Project', name: 'p', namespace: 'a', uid: 'uid-p' },
      type: 'Warning',
      reason: 'FailedScheduling',
      message: '0/3 hosts fit',
      count: 1,
      source: { component: 'nap-operator', host: 'm1' },
    });
    expect(stored()[0]!['lastTimestamp']).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  });

  it('counts the same event instead of writing it again', async () => {
    for (let i = 0; i < 3; i++) recorder.record(project('p'), 'Normal', 'Scaled', 'to 3');
    recorder.record(project('q'), 'Normal', 'Scaled', 'to 3');
    await recorder.flush();
    recorder.record(project('p'), 'Normal', 'Scaled', 'to 3');
    await recorder.flush();
    expect(stored().map((event) => event['count'])).toEqual([4, 1]);
    expect(fake.requestsOf('PATCH')).toHaveLength(1);
  });

  it('files events of cluster-scoped objects under default', async () => {
    const host: KubeObject = {
      apiVersion: 'nap.dev/v1alpha1',
      kind: 'Host',
      metadata: { name: 'h1' },
    };
    recorder.record(host, 'Warning', 'HostLost', 'lease ran out');
    await recorder.flush();
    expect(fake.requestsOf('POST')[0]!.path).toBe('/api/v1/namespaces/default/events');
  });

  it('writes anew what the server has forgotten', async () => {
    recorder.record(project('p'), 'Normal', 'Scaled', 'to 3');
    await recorder.flush();
    const { metadata } = stored()[0] as unknown as KubeObject;
    fake.remove(`/api/v1/namespaces/a/events/${metadata.name}`);
    recorder.record(project('p'), 'Normal', 'Scaled', 'to 3');
    await recorder.flush();
    expect(fake.read(`/api/v1/namespaces/a/events/${metadata.name}`)?.['count']).toBe(2);
  });

  it('lets no object flood the server', async () => {
    for (let i = 0; i < 200; i++) recorder.record(project('p'), 'Warning', 'Exited', `code ${i}`);
    recorder.record(project('q'), 'Normal', 'Scaled', 'to 3');
    await recorder.flush();
    expect(fake.requestsOf('POST')).toHaveLength(26);
    expect(recorder.dropped).toBe(175);
  });

  it('neither throws nor blocks when the server is gone or refuses, and delivers when it is back', async () => {
    fake.fault((_request, response) => {
      fail(response, 403, 'Forbidden');
      return true;
    });
    recorder.record(project('p'), 'Normal', 'A', 'refused');
    await recorder.flush();
    expect(recorder.dropped).toBe(1);
    await fake.stop();
    recorder.record(project('p'), 'Normal', 'B', 'late');
    await fake.listen();
    await recorder.flush();
    await eventually('delivery', () => stored().some((event) => event['message'] === 'late'));
  });

  it('keeps messages to a length that servers take', async () => {
    recorder.record(project('p'), 'Warning', 'Pulled', 'x'.repeat(5000));
    await recorder.flush();
    expect((stored()[0]!['message'] as string).length).toBe(1024);
  });

  it('close gives up on a server that does not answer', async () => {
    fake.fault(() => true, 10);
    recorder.record(project('p'), 'Normal', 'A', 'lost');
    await eventually('the request', () => fake.requests.length === 1);
    await recorder.close(1_000);
    recorder.record(project('p'), 'Normal', 'B', 'after');
    await recorder.flush();
    expect(fake.requests).toHaveLength(1);
  });
});
