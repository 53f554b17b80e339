import { createHash } from 'node:crypto';
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RouterFiles } from '../../../src/agent/router/router-files.ts';
import { RouterKeeper } from '../../../src/agent/router/router-keeper.ts';
import { renderRouter, type RouterPlace } from '../../../src/network/haproxy/config.ts';
import { routerModel } from '../../../src/network/haproxy/model.ts';
import { MemoryStore } from '../../../src/registry/memory/store.ts';
import {
  endpointRecords,
  routeRecords,
  routeSecretRecords,
  type RouteRecord,
} from '../../../src/registry/records/index.ts';
import { generateHostKey, keyFingerprint, seal } from '../../../src/registry/seal.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/telemetry/log.ts';
import { output, run } from '../../support/command.ts';
import { eventually } from '../../support/eventually.ts';
import { freePorts } from '../../support/free-ports.ts';
import { selfSigned } from '../../support/tls.ts';

const host = 'h1';

/** HAProxy as it is installed here, with a keeper and a registry in this process. */
export class RouterBench {
  readonly store = new MemoryStore();
  readonly files: RouterFiles;
  readonly place: RouterPlace;
  readonly #key = generateHostKey();
  readonly #stop = new AbortController();
  #keeper: RouterKeeper | undefined;
  #running: Promise<void> | undefined;
  #haproxy: ChildProcess | undefined;
  said = '';
  /** Challenges that the keeper says are answered. */
  answered: readonly string[] = [];

  private constructor(directory: string, ports: readonly number[]) {
    this.files = new RouterFiles(directory);
    const [httpPort = 0, httpsPort = 0, healthPort = 0] = ports;
    this.place = { directory, httpPort, httpsPort, healthPort };
  }

  static async start(): Promise<RouterBench> {
    const directory = await mkdtemp(join(tmpdir(), 'nap-router-'));
    const bench = new RouterBench(directory, await freePorts(3));
    const none = routerModel([], () => undefined);
    await bench.files.prepare(renderRouter(none, () => ({ addresses: [], slots: 0 }), bench.place));
    bench.startRouter();
    bench.startKeeper();
    return bench;
  }

  startRouter(): void {
    const args = ['-W', '-db', '-S', `${this.files.socket},mode,600`];
    const child = spawn('haproxy', [...args, '-f', join(this.files.directory, 'haproxy.cfg')]);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => (this.said += text));
    }
    this.#haproxy = child;
    this.#keeper?.changed();
  }

  async stopRouter(): Promise<void> {
    const child = this.#haproxy;
    this.#haproxy = undefined;
    this.#keeper?.changed();
    if (child === undefined || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    await ended;
  }

  /** @param check in place of HAProxy's own. */
  startKeeper(): void {
    const { store, files, place } = this;
    this.#keeper = new RouterKeeper({
      ...{ host, store, files, place },
      key: this.#key,
      wanted: () => true,
      container: () => (this.#haproxy === undefined ? undefined : 'here'),
      check: async (_container, file) => {
        const { code, stderr } = await run(['haproxy', '-c', '-f', join(files.directory, file)]);
        return code === 0 ? undefined : stderr;
      },
      clock: systemClock,
      log: silentLogger,
      onProblems: () => undefined,
      onAnswered: (tokens) => (this.answered = tokens),
    });
    this.#running = this.#keeper.run(this.#stop.signal);
  }

  problems(): readonly string[] {
    return this.#keeper?.problems() ?? [];
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    await this.stopRouter();
    await rm(this.files.directory, { recursive: true, force: true });
  }

  async routes(service: string, routes: readonly RouteRecord[]): Promise<void> {
    const key = routeRecords.path({ namespace: 'default', project: 'shop', service });
    await this.put(
      key,
      routes.length === 0 ? undefined : routeRecords.encode({ routes: [...routes] }),
    );
  }

  async secret(hash: string, text: string): Promise<void> {
    const key = routeSecretRecords.path({ host, hash });
    const { publicKey } = this.#key;
    const sealed = seal(publicKey, key, text);
    const value = { recipient: keyFingerprint(publicKey), sealed };
    await this.put(key, routeSecretRecords.encode(value));
  }

  /** An instance serves, or does not. */
  async endpoint(service: string, ordinal: number, at: Backend | undefined): Promise<void> {
    const path = { namespace: 'default', project: 'shop', service, ordinal: String(ordinal) };
    await this.put(
      endpointRecords.path(path),
      at &&
        endpointRecords.encode({
          host,
          ipv4_addr: at.ip,
          ports: [{ port: at.port, protocol: 'tcp' }],
        }),
    );
  }

  async put(key: string, value: string | undefined): Promise<void> {
    await this.store.commit(
      [],
      [value === undefined ? { type: 'delete', key } : { type: 'put', key, value }],
    );
  }

  /** curl against the router. */
  async curl(...args: readonly string[]): Promise<string> {
    return output(['curl', '--silent', '--show-error', '--max-time', '20', ...args]);
  }

  /** Status and body of a plain request with a Host header. */
  async get(
    name: string,
    path = '/',
    ...args: readonly string[]
  ): Promise<{ status: number; body: string }> {
    const url = `http://127.0.0.1:${this.place.httpPort}${path}`;
    const text = await this.curl(
      ...['--path-as-is', '--header', `Host: ${name}`, '--write-out', '\n%{http_code}', ...args],
      url,
    );
    const at = text.lastIndexOf('\n');
    return { status: Number(text.slice(at + 1)), body: text.slice(0, at) };
  }

  async answers(name: string, status: number, path = '/'): Promise<void> {
    await eventually(`${name}${path} answers ${status}`, async () => {
      return (await this.get(name, path)).status === status;
    });
  }

  /** How many times a new configuration was loaded. */
  get reloads(): number {
    return this.said.split('Reloading HAProxy').length - 1;
  }
}

/** A server that says its name, and what it was asked. */
export interface Backend {
  readonly ip: string;
  readonly port: number;
  readonly requests: IncomingMessage['headers'][];
  close(): Promise<void>;
}

/** All backends of a service have one port, so each has an address of its own. */
export async function backend(ip: string, port: number, name: string): Promise<Backend> {
  const requests: IncomingMessage['headers'][] = [];
  const server: Server = createServer((request, response) => {
    requests.push(request.headers);
    if (request.url === '/stream') {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const timer = setInterval(() => response.write(`data: ${name}\n\n`), 50);
      response.on('close', () => {
        clearInterval(timer);
      });
      return;
    }
    request.resume().on('end', () => response.end(`${name} ${request.method} ${request.url}`));
  });
  server.on('upgrade', (request: IncomingMessage, socket: Socket) => {
    socket.write(
      [
        'HTTP/1.1 101 Switching Protocols',
        'Upgrade: websocket',
        'Connection: Upgrade',
        `Sec-WebSocket-Accept: ${acceptOf(request.headers['sec-websocket-key'] ?? '')}`,
        '\r\n',
      ].join('\r\n'),
    );
    socket.on('data', (data) => socket.write(`${name}:${data.toString()}`));
    socket.on('error', () => undefined).on('end', () => socket.end());
  });
  await new Promise<void>((resolve) => server.listen(port, ip, resolve));
  return {
    ip,
    port: (server.address() as AddressInfo).port,
    requests,
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeIdleConnections();
      }),
  };
}

/** RFC 6455, 4.2.2. */
function acceptOf(key: string): string {
  return createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
}

/** A certificate of its own making for a host, with its key, in one PEM text, as HAProxy reads it. */
export async function certificateOf(host: string): Promise<string> {
  const { cert, key } = await selfSigned(host, { type: 'dns', value: host });
  return `${cert.trim()}\n${key.trim()}\n`;
}
