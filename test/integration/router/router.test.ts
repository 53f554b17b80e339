import { Agent, request } from 'node:http';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  acmeChallengeRecords,
  routeSecretRecords,
  type RouteRecord,
} from '../../../src/registry/records/index.ts';
import { eventually } from '../../support/eventually.ts';
import { output } from '../../support/command.ts';
import { freePorts } from '../../support/free-ports.ts';
import { backend, RouterBench, certificateOf, type Backend } from './harness.ts';

let bench: RouterBench;
let port: number;
const backends: Backend[] = [];

async function serve(ip: string, name: string): Promise<Backend> {
  const made = await backend(ip, port, name);
  backends.push(made);
  return made;
}

function route(host: string, path = '/', more: Partial<RouteRecord> = {}): RouteRecord {
  return { host, path, port, timeoutMs: 60_000, ...more };
}

beforeAll(async () => {
  [port = 0] = await freePorts(1);
  bench = await RouterBench.start();
});

afterAll(async () => {
  await bench.stop();
  await Promise.all(backends.map((each) => each.close()));
});

/** Requests one after the other on several kept connections, until told to stop. */
function load(host: string, connections: number) {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const { httpPort } = bench.place;
  const failures: string[] = [];
  const seen = new Map<string, number>();
  let done = 0;
  let stopped = false;
  const once = (method: string) =>
    new Promise<void>((resolve) => {
      const headers = { host };
      request({ host: '127.0.0.1', port: httpPort, agent, method, headers }, (response) => {
        let text = '';
        response.on('data', (data: Buffer) => (text += data.toString()));
        response.on('end', () => {
          done++;
          if (response.statusCode !== 200) failures.push(`status ${String(response.statusCode)}`);
          const name = text.split(' ')[0] ?? '';
          seen.set(name, (seen.get(name) ?? 0) + 1);
          resolve();
        });
      })
        .on('error', (error) => {
          failures.push(error.message);
          resolve();
        })
        .end();
    });
  const running = Promise.all(
    Array.from({ length: connections }, async (_, i) => {
      while (!stopped) await once(i % 4 === 0 ? 'POST' : 'GET');
    }),
  );
  return {
    failures,
    seen,
    get done() {
      return done;
    },
    stop: async () => {
      stopped = true;
      await running;
      agent.destroy();
    },
  };
}

describe('a real HAProxy, configured by the keeper', () => {
  test('brings requests to the service whose host and path fit best', async () => {
    const [web, api, wild] = [
      await serve('127.0.1.1', 'web'),
      await serve('127.0.1.2', 'api'),
      await serve('127.0.1.3', 'wild'),
    ];
    await bench.endpoint('web', 1, web);
    await bench.endpoint('api', 1, api);
    await bench.endpoint('wild', 1, wild);
    await bench.routes('web', [route('shop.test')]);
    await bench.routes('api', [route('shop.test', '/api'), route('shop.test', '/api/v2')]);
    await bench.routes('wild', [route('*.shop.test'), route('*', '/any')]);
    await bench.answers('shop.test', 200);
    await bench.answers('x.shop.test', 200);
    const who = async (host: string, path: string): Promise<string> => {
      const { status, body } = await bench.get(host, path);
      return status === 200 ? (body.split(' ')[0] ?? '') : String(status);
    };
    expect(await who('shop.test', '/')).toBe('web');
    expect(await who('SHOP.test:80', '/apix')).toBe('web');
    expect(await who('shop.test.', '/api')).toBe('api');
    expect(await who('shop.test', '/api/v2/x?y=/../z')).toBe('api');
    expect(await who('shop.test', '//%61pi/')).toBe('api');
    expect(await who('a.shop.test', '/api')).toBe('wild');
    expect(await who('a.b.shop.test', '/api')).toBe('404');
    expect(await who('else', '/any/thing')).toBe('wild');
    expect(await who('else', '/')).toBe('404');
    expect(await who('shop.test', '/x/../api')).toBe('400');
    expect(await who('shop.test', '/x/%2e%2e/api')).toBe('400');
    expect(await who('shop.test/any', '/')).toBe('400');
  });

  test('says who asked, and believes nobody else about it', async () => {
    const [web] = backends;
    await bench.get('shop.test', '/who', '--header', 'X-Forwarded-For: 1.2.3.4');
    expect(web?.requests.at(-1)).toMatchObject({
      host: 'shop.test',
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'http',
      'x-forwarded-host': 'shop.test',
    });
  });

  test('instances come and go without a new configuration, and no request is lost', async () => {
    const { reloads } = bench;
    const working = load('shop.test', 4);
    const more: Backend[] = [];
    for (let i = 2; i <= 4; i++) {
      const next = await serve(`127.0.1.${String(10 + i)}`, `web${String(i)}`);
      more.push(next);
      await bench.endpoint('web', i, next);
      await eventually(`web${String(i)} is asked`, () => working.seen.has(`web${String(i)}`));
    }
    for (const [i, gone] of more.entries()) {
      await bench.endpoint('web', i + 2, undefined);
      // As an agent does: it leaves the registry, and is stopped when the router sends to it no more.
      await eventually(`web${String(i + 2)} is asked no more`, async () => {
        const [before, { done }] = [working.seen.get(`web${String(i + 2)}`), working];
        await eventually('others are asked', () => working.done > done + 100);
        return working.seen.get(`web${String(i + 2)}`) === before;
      });
      await gone.close();
    }
    await working.stop();
    expect(working.failures).toEqual([]);
    expect(working.done).toBeGreaterThan(100);
    expect(bench.reloads).toBe(reloads);
  });

  test('streams and WebSockets outlive changes of instances and new configurations, under load', async () => {
    const other = await serve('127.0.1.20', 'other');
    const lines: string[] = [];
    const { httpPort } = bench.place;
    const socket = connect(httpPort, '127.0.0.1');
    let ended = false;
    socket.on('close', () => (ended = true)).on('error', () => undefined);
    socket.on('data', (data: Buffer) => lines.push(data.toString()));
    socket.write(
      'GET /ws HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n',
    );
    await eventually('the socket is open', () => lines.join('').includes('101 Switching'));
    let streamed = 0;
    const stream = request(
      { host: '127.0.0.1', port: httpPort, path: '/stream', headers: { host: 'shop.test' } },
      (response) => {
        response.on('data', () => streamed++).on('error', () => undefined);
        response.on('close', () => (ended = true));
      },
    ).on('error', () => undefined);
    stream.end();
    await eventually('the stream runs', () => streamed > 2);

    const { reloads } = bench;
    const working = load('shop.test', 4);
    for (let round = 1; round <= 3; round++) {
      await bench.routes('extra', [route(`extra${String(round)}.test`)]);
      await bench.endpoint('extra', 1, other);
      await bench.answers(`extra${String(round)}.test`, 200);
      await bench.endpoint('web', 2, round % 2 === 1 ? other : undefined);
    }
    await bench.endpoint('web', 2, undefined);
    await bench.endpoint('web', 1, other);
    await eventually('the other one is asked', () => (working.seen.get('other') ?? 0) > 20);
    await working.stop();
    expect(bench.reloads).toBeGreaterThanOrEqual(reloads + 3);
    expect(working.failures).toEqual([]);

    const before = streamed;
    lines.length = 0;
    socket.write('hello');
    await eventually('the socket answers', () => lines.join('') === 'web:hello');
    await eventually('the stream goes on', () => streamed > before + 2);
    expect(ended).toBe(false);
    socket.destroy();
    stream.destroy();
    await bench.endpoint('web', 1, backends[0]);
  });

  test('TLS by name with HTTP/2, redirects, passwords and sizes', async () => {
    const { httpPort, httpsPort } = bench.place;
    const [certificate, users] = ['a'.repeat(64), 'b'.repeat(64)];
    await bench.secret(certificate, await certificateOf('tls.test'));
    const hash = (await output(['openssl', 'passwd', '-5', '-salt', 'salt', 'open sesame'])).trim();
    await bench.secret(users, `# staff\nali:${hash}\n`);
    await bench.routes('secure', [
      route('tls.test', '/', { tls: { certificate, redirect: true } }),
      route('old.test', '/', { port: undefined, redirectTo: 'https://tls.test' }),
      route('staff.test', '/', { users }),
      route('small.test', '/', { maxBodyBytes: 10 }),
    ]);
    await bench.endpoint('secure', 1, backends[0]);
    await bench.answers('staff.test', 401);
    // A password is asked for without an instance, too.
    await bench.answers('small.test', 200);
    const secure = ['--insecure', '--resolve', `tls.test:${String(httpsPort)}:127.0.0.1`];
    expect(
      await bench.curl(
        ...[
          ...secure,
          '--write-out',
          ' %{http_version}',
          `https://tls.test:${String(httpsPort)}/x`,
        ],
      ),
    ).toBe('web GET /x 2');
    expect(backends[0]?.requests.at(-1)).toMatchObject({ 'x-forwarded-proto': 'https' });
    expect((await bench.get('tls.test', '/x?y')).status).toBe(308);
    const location = await bench.curl(
      ...['--output', '/dev/null', '--write-out', '%{redirect_url}', '--header', 'Host: old.test'],
      `http://127.0.0.1:${String(httpPort)}/x?y=1`,
    );
    expect(location).toBe('https://tls.test/x?y=1');
    const user = ['--user', 'ali:open sesame'];
    expect((await bench.get('staff.test', '/', ...user)).status).toBe(200);
    expect((await bench.get('staff.test', '/', '--user', 'ali:no')).status).toBe(401);
    expect((await bench.get('small.test', '/', '--data', '1234567890')).status).toBe(200);
    expect((await bench.get('small.test', '/', '--data', '12345678901')).status).toBe(413);
    const chunked = ['--header', 'Transfer-Encoding: chunked', '--data', '1'];
    expect((await bench.get('small.test', '/', ...chunked)).status).toBe(411);
  });

  test('a certificate that the router refuses holds up nobody else', async () => {
    const bad = 'c'.repeat(64);
    await bench.secret(bad, 'no certificate\n');
    await bench.routes('bad', [
      route('bad.test', '/', { tls: { certificate: bad, redirect: true } }),
    ]);
    await bench.routes('good', [route('good.test')]);
    await bench.endpoint('good', 1, backends[0]);
    await bench.answers('good.test', 200);
    expect((await bench.get('bad.test')).status).toBe(404);
    await eventually('the host says so', () =>
      bench.problems().some((problem) => /^RouteRefused: bad.test\//.test(problem)),
    );
    await bench.routes('bad', []);
    await eventually('all is well', () => bench.problems().length === 0);
  });

  test('one that is started anew has its routes at once; the registry may be away', async () => {
    bench.store.disconnect();
    await bench.stopRouter();
    bench.startRouter();
    await bench.answers('shop.test', 200);
    bench.store.reconnect();
    await bench.endpoint('good', 1, undefined);
    await bench.answers('good.test', 503);
  });

  test('answers challenges before redirects and passwords, and says so, without a new configuration', async () => {
    const token = 'Tok_en-1';
    const answer = `${token}.${'t'.repeat(43)}`;
    const path = `/.well-known/acme-challenge/${token}`;
    const key = acmeChallengeRecords.path({ token });
    await bench.secret('c1'.repeat(32), await certificateOf('locked.test'));
    await bench.routes('locked', [
      route('locked.test', '/', { tls: { certificate: 'c1'.repeat(32), redirect: true } }),
    ]);
    await bench.answers('locked.test', 308, path);
    const { reloads } = bench;
    await bench.put(key, JSON.stringify({ host: 'locked.test', keyAuthorization: answer }));
    await eventually('the keeper says so', () => bench.answered.includes(token));
    expect(await bench.get('locked.test', path)).toEqual({ status: 200, body: answer });
    expect((await bench.get('LOCKED.test.', path)).body).toBe(answer);
    // Neither another host nor another token: those are for the routes.
    expect((await bench.get('locked.test', `${path}x`)).status).toBe(308);
    expect((await bench.get('other.test', path)).status).toBe(404);
    // A router that is started anew answers, too.
    await bench.stopRouter();
    await eventually('nothing is said of a router that is away', () => bench.answered.length === 0);
    bench.startRouter();
    await eventually('the keeper says so again', () => bench.answered.includes(token));
    expect((await bench.get('locked.test', path)).body).toBe(answer);
    await bench.put(key, undefined);
    await eventually('it is over', () => bench.answered.length === 0);
    expect((await bench.get('locked.test', path)).status).toBe(308);
    // What somebody has written there by hand, and means something else to HAProxy.
    const evil = { host: 'a.test x', keyAuthorization: 'a\nshow env' };
    await bench.put(acmeChallengeRecords.path({ token: 'evil' }), JSON.stringify(evil));
    await bench.put(key, JSON.stringify({ host: 'locked.test', keyAuthorization: answer }));
    await eventually('only what is one is answered', () => bench.answered.join() === token);
    expect(bench.reloads).toBe(reloads);
  });

  test('another certificate takes the place of one without a gap, in whichever order it is told of', async () => {
    const [old, fresh] = ['d1'.repeat(32), 'd2'.repeat(32)];
    const secret = (hash: string): string => routeSecretRecords.path({ host: 'h1', hash });
    const { httpsPort } = bench.place;
    const serial = async (): Promise<string> => {
      const at = ['-connect', `127.0.0.1:${String(httpsPort)}`, '-servername', 'renewed.test'];
      const command = `openssl s_client ${at.join(' ')} </dev/null 2>&1 | openssl x509 -noout -serial`;
      return (await output(['sh', '-c', command])).trim();
    };
    await bench.secret(old, await certificateOf('renewed.test'));
    const show = (certificate: string): Promise<void> =>
      bench.routes('renewed', [
        route('renewed.test', '/', { tls: { certificate, redirect: true } }),
      ]);
    await show(old);
    await bench.answers('renewed.test', 308);
    const before = await serial();
    const { reloads } = bench;
    // The old one is gone before the route is told of that names the new one, and that is here last.
    await bench.put(secret(old), undefined);
    await show(fresh);
    const end = performance.now() + 1_500;
    while (performance.now() < end) {
      expect(await serial()).toBe(before);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    await bench.secret(fresh, await certificateOf('renewed.test'));
    await eventually('the new one is shown', async () => (await serial()) !== before);
    expect(bench.reloads).toBe(reloads + 1);
  });
});
