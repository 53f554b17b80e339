import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KubeClient } from '../../../src/kube/client.ts';
import { KubeConfig } from '../../../src/kube/config.ts';
import { Informer, type Change, type InformerOptions } from '../../../src/kube/informer.ts';
import { configMaps, type ConfigMap } from '../../../src/kube/resources.ts';
import { byLabel } from '../../../src/kube/store.ts';
import { systemClock, type Clock } from '../../../src/runtime/clock.ts';
import { createLogger } from '../../../src/telemetry/log.ts';
import { eventually } from '../../support/eventually.ts';
import { fail, FakeKube, type Fault } from '../../support/fake-kube.ts';
import { fastClock } from '../../support/fast-clock.ts';
import { TcpProxy } from '../../support/tcp-proxy.ts';

const path = (name: string): string => `/api/v1/namespaces/a/configmaps/${name}`;

let fake: FakeKube;
let proxy: TcpProxy;
let config: KubeConfig;
let stop: AbortController;
let ended: Promise<void>[];
/** Lines logged at warn and above. */
let lines: string[];
/** Reasons of failures, as the observer heard them. */
let failures: string[];

beforeEach(async () => {
  fake = await FakeKube.start();
  proxy = await TcpProxy.start('127.0.0.1', fake.port);
  config = KubeConfig.fromString(fake.kubeconfig(proxy.port), { insecureLoopback: true });
  stop = new AbortController();
  ended = [];
  lines = [];
  failures = [];
});

afterEach(async () => {
  stop.abort(new Error('test over'));
  await Promise.all(ended);
  await config.close();
  await proxy.close();
  await fake.stop();
});

function start(options: Partial<InformerOptions<ConfigMap>> = {}) {
  const informer = new Informer(new KubeClient(config, { timeoutMs: 2_000 }), configMaps, {
    log: createLogger('warn', { write: (line) => lines.push(line) }),
    observer: {
      listed: () => undefined,
      watchStarted: () => undefined,
      synced: () => undefined,
      failed: (_resource, reason) => failures.push(reason),
    },
    ...options,
  });
  const changes: string[] = [];
  informer.onChange((change: Change<ConfigMap>) => changes.push(`${change.type} ${change.key}`));
  ended.push(informer.run(stop.signal));
  return { informer, changes };
}

/** Started, filled and watching. */
async function settled(options: Partial<InformerOptions<ConfigMap>> = {}) {
  const started = start(options);
  await started.informer.waitForSync(stop.signal);
  await eventually('a watch', () => fake.watches === 1);
  return started;
}

const has = (informer: Informer<ConfigMap>, name: string): boolean =>
  informer.store.getByKey(`a/${name}`) !== undefined;

const onWatch =
  (answer: Fault): Fault =>
  (request, response) =>
    request.query.has('watch') && answer(request, response);

const onList =
  (answer: Fault): Fault =>
  (request, response) =>
    !request.query.has('watch') && answer(request, response);

const refuse =
  (code: number, reason: string): Fault =>
  (_request, response) => {
    fail(response, code, reason);
    return true;
  };

describe('Informer', () => {
  it('is filled page by page, then follows every change, and tells each once', async () => {
    for (const name of ['x', 'y', 'z']) fake.put(path(name));
    const { informer, changes } = await settled({ pageSize: 2, indexes: { app: byLabel('app') } });
    expect(changes).toEqual(['added a/x', 'added a/y', 'added a/z']);
    fake.put(path('y'), { metadata: { labels: { app: 'web' } } });
    fake.remove(path('x'));
    fake.put(path('new'));
    await eventually('the changes', () => changes.length === 6);
    expect(changes.slice(3)).toEqual(['updated a/y', 'deleted a/x', 'added a/new']);
    expect(informer.store.byIndex('app', 'web').map((o) => o.metadata.name)).toEqual(['y']);
    expect(informer.store.getByKey('a/new')).toMatchObject({ apiVersion: 'v1', kind: 'ConfigMap' });
    expect([informer.hasSynced, informer.problem]).toEqual([true, undefined]);
  });

  it('asks for bookmarks and a bounded watch, and goes on from a bookmark', async () => {
    await settled();
    fake.put('/api/v1/namespaces/a/secrets/unrelated');
    fake.bookmark();
    const version = String(fake.version);
    fake.endWatches();
    const second = await eventually('a second watch', () => fake.requestsOf('GET', true)[1]);
    expect(second.query.get('resourceVersion')).toBe(version);
    expect(second.query.get('allowWatchBookmarks')).toBe('true');
    expect(Number(second.query.get('timeoutSeconds'))).toBeGreaterThanOrEqual(300);
    expect(Number(second.query.get('timeoutSeconds'))).toBeLessThanOrEqual(600);
    expect(fake.requestsOf('GET')).toHaveLength(1);
  });

  it('survives a 503 on the list and on the watch', async () => {
    fake.fault(onList(refuse(503, 'ServiceUnavailable')));
    fake.fault(onWatch(refuse(503, 'ServiceUnavailable')));
    const { informer } = start();
    await eventually('both failures', () => failures.length === 2);
    fake.put(path('x'));
    await eventually('recovery', () => has(informer, 'x'));
    expect(failures).toEqual(['ServiceUnavailable', 'ServiceUnavailable']);
  });

  it('is back within two seconds after the API server was', async () => {
    fake.put(path('gone'));
    // What it waits between tries, whatever this machine adds to that.
    const waits: number[] = [];
    const clock: Clock = {
      ...systemClock,
      schedule: (callback, delayMs) => {
        waits.push(delayMs);
        return systemClock.schedule(callback, delayMs);
      },
    };
    const { informer, changes } = await settled({ clock, random: () => 0.99 });
    waits.length = 0;
    await fake.stop();
    await eventually('some tries', () => failures.length >= 5);
    expect(informer.store.size).toBe(1);
    expect(informer.problem?.code).toBe(0);
    // Beside them there is the patience of each try to watch, over a minute.
    const between = waits.filter((ms) => ms < 60_000);
    expect(between.length).toBeGreaterThanOrEqual(4);
    expect(Math.max(...between)).toBeLessThanOrEqual(2_000);
    fake.put(path('x'));
    fake.remove(path('gone'));
    await fake.listen();
    await eventually('recovery', () => has(informer, 'x') && !has(informer, 'gone'));
    expect(changes).toContain('deleted a/gone');
    expect(informer.problem).toBeUndefined();
  });

  it.each(['status', 'event'] as const)(
    'lists again when its version is too old, told by %s, and tells of what vanished',
    async (how) => {
      fake.goneAs = how;
      fake.put(path('gone'));
      const { informer, changes } = await settled();
      fake.silently(() => {
        fake.put(path('x'));
        fake.remove(path('gone'));
      });
      fake.compact();
      fake.endWatches();
      await eventually('a fresh list', () => has(informer, 'x'));
      expect(changes).toEqual(['added a/gone', 'added a/x', 'deleted a/gone']);
      expect(lines).toEqual([]);
    },
  );

  it('does not swallow an error inside the watch that is no 410', async () => {
    const { informer } = await settled();
    const object = { kind: 'Status', status: 'Failure', code: 500, reason: 'InternalError' };
    fake.writeRaw(`${JSON.stringify({ type: 'ERROR', object })}\n`);
    await eventually('the failure', () => failures.includes('InternalError'));
    fake.put(path('x'));
    await eventually('recovery', () => has(informer, 'x'));
  });

  it.each([
    ['no JSON', '{"type":"ADDED","object"\n'],
    ['JSON that is no event', '[1,2]\n'],
    ['an unknown type', '{"type":"MOVED","object":{"metadata":{"resourceVersion":"1"}}}\n'],
    ['an object without a version', '{"type":"ADDED","object":{"metadata":{"name":"x"}}}\n'],
  ])('lists again after a line that is %s', async (_what, line) => {
    const { informer } = await settled();
    fake.silently(() => {
      fake.put(path('x'));
    });
    fake.writeRaw(line);
    await eventually('a fresh list', () => has(informer, 'x'));
    expect(failures).toEqual(['Unreadable']);
  });

  it('loses nothing when the connection is cut in the middle of an event', async () => {
    const { informer } = await settled();
    proxy.limitBytes(100);
    fake.put(path('x'), { data: { text: 'long'.repeat(100) } });
    fake.put(path('y'));
    await eventually('recovery', () => has(informer, 'x') && has(informer, 'y'));
    expect(failures).toContain('Network');
    expect(fake.requestsOf('GET')).toHaveLength(1);
  });

  it('notices a connection that went silent', async () => {
    const { informer } = await settled({ livenessMs: 200 });
    proxy.stall();
    fake.put(path('x'));
    await eventually('the time-out', () => failures.includes('ClientTimeout'));
    proxy.cut();
    proxy.resume();
    await eventually('recovery', () => has(informer, 'x'));
  });

  it('takes silence for no trouble as long as a new watch opens', async () => {
    const { informer } = await settled({ livenessMs: 1_100 });
    await eventually('a second watch', () => fake.requestsOf('GET', true).length >= 2);
    expect(informer.problem).toBeUndefined();
    expect(fake.requestsOf('GET')).toHaveLength(1);
    expect(lines).toEqual([]);
    await eventually('that the old one is closed', () => fake.watches === 1);
  });

  it('keeps a quiet watch open while bookmarks come', async () => {
    // Long enough for a machine that stands still for a second.
    await settled({ livenessMs: 2_000 });
    for (let i = 0; i < 8; i++) {
      await new Promise((resolve) => setTimeout(resolve, 400));
      fake.bookmark();
    }
    expect(fake.requestsOf('GET', true)).toHaveLength(1);
  });

  it('takes no harm from a handler that throws', async () => {
    const { informer, changes } = start();
    informer.onChange(() => {
      throw new Error('bug in a handler');
    });
    const later: string[] = [];
    informer.onChange((change) => later.push(change.key));
    fake.put(path('x'));
    await eventually('the object', () => changes.length === 1 && later.length === 1);
    fake.put(path('y'));
    await eventually('the next', () => changes.length === 2 && later.length === 2);
    expect(lines.join('')).toContain('bug in a handler');
  });

  it('stops without a trace: no error, no watch left behind', async () => {
    const { informer } = await settled();
    stop.abort(new Error('bye'));
    await Promise.all(ended);
    await eventually('no watch', () => fake.watches === 0);
    fake.put(path('x'));
    expect(has(informer, 'x')).toBe(false);
    expect([lines, failures]).toEqual([[], []]);
  });

  it('stops during the list, and opens no watch after', async () => {
    fake.fault(() => true, 100);
    const { informer } = start();
    await eventually('the list request', () => fake.requests.length === 1);
    const waiting = informer.waitForSync(stop.signal);
    stop.abort(new Error('bye'));
    await Promise.all(ended);
    await expect(waiting).rejects.toThrow('bye');
    expect(fake.requestsOf('GET', true)).toHaveLength(0);
    expect(lines).toEqual([]);
  });

  it('says that it is refused, keeps what it has, and comes back when it is let in', async () => {
    fake.put(path('x'));
    const { informer } = await settled({ clock: fastClock(20) });
    fake.fault(refuse(403, 'Forbidden'), 2);
    fake.endWatches();
    await eventually('the refusal', () => informer.problem?.code === 403);
    expect([informer.hasSynced, informer.store.size]).toEqual([false, 1]);
    fake.put(path('y'));
    await eventually('recovery', () => has(informer, 'y'));
    expect(failures).toEqual(['Forbidden', 'Forbidden']);
  });

  it('keeps what it has when something else answers in the place of the server', async () => {
    fake.put(path('x'));
    const { informer, changes } = await settled();
    fake.fault((_request, response) => {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<h1>please log in</h1>\n');
      return true;
    }, 3);
    fake.endWatches();
    await eventually('the failures', () => failures.length === 3);
    expect(informer.store.size).toBe(1);
    await eventually('recovery', () => informer.problem === undefined);
    expect(changes).toEqual(['added a/x']);
  });

  it('is in sync again after a refusal of the watch alone', async () => {
    const { informer } = await settled({ clock: fastClock(20) });
    fake.fault(onWatch(refuse(403, 'Forbidden')));
    fake.endWatches();
    await eventually('the refusal', () => failures.includes('Forbidden'));
    await eventually('sync', () => informer.hasSynced && informer.problem === undefined);
  });

  it('does not spin when watches end as soon as they begin', async () => {
    fake.fault(
      onWatch((_request, response) => {
        response.writeHead(200, { 'content-type': 'application/json' }).end();
        return true;
      }),
      1000,
    );
    const { informer } = start({ random: () => 0.5 });
    await informer.waitForSync(stop.signal);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(fake.requestsOf('GET', true).length).toBeLessThan(6);
  });

  it('finds by listing now and then what no watch has told', async () => {
    const { informer } = await settled({ relistMs: 1_000, random: () => 0 });
    fake.silently(() => {
      fake.put(path('x'));
    });
    fake.bookmark();
    await eventually('the next full list', () => has(informer, 'x'));
    expect(failures).toEqual([]);
  });

  it('ends with exactly what the server has, however often connections break', async () => {
    const { informer, changes } = await settled({ pageSize: 7 });
    for (let i = 0; i < 1_000; i++) {
      const name = `x${i % 40}`;
      if (i % 7 === 3) fake.remove(path(name));
      else fake.put(path(name), { data: { i: String(i) } });
      if (i % 100 === 50) {
        await eventually('a watch to cut', () => fake.watches === 1);
        proxy.limitBytes(1 + ((i * 37) % 3_000));
      }
      if (i % 400 === 399) fake.compact();
      if (i % 500 === 499) fake.writeRaw('}{\n');
      if (i % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    }
    proxy.limitBytes(Infinity);
    fake.put(path('last'));
    await eventually('the last object', () => has(informer, 'last'), 20_000);
    const state = (version: (name: string) => string | undefined): Record<string, unknown> =>
      Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`x${i}`, version(`x${i}`)]));
    const ours = state((name) => informer.store.getByKey(`a/${name}`)?.metadata.resourceVersion);
    expect(ours).toEqual(state((name) => fake.read(path(name))?.metadata.resourceVersion));
    expect(failures.length).toBeGreaterThan(3);
    // The handlers, too, can rebuild the truth from what they were told.
    const told = new Set<string>();
    for (const change of changes) {
      const [type, key] = change.split(' ') as [string, string];
      if (type === 'deleted') expect(told.delete(key)).toBe(true);
      else told.add(key);
    }
    expect([...told].sort()).toEqual(
      informer.store
        .list()
        .map((o) => `a/${o.metadata.name}`)
        .sort(),
    );
  });
});
