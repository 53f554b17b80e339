import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { ExecResult } from '../docker/exec.ts';
import { EngineError } from '../docker/errors.ts';
import { containerProber } from './probe.ts';

const servers: Server[] = [];
const signal = new AbortController().signal;
const target = { containerId: 'c1', address: '127.0.0.1' };

afterEach(async () => {
  await Promise.all(servers.splice(0).map((s) => new Promise((resolve) => s.close(resolve))));
});

async function listen(server: Server): Promise<number> {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

const noEngine = {
  exec: () => Promise.reject(new Error('not to be called')),
  isExecRunning: () => Promise.resolve(false),
};

describe('an http check', () => {
  const probe = containerProber(noEngine);
  async function ask(listener: RequestListener, timeoutMs = 20_000) {
    const server = createHttpServer(listener);
    const port = await listen(server);
    const result = await probe(
      { type: 'http', port, path: '/healthz?a=b' },
      target,
      timeoutMs,
      signal,
    );
    server.closeAllConnections();
    return { result, port };
  }

  it.each([200, 204, 301, 399])('passes with status %d', async (status) => {
    const { result } = await ask((_request, response) => response.writeHead(status).end());
    expect(result).toEqual({ type: 'pass' });
  });

  it.each([400, 404, 500, 503])('fails with status %d', async (status) => {
    const { result, port } = await ask((_request, response) => response.writeHead(status).end());
    const message = `GET :${String(port)}/healthz?a=b: status ${String(status)}`;
    expect(result).toEqual({ type: 'fail', message });
  });

  it('asks for the path, and does not wait for a body that never ends', async () => {
    let url: string | undefined;
    const { result } = await ask((request, response) => {
      url = request.url;
      response.writeHead(200).write('x');
    });
    expect(result).toEqual({ type: 'pass' });
    expect(url).toBe('/healthz?a=b');
  });

  it('fails when nothing is answered in time', async () => {
    const { result, port } = await ask(() => undefined, 50);
    expect(result).toEqual({
      type: 'fail',
      message: `GET :${String(port)}/healthz?a=b: no answer in 0.05 s`,
    });
  });

  it('fails when something else than HTTP is spoken', async () => {
    const port = await listen(
      createServer((socket) => {
        socket
          .on('error', () => undefined)
          .resume()
          .end('SSH-2.0-x\r\n');
      }),
    );
    const result = await probe({ type: 'http', port, path: '/' }, target, 1000, signal);
    expect(result.type).toBe('fail');
  });
});

describe('a tcp check', () => {
  const probe = containerProber(noEngine);
  it('passes when the connection is accepted, and fails when it is refused', async () => {
    const server = createServer();
    const port = await listen(server);
    expect(await probe({ type: 'tcp', port }, target, 20_000, signal)).toEqual({ type: 'pass' });
    await new Promise((resolve) => server.close(resolve));
    expect(await probe({ type: 'tcp', port }, target, 20_000, signal)).toEqual({
      type: 'fail',
      message: `port ${String(port)}: connection refused`,
    });
  });

  it('fails without an address, and says nothing when it is broken off', async () => {
    const nowhere = { containerId: 'c1', address: undefined };
    expect((await probe({ type: 'tcp', port: 1 }, nowhere, 1000, signal)).type).toBe('fail');
    const aborted = AbortSignal.abort();
    expect((await probe({ type: 'tcp', port: 1 }, target, 1000, aborted)).type).toBe('unknown');
  });
});

describe('an exec check', () => {
  const results: (ExecResult | Error)[] = [];
  let running = true;
  const probe = containerProber({
    exec: () => {
      const next = results.shift();
      return next instanceof Error || next === undefined
        ? Promise.reject(next ?? new Error())
        : Promise.resolve(next);
    },
    isExecRunning: () => Promise.resolve(running),
  });
  const ask = () => probe({ type: 'exec', command: ['check', '-q'] }, target, 2000, signal);

  it('goes by the exit code, with the first words of the output', async () => {
    results.push(
      { id: '1', exitCode: 0, output: 'fine', tail: '' },
      { id: '2', exitCode: 2, output: 'no\n  way\n', tail: '' },
    );
    expect(await ask()).toEqual({ type: 'pass' });
    expect(await ask()).toEqual({ type: 'fail', message: 'check: exit code 2: no way' });
  });

  it('does not start another program while one has not ended', async () => {
    results.push(
      { id: '1', exitCode: undefined, output: '', tail: '' },
      { id: '2', exitCode: 0, output: '', tail: '' },
    );
    expect(await ask()).toEqual({ type: 'fail', message: 'check: no result in 2 s' });
    expect(await ask()).toEqual({ type: 'fail', message: 'check does not end' });
    expect(results).toHaveLength(1);
    running = false;
    expect(await ask()).toEqual({ type: 'pass' });
  });

  it('says nothing while the engine is away', async () => {
    results.push(new EngineError('EngineUnavailable', 'gone'));
    expect(await ask()).toEqual({ type: 'unknown' });
  });
});
