import { randomInt, randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { JsonObject } from '../api/json.ts';
import { isLoopback } from '../network/address/loopback.ts';
import type { Store } from '../registry/store.ts';
import type { Clock } from '../runtime/clock.ts';
import { linkSignals } from '../runtime/linked-signal.ts';
import type { Logger } from '../telemetry/log.ts';
import { createAuthenticator, type Authenticator } from './auth/authenticate.ts';
import { Authorizer, type Grant } from './auth/authorize.ts';
import type { TokenIdentity } from './auth/identity.ts';
import { bootstrap } from './bootstrap.ts';
import type { ApiContext } from './context.ts';
import { EventExpiry } from './controllers/event-expiry.ts';
import { GarbageCollector } from './controllers/garbage-collector.ts';
import { NamespaceController } from './controllers/namespace-controller.ts';
import { StoreProbe } from './controllers/store-probe.ts';
import { ApiError, badRequest, forbidden, internalError, unavailable } from './errors/api-error.ts';
import { negotiate } from './http/accept.ts';
import type { ApiRequest, Handled } from './http/request.ts';
import { errorHeaders, respond, warningHeader } from './http/respond.ts';
import { builtinResources } from './resources/builtin.ts';
import { customResources } from './resources/custom.ts';
import { ResourceRegistry } from './resources/resource.ts';
import { Router, type VersionInfo } from './router.ts';
import { ObjectStore } from './storage/object-store.ts';
import { WatchCache } from './storage/watch-cache.ts';

export interface TlsMaterial {
  /** PEM of the authority whose client certificates are believed. */
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export interface ApiServerOptions {
  readonly store: Store;
  /** CustomResourceDefinition objects whose kinds are served. */
  readonly crds: readonly JsonObject[];
  /** Left out: plain http, where everybody is an administrator. Only on a loopback address. */
  readonly tls?: TlsMaterial;
  readonly tokens: readonly TokenIdentity[];
  /** `port` 0 takes a free one. */
  readonly listen: { readonly host: string; readonly port: number };
  readonly log: Logger;
  readonly clock: Clock;
  /** nap's own version, shown in gitVersion. Default 0.0.0. */
  readonly version?: string;
  /** Who may do what beside system:masters. Default: `defaultGrants`. */
  readonly grants?: readonly Grant[];
}

export interface ApiServer {
  /** `https://127.0.0.1:6443`, with the port that was taken. */
  readonly url: string;
  /** Ends all watches, lets running requests finish for up to 5 s, and stops. The store stays open. */
  close(): Promise<void>;
}

/** How long `close` waits for running requests. */
const closeGraceMs = 5_000;
/** The Kubernetes minor version whose API this server speaks; kubectl picks its own version by it. */
const kubernetesMinor = 32;

/** Starts the embedded Kubernetes API server. Resolves when it listens and has read the store. */
export async function startApiServer(options: ApiServerOptions): Promise<ApiServer> {
  const { clock, log, store } = options;
  const insecure = options.tls === undefined;
  if (insecure && !isLoopback(options.listen.host)) {
    throw new Error('plain http is for loopback addresses only: give TLS files');
  }
  const resources = new ResourceRegistry([
    ...builtinResources(),
    ...options.crds.flatMap((crd) => customResources(crd)),
  ]);
  const schemas = new Map(resources.stored().map((one) => [one.storage, one.compiled]));
  const cache = new WatchCache({ store, log, clock, schemaOf: (storage) => schemas.get(storage) });
  const context: ApiContext = {
    resources,
    cache,
    objects: new ObjectStore(store, cache),
    clock,
    log,
    uuid: () => randomUUID(),
    random: (below) => randomInt(below),
  };
  const stopping = new AbortController();
  // Each request in flight listens to it.
  setMaxListeners(0, stopping.signal);
  const probe = new StoreProbe(context);
  const authorizer = new Authorizer(options.grants);
  const router = new Router({
    context,
    authorizer,
    version: versionInfo(options.version ?? '0.0.0'),
    failing: (endpoint) => {
      if (stopping.signal.aborted) return endpoint === 'readyz' ? ['shutdown'] : [];
      if (endpoint === 'livez') return [];
      return [...(cache.filled ? [] : ['watch-cache']), ...(probe.healthy ? [] : ['etcd'])];
    },
  });
  const authenticate = createAuthenticator({ tokens: options.tokens, insecure });
  const server = createServer(options.tls, (request, response) => {
    void serve(
      { router, authenticate, probe, log, insecure, stopping: stopping.signal },
      request,
      response,
    );
  });
  const background = [
    guard(log, 'watch cache', cache.run(stopping.signal)),
    guard(log, 'store probe', probe.run(stopping.signal)),
  ];
  try {
    await bootstrap(context, options.crds, stopping.signal);
    await cache.ready();
    await listen(server, options.listen);
  } catch (error) {
    stopping.abort();
    await Promise.all(background);
    throw error;
  }
  background.push(
    guard(log, 'namespace controller', new NamespaceController(context).run(stopping.signal)),
    guard(log, 'garbage collector', new GarbageCollector(context).run(stopping.signal)),
    guard(log, 'event expiry', new EventExpiry(context).run(stopping.signal)),
  );
  const { port } = server.address() as AddressInfo;
  const host = options.listen.host.includes(':') ? `[${options.listen.host}]` : options.listen.host;
  const url = `${insecure ? 'http' : 'https'}://${host}:${port}`;
  log.info({ url }, 'API server listens');
  return {
    url,
    close: async () => {
      stopping.abort();
      cache.endAll('closed');
      const closed = new Promise<void>((resolve) => {
        server.close(() => {
          resolve();
        });
      });
      server.closeIdleConnections();
      const cancel = clock.schedule(() => {
        server.closeAllConnections();
      }, closeGraceMs);
      await closed;
      cancel();
      await Promise.all(background);
    },
  };
}

function createServer(
  tls: TlsMaterial | undefined,
  listener: (request: IncomingMessage, response: ServerResponse) => void,
): Server {
  const limits = { requestTimeout: 60_000, headersTimeout: 20_000, keepAliveTimeout: 75_000 };
  const server =
    tls === undefined
      ? createHttpServer(limits, listener)
      : // Clients without a certificate may have a token: the authenticator decides.
        createHttpsServer(
          {
            ...limits,
            ...tls,
            requestCert: true,
            rejectUnauthorized: false,
            minVersion: 'TLSv1.2',
          },
          listener,
        );
  return server;
}

function listen(server: Server, { host, port }: ApiServerOptions['listen']): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

interface ServeOptions {
  readonly router: Router;
  readonly authenticate: Authenticator;
  readonly probe: StoreProbe;
  readonly log: Logger;
  readonly insecure: boolean;
  readonly stopping: AbortSignal;
}

async function serve(
  options: ServeOptions,
  incoming: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const gone = new AbortController();
  response.on('close', () => {
    gone.abort();
  });
  response.on('error', () => {
    gone.abort();
  });
  // Unlinked when the response closes, as each one does in the end.
  const { signal } = linkSignals(gone.signal, options.stopping);
  const warnings: string[] = [];
  const target = parseTarget(incoming);
  try {
    if (target === undefined) throw badRequest('the request target is not a path');
    if (options.insecure) checkLocal(incoming);
    if (options.stopping.aborted) throw unavailable('the server is shutting down');
    const request: ApiRequest = {
      method: incoming.method ?? 'GET',
      path: target.path,
      query: target.query,
      user: options.authenticate(incoming),
      incoming,
      response,
      signal,
      warn: (text) => {
        warnings.push(warningHeader(text));
      },
    };
    if (!options.probe.healthy && isWatch(request.query))
      throw unavailable('the store is unavailable');
    const handled: Handled = await options.router.handle(request);
    if (handled === 'answered') return;
    if (warnings.length > 0) response.setHeader('warning', warnings);
    await respond(incoming, response, handled, encodingFor(incoming));
  } catch (error) {
    await respondError(options.log, incoming, response, error);
  }
}

const isWatch = (query: URLSearchParams): boolean =>
  ['true', '1'].includes(query.get('watch') ?? '');

function encodingFor(incoming: IncomingMessage): 'json' | 'yaml' {
  try {
    return negotiate(incoming.headers.accept).encoding;
  } catch {
    return 'json';
  }
}

async function respondError(
  log: Logger,
  incoming: IncomingMessage,
  response: ServerResponse,
  error: unknown,
): Promise<void> {
  const known =
    error instanceof ApiError
      ? error
      : internalError(error instanceof Error ? error.message : 'unknown');
  if (!(error instanceof ApiError) && !incoming.destroyed) {
    log.error({ err: error, method: incoming.method, url: incoming.url }, 'request failed');
  }
  try {
    await respond(incoming, response, {
      code: known.code,
      body: known.status(),
      headers: errorHeaders(known),
    });
  } catch (problem) {
    log.debug({ err: problem }, 'answer could not be written');
    response.destroy();
  }
}

/** The parts of the request target. Not parsed as a URL: that would resolve `//host` and `%2e%2e`. */
function parseTarget(
  incoming: IncomingMessage,
): { readonly path: string; readonly query: URLSearchParams } | undefined {
  const target = incoming.url ?? '/';
  if (!target.startsWith('/')) return undefined;
  const at = target.indexOf('?');
  const path = at < 0 ? target : target.slice(0, at);
  return { path, query: new URLSearchParams(at < 0 ? '' : target.slice(at + 1)) };
}

/** Plain http trusts everybody on this machine; a web page in somebody's browser is not meant by that. */
function checkLocal(incoming: IncomingMessage): void {
  const host = (incoming.headers.host ?? '').replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
  if (!isLoopback(host) || incoming.headers.origin !== undefined) {
    throw forbidden(
      { group: '', plural: '', kind: '' },
      '',
      'plain http is for clients on this machine only',
    );
  }
}

function versionInfo(version: string): VersionInfo {
  return {
    major: '1',
    minor: String(kubernetesMinor),
    gitVersion: `v1.${kubernetesMinor}.0+nap.${version}`,
    gitCommit: '',
    gitTreeState: 'clean',
    buildDate: '1970-01-01T00:00:00Z',
    goVersion: 'none',
    compiler: 'none',
    platform: 'linux/amd64',
  };
}

/** A background loop that fails is a bug: it is logged, the rest goes on. */
async function guard(log: Logger, name: string, loop: Promise<void>): Promise<void> {
  try {
    await loop;
  } catch (error) {
    log.error({ err: error, loop: name }, 'background loop of the API server failed');
  }
}
