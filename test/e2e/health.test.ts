import { describe, expect, test } from 'vitest';
import {
  box,
  cleansUp,
  conditions,
  containerOf,
  eventually,
  holds,
  instances,
  kubectl,
  plane,
  project,
  resolve,
  settles,
} from './harness.ts';

const page = 'mkdir -p /www; echo ok >/www/healthz; exec httpd -f -p 80 -h /www';
const intervalMs = 1000;

/** Less than a second is promised; the rest is for those who look. */
const soonMs = 5_000;

const directoryOf = (service: string): string => `/services/default/sick/${service}/`;

/** In which revision the endpoint of an instance was made: another one, if it was gone in between. Undefined: it is gone. */
async function madeAt(service: string, ordinal: number): Promise<number | undefined> {
  const key = `${directoryOf(service)}${ordinal}`;
  const text = await plane.etcdctl('get', key, '--write-out', 'json');
  return (JSON.parse(text) as { kvs?: { create_revision: number }[] }).kvs?.[0]?.create_revision;
}

/** What the registry says where others read it: `/services/<ns>/<project>/<service>/`. */
async function endpoints(service: string): Promise<Record<string, unknown>[]> {
  const paths = await plane.keys(directoryOf(service));
  const texts = await Promise.all(
    paths.map((path) => plane.etcdctl('get', path, '--print-value-only')),
  );
  return texts
    .filter((text) => text.trim() !== '')
    .map((text) => JSON.parse(text) as Record<string, unknown>);
}

interface EventList {
  readonly items: readonly { readonly reason: string; readonly message: string }[];
}

async function eventsOf(service: string): Promise<string[]> {
  const text = await kubectl.run(
    ...['get', 'events', '--field-selector', `involvedObject.name=sick-${service}`, '-o', 'json'],
  );
  const { items } = JSON.parse(text) as EventList;
  return items.map(({ reason, message }) => `${reason} ${message}`);
}

describe('an instance is sent work only while its health check passes', () => {
  cleansUp('sick');

  test('Ready waits for the checks', async () => {
    const manifest = project('sick', {
      web: {
        replicas: 2,
        command: ['sh', '-c', page],
        ports: ['80'],
        healthCheck: {
          http: { port: 80, path: '/healthz' },
          interval: `${intervalMs}ms`,
          retries: 1,
          unhealthyAction: 'none',
        },
        placement: { strategy: 'spread' },
      },
      client: { command: ['sleep', '100000'] },
      cured: {
        command: ['sh', '-c', 'rm -rf /www; mkdir /www; exec httpd -f -p 81 -h /www'],
        healthCheck: { exec: { command: ['sh', '-c', '[ ! -e /sick ]'] }, interval: '500ms' },
      },
      never: {
        command: ['sleep', '100000'],
        healthCheck: { tcp: { port: 82 }, interval: '500ms', retries: 2, unhealthyAction: 'none' },
      },
      loops: {
        command: ['sh', '-c', 'exit 4'],
        restart: 'on-failure',
        restartSec: '200ms',
        startLimit: { burst: 3, interval: '5m' },
      },
    });
    await kubectl.apply(manifest);
    await eventually('there are services', async () => (await instances('sick-web')).length === 2);
    await kubectl.wait('napsvc/sick-web', 'Ready', 90);
    await kubectl.wait('napsvc/sick-cured', 'Ready', 90);
    const listed = await endpoints('web');
    expect(listed).toHaveLength(2);
    for (const endpoint of listed) {
      expect(endpoint).toMatchObject({ port: 80, ports: [{ port: 80, protocol: 'tcp' }] });
      expect(endpoint['ipv4_addr']).toMatch(/^10\.77\./);
      expect(endpoint['host']).toMatch(/^h[123]$/);
    }
  });

  test('one whose check never passes is never sent any, and says why', async () => {
    await settles('never is unhealthy', async () => {
      const [never] = await instances('sick-never');
      expect(never).toMatchObject({ ready: false, health: 'unhealthy', reason: 'Unhealthy' });
      expect(never?.message).toBe('port 82: connection refused');
    });
    expect(await endpoints('never')).toEqual([]);
    const ready = (await conditions('project/sick'))['Ready'];
    expect(ready).toMatchObject({ status: 'False' });
  });

  test('a failing check takes the endpoint and the name at once; a passing one brings them back', async () => {
    const web = await containerOf('sick', 'web', 1);
    const client = await containerOf('sick', 'client', 1);
    const addresses = await resolve(client, 'tasks.web');
    expect(addresses).toHaveLength(2);
    const [one] = await instances('sick-web');

    await box.exec(web, 'rm', '/www/healthz');
    const removed = performance.now();
    await eventually(
      'one endpoint is left',
      async () => (await endpoints('web')).length === 1,
      soonMs,
    );
    const took = performance.now() - removed;
    // Less than a second after the next check, and what it takes to look (etcdctl, three times), when the machine is idle.
    console.log(
      `failing check -> endpoint gone: ${took.toFixed(0)} ms, at an interval of ${intervalMs} ms`,
    );
    await settles('the name follows', async () => {
      expect(await resolve(client, 'tasks.web')).toEqual(addresses.filter((ip) => ip !== one?.ip));
    });
    await settles('the status follows', async () => {
      const [sick, well] = await instances('sick-web');
      expect(sick).toMatchObject({ ready: false, phase: 'Running', health: 'unhealthy', flaps: 1 });
      expect(sick?.message).toBe('GET :80/healthz: status 404');
      expect(well).toMatchObject({ ready: true, health: 'healthy' });
    });
    await holds(async () => {
      expect((await containerOf('sick', 'web', 1)).id).toBe(web.id);
    }, 2000);

    await box.exec(web, 'sh', '-c', 'echo ok >/www/healthz');
    await settles('it is back', async () => {
      expect(await resolve(client, 'tasks.web')).toEqual(addresses);
    });
    await kubectl.wait('napsvc/sick-web', 'Ready', 30);
    await settles('both are events', async () => {
      const events = await eventsOf('web');
      expect(events).toContainEqual(
        expect.stringMatching(/^Unhealthy sick-web-1 on h\d: GET :80\/healthz: status 404$/),
      );
      expect(events).toContainEqual(
        expect.stringMatching(/^Healthy sick-web-1 on h\d is healthy again$/),
      );
    });
  });

  test('a dead container takes its endpoint at once', async () => {
    const web = await containerOf('sick', 'web', 2);
    const before = await madeAt('web', 2);
    expect(before).toBeGreaterThan(0);
    await box.docker(web.host, 'kill', web.id);
    const killed = performance.now();
    // It is started again at once, and may have another one before anybody has looked.
    await eventually(
      'its endpoint is gone, or was',
      async () => (await madeAt('web', 2)) !== before,
      soonMs,
    );
    console.log(`container dead -> endpoint gone: ${(performance.now() - killed).toFixed(0)} ms`);
    await kubectl.wait('napsvc/sick-web', 'Ready', 60);
  });

  test('an unhealthy one is started again, and the event says so', async () => {
    const cured = await containerOf('sick', 'cured', 1);
    // It lies outside of what a restart clears, so the first restart does not help yet.
    await box.exec(cured, 'sh', '-c', 'echo >/sick');
    await settles(
      'it was restarted',
      async () => {
        const [instance] = await instances('sick-cured');
        expect(instance?.restarts).toBeGreaterThan(0);
      },
      60_000,
    );
    expect((await containerOf('sick', 'cured', 1)).id).toBe(cured.id);
    await settles('the restart is an event', async () => {
      expect(await eventsOf('cured')).toContainEqual(
        expect.stringMatching(/^Restarted sick-cured-1 on h\d: it was unhealthy$/),
      );
    });
    await eventually('the cause is taken away', async () => {
      await box.exec(cured, 'rm', '-f', '/sick');
      return true;
    });
    await kubectl.wait('napsvc/sick-cured', 'Ready', 90);
  });

  test('one that starts too often is given up, with the reason', async () => {
    await settles(
      'it is given up',
      async () => {
        const [loops] = await instances('sick-loops');
        expect(loops).toMatchObject({ phase: 'Failed', reason: 'StartLimitHit', restarts: 2 });
        expect(loops?.message).toMatch(/^3 starts within 5m; exited with code 4/);
      },
      60_000,
    );
    const { Ready } = await conditions('napsvc/sick-loops');
    expect(Ready).toMatchObject({ status: 'False', reason: 'StartLimitHit' });
    await settles('it is an event', async () => {
      expect(await eventsOf('loops')).toContainEqual(
        expect.stringMatching(/^StartLimitHit sick-loops-1 on h\d: 3 starts/),
      );
    });
  });

  test('contradictions are refused, with the path', async () => {
    const both = project('both', {
      web: { healthCheck: { http: { port: 80 }, tcp: { port: 80 } } },
    });
    const outcome = await kubectl.tryApply(both);
    expect(outcome.code).not.toBe(0);
    expect(outcome.stderr).toMatch(/healthCheck.*one of http, tcp and exec/s);
  });
});
