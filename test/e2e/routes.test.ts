import { Agent, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { routerServiceSpec } from '../../src/controllers/routes/router-service.ts';
import { output } from '../support/command.ts';
import type { KubeObject } from '../support/kubectl.ts';
import { selfSigned } from '../support/tls.ts';
import {
  box,
  cleansUp,
  conditions,
  containers,
  eventually,
  hosts,
  instances,
  kubectl,
  otherToolsImage,
  project,
  settles,
} from './harness.ts';

/**
 * Says its name; has a stream of events; answers WebSockets on another port. When it is asked to stop it takes no new requests,
 * and finishes those that it has.
 */
const server = `
mkdir -p /www/cgi-bin; hostname >/www/index.html
printf '#!/bin/sh\\nprintf "Content-Type: text/event-stream\\\\r\\\\n\\\\r\\\\n"\\nwhile echo "data: $(hostname)"; do sleep 0.2; done\\n' >/www/cgi-bin/stream
chmod +x /www/cgi-bin/stream
httpd -f -p 8080 -h /www & web=$!
trap 'kill $web; sleep 2; exit 0' TERM
wait $web`;

const web = {
  command: ['sh', '-c', server],
  stopSignal: 'SIGTERM',
  ports: ['8080'],
  healthCheck: { http: { port: 8080 }, interval: '1s' },
  update: { order: 'start-first', parallelism: 2, monitor: '1s' },
};

const routerService: KubeObject = {
  apiVersion: 'nap.dev/v1alpha1',
  kind: 'Service',
  metadata: { name: 'nap-router', namespace: 'nap-system' },
  spec: routerServiceSpec({ image: 'nap-demo/router:1' }),
};

/** @param more a further host of the web service. */
function shop(webSpec: object, more?: string): KubeObject {
  const routes = ['shop.test', ...(more === undefined ? [] : [more])].map((host) => ({ host }));
  return project('shop', {
    web: { ...webSpec, routes },
    ticks: { ...web, routes: [{ host: 'ticks.test', timeout: '5m' }] },
    api: {
      ...web,
      routes: [
        { host: 'shop.test', path: '/api', redirectTo: 'https://api.test' },
        { host: 'secure.test', tls: { secret: 'shop-tls' } },
      ],
    },
  });
}

async function get(
  host: string,
  name: string,
  path = '/',
): Promise<{ status: number; body: string }> {
  const text = await output([
    ...['curl', '--silent', '--show-error', '--max-time', '20', '--header', `Host: ${name}`],
    ...['--write-out', '\n%{http_code}', `http://${box.address(host)}${path}`],
  ]);
  const at = text.lastIndexOf('\n');
  return { status: Number(text.slice(at + 1)), body: text.slice(0, at).trim() };
}

function answers(name: string, status: number, path = '/'): Promise<void> {
  return settles(
    `${name}${path} answers ${status} on every host`,
    async () => {
      for (const host of hosts) expect((await get(host, name, path)).status).toBe(status);
    },
    60_000,
  );
}

/** Requests to all hosts in turn on kept connections, until told to stop. */
function load(name: string) {
  const agent = new Agent({ keepAlive: true, maxSockets: 2 });
  const failures: string[] = [];
  const seen = new Set<string>();
  let done = 0;
  let stopped = false;
  const once = (host: string): Promise<void> =>
    new Promise((resolve) => {
      const fail = (why: string): void => {
        failures.push(`${host}: ${why}`);
        resolve();
      };
      const options = { host: box.address(host), agent, headers: { host: name }, timeout: 30_000 };
      request(options, (response) => {
        let text = '';
        response.on('data', (data: Buffer) => (text += data.toString()));
        response.on('error', (error) => {
          fail(error.message);
        });
        response.on('end', () => {
          done++;
          seen.add(text.trim());
          if (response.statusCode === 200) resolve();
          else fail(`status ${response.statusCode}`);
        });
      })
        .on('timeout', function timeout(this: { destroy(error: Error): void }) {
          this.destroy(new Error('no answer for 30 s'));
        })
        .on('error', (error) => {
          fail(error.message);
        })
        .end();
    });
  const running = Promise.all(
    hosts.map(async (host) => {
      while (!stopped) {
        await once(host);
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }),
  );
  return {
    failures,
    seen,
    done: () => done,
    stop: async () => {
      stopped = true;
      await running;
      agent.destroy();
    },
  };
}

/** A stream of events through a host's router. */
async function openStream(
  host: string,
  name: string,
): Promise<{ lines: string[]; socket: Socket }> {
  const lines: string[] = [];
  const socket = connect(80, box.address(host));
  socket.on('data', (data: Buffer) => lines.push(data.toString())).on('error', () => undefined);
  socket.write(`GET /cgi-bin/stream HTTP/1.1\r\nHost: ${name}\r\n\r\n`);
  await eventually('the stream runs', () => lines.join('').split('data: ').length > 3);
  return { lines, socket };
}

/** Of all containers of the service that run. */
async function ids(): Promise<string[]> {
  const list = await containers('shop', { service: 'web' });
  return list.filter(({ running }) => running).map(({ id }) => id);
}

function readyWebs(service: string): Promise<number> {
  return instances(service).then((list) => list.filter(({ ready }) => ready).length);
}

describe('routes', () => {
  cleansUp('shop', 'rival');
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'nap-routes-'));
  });

  afterAll(async () => {
    await kubectl.run(
      ...[
        'delete',
        'napsvc/nap-router',
        '-n',
        'nap-system',
        '--ignore-not-found',
        '--timeout=120s',
      ],
    );
    await kubectl.run('delete', 'secret/shop-tls', '--ignore-not-found');
    await rm(directory, { recursive: true });
  });

  test('wait for a router, and say so', async () => {
    await kubectl.apply(shop({ ...web, replicas: 6 }));
    await settles('there is no router', async () => {
      const { Routed } = await conditions('napsvc/shop-web');
      expect(Routed).toMatchObject({ status: 'False', reason: 'NoRouter' });
    });
    await kubectl.apply(routerService);
    await kubectl.wait('project/shop', 'Ready', 120);
    await answers('shop.test', 200);
    await settles('the project has a URL', async () => {
      expect(await kubectl.run('get', 'project', 'shop')).toMatch(/URL.*\n.*http:\/\/shop\.test\//);
    });
  });

  test('a missing Secret, a port that is none, a host that another has: said, and nobody else disturbed', async () => {
    await settles('the Secret is missed', async () => {
      const { Routed, Ready } = await conditions('napsvc/shop-api');
      expect(Routed).toMatchObject({ status: 'False', reason: 'SecretMissing' });
      expect(Routed?.message).toBe('secure.test/ is not served: there is no Secret shop-tls');
      expect(Ready?.status).toBe('True');
    });
    expect((await get('h1', 'shop.test', '/api/x')).status).toBe(308);
    await kubectl.apply(
      project('rival', {
        web: { ...web, routes: [{ host: 'shop.test' }, { host: 'rival.test', path: '/own' }] },
      }),
    );
    await answers('rival.test', 404, '/own/index.html');
    await settles('the rival hears who has it', async () => {
      const { Routed } = await conditions('project/rival');
      expect(Routed).toMatchObject({ status: 'False', reason: 'RouteTaken' });
      expect(Routed?.message).toBe(
        'web: shop.test/ belongs to shop-web in default, which is older',
      );
    });
    expect((await get('h2', 'shop.test')).body).toMatch(/^shop-web-/);
    await kubectl.apply(
      project('rival', { web: { ...web, routes: [{ host: 'r.test', port: 81 }] } }),
    );
    await settles('the port is refused', async () => {
      const { Stalled } = await conditions('project/rival');
      expect(Stalled).toMatchObject({ status: 'True', reason: 'InvalidSpec' });
      expect(Stalled?.message).toMatch(/routes\[0\]\.port.*no TCP port 81: its ports are 8080/);
    });
    const outcome = await kubectl.tryApply(
      project('rival', { web: { ...web, routes: [{ host: 'a b\n server x', path: 'x' }] } }),
    );
    expect(outcome.code).not.toBe(0);
    expect(outcome.stderr).toMatch(/routes\[0\]\.host/);
  });

  test('TLS from a Secret, on every host', async () => {
    const [key, cert] = [join(directory, 'key'), join(directory, 'cert')];
    const made = await selfSigned('secure.test', { type: 'dns', value: 'secure.test' });
    await Promise.all([writeFile(key, made.key), writeFile(cert, made.cert)]);
    await kubectl.run('create', 'secret', 'tls', 'shop-tls', `--cert=${cert}`, `--key=${key}`);
    await answers('secure.test', 308);
    for (const host of hosts) {
      const said = await output([
        ...['curl', '--silent', '--show-error', '--max-time', '20', '--cacert', cert],
        ...['--resolve', `secure.test:443:${box.address(host)}`, '--write-out', '%{http_version}'],
        'https://secure.test/',
      ]);
      expect(said).toBe('shop-api-1\n2');
    }
    await settles('the condition follows', async () => {
      expect((await conditions('project/shop'))['Routed']).toMatchObject({ status: 'True' });
    });
  });

  test('no request is lost while instances are replaced, taken away and added, and routes change; a stream stays open', async () => {
    const { lines, socket } = await openStream('h2', 'ticks.test');
    const working = load('shop.test');
    try {
      const before = new Set(await ids());
      await kubectl.apply(shop({ ...web, image: otherToolsImage, replicas: 6 }, 'more.test'));
      await answers('more.test', 200);
      await settles(
        'all instances are new ones',
        async () => {
          const now = await ids();
          expect(now).toHaveLength(6);
          expect(now.filter((id) => before.has(id))).toEqual([]);
          expect(await readyWebs('shop-web')).toBe(6);
        },
        120_000,
      );
      for (const replicas of [2, 6]) {
        await kubectl.run('scale', 'napsvc/shop-web', `--replicas=${replicas}`);
        await settles(
          `${replicas} instances are left`,
          async () => {
            expect(await ids()).toHaveLength(replicas);
            expect(await readyWebs('shop-web')).toBe(replicas);
          },
          120_000,
        );
      }
      working.seen.clear();
      await eventually('all six are asked', () => working.seen.size === 6);
    } finally {
      await working.stop();
    }
    expect(working.failures).toEqual([]);
    expect(working.done()).toBeGreaterThan(200);
    lines.length = 0;
    await eventually('the stream goes on', () => lines.length > 2);
    socket.destroy();
  });
});
