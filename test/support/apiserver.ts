import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { Agent, request as httpsRequest } from 'node:https';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import {
  startApiServer,
  type ApiServer,
  type ApiServerOptions,
} from '../../src/apiserver/server.ts';
import { MemoryStore } from '../../src/registry/memory/store.ts';
import type { Store } from '../../src/registry/store.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/telemetry/log.ts';
import { selfSigned } from './tls.ts';

/** The CRDs of the repository. */
export function repositoryCrds(): Record<string, unknown>[] {
  const folder = join(import.meta.dirname, '../../crds');
  return readdirSync(folder)
    .filter((name) => name.endsWith('.yaml') && name !== 'kustomization.yaml')
    .map((name) => parse(readFileSync(join(folder, name), 'utf8')) as Record<string, unknown>);
}

/** An API server that tests talk to, wherever it comes from. */
export interface ServerUnderTest {
  readonly kubeconfig: string;
  readonly client: RawClient;
  /** Whether this is the embedded server, so that its own limits and faults can be tested. */
  readonly embedded: boolean;
  close(): Promise<void>;
}

/**
 * The server of KUBECONFIG_UNDER_TEST; without that, an embedded one in memory. It serves nap's CRDs, and no operator acts
 * on it: that would change objects under the tests' hands.
 */
export async function serverUnderTest(): Promise<ServerUnderTest> {
  const kubeconfig = process.env['KUBECONFIG_UNDER_TEST'];
  if (kubeconfig === undefined || kubeconfig === '') return startEmbedded();
  return {
    kubeconfig,
    client: RawClient.fromKubeconfig(kubeconfig),
    embedded: false,
    close: () => Promise.resolve(),
  };
}

export interface EmbeddedServer extends ServerUnderTest {
  readonly store: Store;
  readonly server: ApiServer;
  readonly port: number;
  /** Stops the server and starts it again on the same port and store. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** Starts the embedded server with TLS on a free port and writes a kubeconfig for an administrator. */
export async function startEmbedded(
  options: Partial<ApiServerOptions> & { readonly store?: Store } = {},
): Promise<EmbeddedServer> {
  const folder = await mkdtemp(join(tmpdir(), 'nap-contract-'));
  const pair = await selfSigned('nap-test');
  const store = options.store ?? new MemoryStore();
  // A store with a past: revision 1 is then one that the server cannot know any more.
  for (let i = 0; i < 20; i++) {
    await store.commit([], [{ type: 'put', key: '/contract/past', value: String(i) }]);
  }
  const token = randomBytes(16).toString('hex');
  const start = (port: number): Promise<ApiServer> =>
    startApiServer({
      crds: repositoryCrds(),
      tls: { ca: pair.cert, cert: pair.cert, key: pair.key },
      tokens: [{ token, user: 'admin', groups: ['system:masters'] }],
      log: silentLogger,
      clock: systemClock,
      version: '0.0.0',
      ...options,
      store,
      listen: { host: '127.0.0.1', port },
    });
  let server = await start(0);
  const port = Number(new URL(server.url).port);
  const kubeconfig = join(folder, 'kubeconfig');
  await writeFile(
    kubeconfig,
    stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [
        {
          name: 'test',
          cluster: {
            server: server.url,
            'certificate-authority-data': Buffer.from(pair.cert).toString('base64'),
          },
        },
      ],
      users: [{ name: 'admin', user: { token } }],
      contexts: [{ name: 'test', context: { cluster: 'test', user: 'admin' } }],
      'current-context': 'test',
    }),
  );
  const client = RawClient.fromKubeconfig(kubeconfig);
  return {
    kubeconfig,
    client,
    embedded: true,
    store,
    port,
    get server() {
      return server;
    },
    stop: () => server.close(),
    restart: async () => {
      await server.close();
      server = await start(port);
    },
    close: async () => {
      client.close();
      await server.close();
      if (options.store === undefined) await store.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export interface RawResponse {
  readonly code: number;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
  /** The body as JSON; undefined when it is none. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- tests look into whatever comes back
  readonly body: any;
}

export interface RawRequest {
  readonly body?: unknown;
  /** Sent as it is, instead of `body`. */
  readonly bytes?: Buffer | string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Content-Type of the body. Default application/json; '' sends none. */
  readonly type?: string;
  /** Leave the credentials out. */
  readonly anonymous?: boolean;
}

interface Endpoint {
  readonly url: URL;
  readonly agent: Agent | undefined;
  /** Shows no client certificate. */
  readonly anonymousAgent: Agent | undefined;
  readonly headers: Readonly<Record<string, string>>;
}

/** A plain HTTP client that shows exactly what the server sends: it knows nothing of Kubernetes. */
export class RawClient {
  readonly #endpoint: Endpoint;

  private constructor(endpoint: Endpoint) {
    this.#endpoint = endpoint;
  }

  static fromKubeconfig(path: string): RawClient {
    /* eslint-disable -- a file of known shape */
    const config: any = parse(readFileSync(path, 'utf8'));
    const named = (list: { name: string }[], name: string): never =>
      (list.find((item) => item.name === name) ?? {}) as never;
    const context = (named(config.contexts, config['current-context']) as any).context;
    const cluster = (named(config.clusters, context.cluster) as any).cluster;
    const user = (named(config.users, context.user) as any).user ?? {};
    const data = (member: string, of: any): Buffer | undefined =>
      of[`${member}-data`]
        ? Buffer.from(of[`${member}-data`], 'base64')
        : of[member]
          ? readFileSync(of[member])
          : undefined;
    const url = new URL(cluster.server);
    const agentOf = (credentials: any): Agent | undefined =>
      url.protocol === 'https:'
        ? new Agent({
            keepAlive: true,
            ca: data('certificate-authority', cluster),
            cert: data('client-certificate', credentials),
            key: data('client-key', credentials),
            rejectUnauthorized: cluster['insecure-skip-tls-verify'] !== true,
          })
        : undefined;
    const [agent, anonymousAgent] = [agentOf(user), agentOf({})];
    const headers: Record<string, string> = user.token
      ? { authorization: `Bearer ${user.token}` }
      : {};
    /* eslint-enable */
    return new RawClient({ url, agent, anonymousAgent, headers });
  }

  close(): void {
    this.#endpoint.agent?.destroy();
    this.#endpoint.anonymousAgent?.destroy();
  }

  async request(method: string, path: string, options: RawRequest = {}): Promise<RawResponse> {
    const response = await this.open(method, path, options);
    const chunks: Buffer[] = [];
    for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString();
    let body: unknown;
    try {
      body = JSON.parse(text);
    } catch {
      body = undefined;
    }
    return { code: response.statusCode ?? 0, headers: response.headers, text, body };
  }

  /** Resolves when the headers are there; the body is still to be read. */
  open(method: string, path: string, options: RawRequest = {}): Promise<IncomingMessage> {
    const { url, agent, anonymousAgent } = this.#endpoint;
    const payload =
      options.bytes ?? (options.body === undefined ? undefined : JSON.stringify(options.body));
    const type = options.type ?? 'application/json';
    return new Promise((resolve, reject) => {
      const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
      const request = send(
        {
          protocol: url.protocol,
          hostname: url.hostname,
          port: url.port,
          method,
          path,
          agent: options.anonymous === true ? anonymousAgent : agent,
          headers: {
            accept: 'application/json',
            ...(options.anonymous === true ? {} : this.#endpoint.headers),
            ...(payload === undefined
              ? {}
              : {
                  ...(type === '' ? {} : { 'content-type': type }),
                  'content-length': Buffer.byteLength(payload),
                }),
            ...options.headers,
          },
        },
        resolve,
      );
      request.on('error', reject);
      request.end(payload);
    });
  }

  get(path: string, headers: Readonly<Record<string, string>> = {}): Promise<RawResponse> {
    return this.request('GET', path, { headers });
  }

  post(path: string, body: unknown, options: RawRequest = {}): Promise<RawResponse> {
    return this.request('POST', path, { ...options, body });
  }

  put(path: string, body: unknown, options: RawRequest = {}): Promise<RawResponse> {
    return this.request('PUT', path, { ...options, body });
  }

  delete(path: string, body?: unknown): Promise<RawResponse> {
    return this.request('DELETE', path, { body });
  }

  merge(path: string, body: unknown): Promise<RawResponse> {
    return this.request('PATCH', path, { body, type: 'application/merge-patch+json' });
  }

  jsonPatch(path: string, body: unknown): Promise<RawResponse> {
    return this.request('PATCH', path, { body, type: 'application/json-patch+json' });
  }

  apply(path: string, body: unknown): Promise<RawResponse> {
    return this.request('PATCH', path, { body, type: 'application/apply-patch+yaml' });
  }

  async watch(path: string, headers: Readonly<Record<string, string>> = {}): Promise<RawWatch> {
    return new RawWatch(await this.open('GET', path, { headers }));
  }
}

export interface RawEvent {
  readonly type: string;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- tests look into whatever comes back
  readonly object: any;
}

/** A watch as it comes over the wire. */
export class RawWatch {
  readonly response: IncomingMessage;
  readonly events: RawEvent[] = [];
  ended = false;
  #text = '';
  #taken = 0;
  #wake: () => void = () => undefined;

  constructor(response: IncomingMessage) {
    this.response = response;
    response.setEncoding('utf8');
    response.on('data', (chunk: string) => {
      this.#text += chunk;
      for (;;) {
        const at = this.#text.indexOf('\n');
        if (at < 0) break;
        this.events.push(JSON.parse(this.#text.slice(0, at)) as RawEvent);
        this.#text = this.#text.slice(at + 1);
      }
      this.#wake();
    });
    const end = (): void => {
      this.ended = true;
      this.#wake();
    };
    response.on('end', end);
    response.on('error', end);
    response.on('close', end);
  }

  /** The next event, in order. Fails after `withinMs`, or when the stream has ended. */
  async next(withinMs = 10_000): Promise<RawEvent> {
    await this.#until(() => this.events.length > this.#taken || this.ended, withinMs);
    const event = this.events[this.#taken];
    if (event === undefined)
      throw new Error(`no event within ${withinMs} ms${this.ended ? ': ended' : ''}`);
    this.#taken++;
    return event;
  }

  /** Resolves when the server has ended the stream. */
  async end(withinMs = 10_000): Promise<void> {
    await this.#until(() => this.ended, withinMs);
    if (!this.ended) throw new Error(`the watch did not end within ${withinMs} ms`);
  }

  close(): void {
    this.response.destroy();
  }

  async #until(done: () => boolean, withinMs: number): Promise<void> {
    const deadline = performance.now() + withinMs;
    while (!done() && performance.now() < deadline) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.max(1, deadline - performance.now()));
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}

/** A short random word for names that must not collide. */
export const unique = (): string => randomBytes(4).toString('hex');

/** Makes a namespace of its own for a suite; `drop` starts its deletion, and lets go what tests put finalizers on. */
export async function scratchNamespace(
  client: RawClient,
): Promise<{ readonly name: string; drop: () => Promise<void> }> {
  const name = `contract-${unique()}`;
  const made = await client.post('/api/v1/namespaces', {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name },
  });
  if (made.code !== 201) throw new Error(`namespace: ${made.text}`);
  return {
    name,
    drop: async () => {
      await client.delete(`/api/v1/namespaces/${name}`);
      for (const plural of ['services', 'projects']) {
        const path = `/apis/nap.dev/v1alpha1/namespaces/${name}/${plural}`;
        const list = (await client.get(path)).body as {
          items: { metadata: { name: string; finalizers?: string[] } }[];
        };
        for (const { metadata } of list.items) {
          if (metadata.finalizers === undefined) continue;
          await client.merge(`${path}/${metadata.name}`, { metadata: { finalizers: null } });
        }
      }
    },
  };
}

export interface KubectlResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** One kubectl program. */
export interface Kubectl {
  readonly path: string;
  readonly version: string;
}

/** Every kubectl on this machine: the one on PATH, and one for each minor version where there is a collection. */
export function installedKubectls(): Kubectl[] {
  const folder = '/usr/lib/google-cloud-sdk/bin';
  const found = existsSync(folder)
    ? readdirSync(folder)
        .map((name) => ({
          path: join(folder, name),
          version: /^kubectl\.(1\.\d+)$/.exec(name)?.[1],
        }))
        .filter((one): one is Kubectl => one.version !== undefined)
    : [];
  return [{ path: 'kubectl', version: versionOf('kubectl') }, ...found];
}

/** `1.20` of a kubectl 1.20.2. */
function versionOf(path: string): string {
  const client = JSON.parse(
    execFileSync(path, ['version', '--client', '-o', 'json'], { encoding: 'utf8' }),
  ) as { clientVersion: { gitVersion: string } };
  return /^v(\d+\.\d+)/.exec(client.clientVersion.gitVersion)?.[1] ?? '';
}

/** Runs kubectl with a kubeconfig and a fresh discovery cache. */
export class KubectlRunner {
  readonly #program: Kubectl;
  readonly #kubeconfig: string;
  readonly #home: string;

  constructor(program: Kubectl, kubeconfig: string, home: string) {
    this.#program = program;
    this.#kubeconfig = kubeconfig;
    this.#home = home;
  }

  #environment(extra: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
    return { PATH: process.env['PATH'], HOME: this.#home, KUBECONFIG: this.#kubeconfig, ...extra };
  }

  #arguments(args: readonly string[]): string[] {
    return ['--cache-dir', join(this.#home, 'cache'), ...args];
  }

  /** Runs to the end; a failure is a result, not an exception. */
  run(
    args: readonly string[],
    options: { readonly stdin?: string; readonly env?: Readonly<Record<string, string>> } = {},
  ): Promise<KubectlResult> {
    return new Promise((resolve) => {
      const child = execFile(
        this.#program.path,
        this.#arguments(args),
        { env: this.#environment(options.env ?? {}), timeout: 60_000, maxBuffer: 64 * 1024 * 1024 },
        (error, stdout, stderr) => {
          const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 255;
          resolve({ code, stdout, stderr });
        },
      );
      child.stdin?.end(options.stdin ?? '');
    });
  }

  /** Runs and demands success. */
  async ok(
    args: readonly string[],
    options: { readonly stdin?: string; readonly env?: Readonly<Record<string, string>> } = {},
  ): Promise<string> {
    const result = await this.run(args, options);
    if (result.code !== 0) {
      throw new Error(
        `kubectl ${args.join(' ')}: exit ${result.code}\n${result.stdout}\n${result.stderr}`,
      );
    }
    return result.stdout;
  }

  /** Starts a command that goes on, like `get -w`. */
  start(args: readonly string[]): ChildProcess {
    return spawn(this.#program.path, this.#arguments(args), {
      env: this.#environment({}),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }
}
