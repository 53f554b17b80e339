import { afterEach, describe, expect, it } from 'vitest';
import { startHealthServer, type HealthServer } from './health.ts';
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

describe('the health server', () => {
  it('is alive though not ready, and says what it waits for', async () => {
    server = await startHealthServer({
      port: 0,
      log: silentLogger,
      live: [{ name: 'loop', check: () => undefined }],
      ready: [
        {
          name: 'etcd',
          check: () => {
            throw new Error('no answer from 10.0.0.1');
          },
        },
      ],
    });
    expect(await get('/healthz')).toEqual([200, 'ok']);
    expect(await get('/readyz')).toEqual([
      500,
      '[-]etcd failed: no answer from 10.0.0.1\nfailed\n',
    ]);
    const [, verbose] = await get('/readyz?verbose');
    expect(verbose).toBe('[+]loop ok\n[-]etcd failed: no answer from 10.0.0.1\nfailed\n');
    expect((await get('/elsewhere'))[0]).toBe(404);
    expect((await get('/metrics'))[0]).toBe(404);
    expect((await get('/healthz', 'POST'))[0]).toBe(405);
  });

  it('calls a check that hangs failed', async () => {
    let aborted = false;
    server = await startHealthServer({
      port: 0,
      log: silentLogger,
      live: [
        {
          name: 'stuck',
          check: (signal) =>
            new Promise(() => {
              signal.addEventListener('abort', () => {
                aborted = true;
              });
            }),
        },
      ],
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
    expect(await get('/healthz')).toEqual([500, '[-]stuck failed: no answer in 2000 ms\nfailed\n']);
    expect(aborted).toBe(true);
  });

  it('serves metrics that start at 0 and count passes and reflectors', async () => {
    const metrics = new Metrics(false);
    server = await startHealthServer({ port: 0, log: silentLogger, metrics });
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
  });

  it('says so when its port is taken', async () => {
    server = await startHealthServer({ port: 0, log: silentLogger });
    await expect(startHealthServer({ port: server.port, log: silentLogger })).rejects.toThrow(
      'EADDRINUSE',
    );
  });
});
