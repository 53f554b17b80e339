import { afterEach, describe, expect, it } from 'vitest';
import { startHealthServer, type HealthServer, type HealthServerOptions } from './health.ts';
import { silentLogger } from './log.ts';
import { Metrics } from './metrics.ts';

let server: HealthServer | undefined;

afterEach(async () => {
  await server?.close();
});

async function get(path: string, method = 'GET'): Promise<[number, string]> {
  const response = await fetch(`http://127.0.0.1:${server!.port}${path}`, { method });
  return [response.status, await response.text()];
}

const metrics = new Metrics();

function serve(over: Partial<HealthServerOptions> = {}): Promise<HealthServer> {
  return startHealthServer({ port: 0, parts: [], metrics, log: silentLogger, ...over });
}

describe('the health server', () => {
  it('is alive though not ready, and says what it waits for', async () => {
    server = await serve({ parts: ['operator', 'agent'] });
    const etcd = {
      name: 'etcd',
      check: () => {
        throw new Error('no answer from 10.0.0.1');
      },
    };
    const ended = server.runs('operator', { ready: [etcd], metrics });
    expect(await get('/healthz')).toEqual([200, 'ok']);
    const failed =
      '[-]agent failed: not running\n[-]etcd failed: no answer from 10.0.0.1\nfailed\n';
    expect(await get('/readyz')).toEqual([500, failed]);
    expect(await get('/readyz?verbose')).toEqual([500, `[+]operator ok\n${failed}`]);
    server.runs('agent', { ready: [], metrics });
    expect((await get('/readyz'))[1]).not.toContain('agent');
    server.runs('operator', { ready: [], metrics });
    // One that has been started again is not ended by the end of the one before.
    ended();
    expect(await get('/readyz')).toEqual([200, 'ok']);
    expect((await get('/elsewhere'))[0]).toBe(404);
    expect((await get('/healthz', 'POST'))[0]).toBe(405);
  });

  it('calls a check that hangs failed', async () => {
    let aborted = false;
    server = await serve({
      clock: {
        now: Date.now,
        monotonic: () => performance.now(),
        schedule: (callback) => {
          const timer = setTimeout(callback, 1);
          return () => {
            clearTimeout(timer);
          };
        },
      },
    });
    const stuck = {
      name: 'stuck',
      check: (signal: AbortSignal) =>
        new Promise<void>(() => {
          signal.addEventListener('abort', () => {
            aborted = true;
          });
        }),
    };
    server.runs('operator', { ready: [stuck], metrics });
    expect(await get('/readyz')).toEqual([500, '[-]stuck failed: no answer in 2000 ms\nfailed\n']);
    expect(aborted).toBe(true);
  });

  it('serves metrics of the process and its parts, which start at 0 and count passes and reflectors', async () => {
    const ofAll = new Metrics();
    ofAll.gauge({ name: 'process_of_all', help: 'A gauge.' }).set(7);
    server = await serve({ metrics: ofAll });
    const ended = server.runs('operator', { ready: [], metrics });
    const controllers = metrics.controllerObserver(['project']);
    const reflectors = metrics.reflectorObserver(['/apis/nap.dev/v1alpha1/projects']);
    expect((await get('/metrics'))[1]).toContain(
      'nap_reconcile_total{controller="project",result="error"} 0',
    );
    controllers.passed('project', 'error', 20);
    controllers.queue('project', 3, 2);
    reflectors.failed('/apis/nap.dev/v1alpha1/projects', 'Network');
    const [status, text] = await get('/metrics');
    expect(status).toBe(200);
    expect(text).toContain('nap_reconcile_total{controller="project",result="error"} 1');
    expect(text).toContain('nap_workqueue_depth{controller="project"} 3');
    expect(text).toContain('nap_reflector_synced{resource="/apis/nap.dev/v1alpha1/projects"} 0');
    expect(text).toContain(
      'nap_reflector_failures_total{resource="/apis/nap.dev/v1alpha1/projects",reason="Network"} 1',
    );
    expect(text).toMatch(/^process_of_all 7$/m);
    ended();
    expect((await get('/metrics'))[1]).not.toContain('nap_reconcile_total');
  });

  it('says so when its port is taken', async () => {
    server = await serve();
    await expect(serve({ port: server.port })).rejects.toThrow('EADDRINUSE');
  });
});
