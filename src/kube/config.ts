/**
 * Where the API server is and how to prove who we are. Kubeconfig files, contexts and authenticators
 * (tokens, token files, exec plugins, OIDC) are @kubernetes/client-node's; the connections are ours, because client-node 2.0
 * makes a new agent, hence a new TLS connection, for every request, and re-reads the CA file for each.
 */
import { createHash } from 'node:crypto';
import type { RequestOptions } from 'node:https';
import { KubeConfig as ClientNodeKubeConfig } from '@kubernetes/client-node';
import { Agent, ProxyAgent, type Dispatcher } from 'undici';
import { isLoopback } from '../network/address/loopback.ts';
import { systemClock, type Clock } from '../runtime/clock.ts';

export interface KubeConfigOptions {
  /** Allow a plain http server, on loopback only. Default false. */
  readonly insecureLoopback?: boolean;
  /** Default: the machine's clock. */
  readonly clock?: Clock;
}

/** What a request needs to reach the API server. */
export interface Connection {
  /** e.g. "https://10.0.0.1:6443", without a trailing slash; may have a path prefix. */
  readonly server: string;
  /** Authorization and impersonation headers. */
  readonly headers: Readonly<Record<string, string>>;
  /** At most `poolSize` connections, kept alive: for calls. */
  readonly calls: Dispatcher;
  /** As many connections as there are watches, so that they cannot starve the calls. */
  readonly watches: Dispatcher;
}

/** Most connections that calls use at a time. */
export const poolSize = 8;
const keepAliveMs = 30_000;
const connectTimeoutMs = 5_000;
/** How long credentials are used before files and authenticators are asked again. */
const credentialsFreshMs = 5_000;

interface Credentials {
  readonly tls: TlsOptions;
  /** Of `tls`: pools live as long as it stays the same. */
  readonly fingerprint: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly readAt: number;
}

interface TlsOptions {
  readonly ca?: RequestOptions['ca'];
  readonly cert?: RequestOptions['cert'];
  readonly key?: RequestOptions['key'];
  readonly servername?: string;
  readonly rejectUnauthorized?: boolean;
}

interface Pools {
  readonly fingerprint: string;
  readonly calls: Dispatcher;
  readonly watches: Dispatcher;
}

/** A loaded kubeconfig with shared, pooled connections. Share one per process; `close` it at the end. */
export class KubeConfig {
  readonly #load: () => ClientNodeKubeConfig;
  readonly #clock: Clock;
  #config: ClientNodeKubeConfig;
  #server: string;
  #stale = false;
  #credentials: Promise<Credentials> | undefined;
  #pools: Pools | undefined;

  /** Throws when there is no current cluster, or it is plain http and that was not asked for or is not loopback. */
  private constructor(load: (config: ClientNodeKubeConfig) => void, options: KubeConfigOptions) {
    this.#load = () => {
      const config = new ClientNodeKubeConfig();
      load(config);
      allowServer(config, options.insecureLoopback ?? false);
      return config;
    };
    this.#clock = options.clock ?? systemClock;
    this.#config = this.#load();
    this.#server = serverOf(this.#config);
  }

  /** From a file; paths in it are relative to the file. `context` overrides its current-context. */
  static fromFile(path: string, options: KubeConfigOptions = {}, context?: string): KubeConfig {
    return new KubeConfig((config) => {
      config.loadFromFile(path);
      if (context !== undefined) config.setCurrentContext(context);
    }, options);
  }

  /** From the text of a kubeconfig. */
  static fromString(text: string, options: KubeConfigOptions = {}): KubeConfig {
    return new KubeConfig((config) => {
      config.loadFromString(text);
    }, options);
  }

  /** As kubectl does: $KUBECONFIG, else ~/.kube/config, else the service account of the pod we run in. */
  static fromDefault(options: KubeConfigOptions = {}, context?: string): KubeConfig {
    return new KubeConfig((config) => {
      config.loadFromDefault();
      if (context !== undefined) config.setCurrentContext(context);
    }, options);
  }

  /** Base URL of the API server. */
  get server(): string {
    return this.#server;
  }

  /** Namespace of the current context; 'default' if it names none. */
  get namespace(): string {
    const context = this.#config.getContextObject(this.#config.getCurrentContext());
    return context?.namespace ?? 'default';
  }

  /** Connections and headers for a request now. Rejects when a credential cannot be read or its plugin fails. */
  async connection(): Promise<Connection> {
    const credentials = await this.#freshCredentials();
    const { calls, watches } = this.#poolsFor(credentials);
    return { server: this.#server, headers: credentials.headers, calls, watches };
  }

  /**
   * Loads everything anew for the next request, past all caches of authenticators: call after a 401 or a broken
   * connection, since a token or a certificate may have been replaced.
   */
  forgetCredentials(): void {
    this.#stale = true;
    this.#credentials = undefined;
  }

  /** Closes all connections; running requests fail. */
  async close(): Promise<void> {
    const pools = this.#pools;
    this.#pools = undefined;
    await Promise.all([pools?.calls.destroy(), pools?.watches.destroy()]);
  }

  async #freshCredentials(): Promise<Credentials> {
    const known = await this.#credentials?.catch(() => undefined);
    if (known !== undefined && this.#clock.monotonic() - known.readAt < credentialsFreshMs) {
      return known;
    }
    const reading = this.#readCredentials();
    this.#credentials = reading;
    return reading;
  }

  async #readCredentials(): Promise<Credentials> {
    if (this.#stale) this.#reload();
    const options: RequestOptions & { headers?: Record<string, unknown> } = {};
    await this.#config.applyToHTTPSOptions(options);
    const headers: Record<string, string> = {};
    for (const [name, value] of Object.entries(options.headers ?? {})) {
      if (typeof value === 'string') headers[name] = value;
    }
    if (typeof options.auth === 'string') {
      headers['Authorization'] = `Basic ${Buffer.from(options.auth).toString('base64')}`;
    }
    const { ca, cert, key, servername, rejectUnauthorized } = options;
    const tls: TlsOptions = {
      ...(ca !== undefined && { ca }),
      ...(cert !== undefined && { cert }),
      ...(key !== undefined && { key }),
      ...(servername !== undefined && { servername }),
      ...(rejectUnauthorized !== undefined && { rejectUnauthorized }),
    };
    return { tls, fingerprint: fingerprintOf(tls), headers, readAt: this.#clock.monotonic() };
  }

  /** A file that is missing or half-written just now must not cost us what we have. */
  #reload(): void {
    try {
      this.#config = this.#load();
      this.#server = serverOf(this.#config);
      this.#stale = false;
    } catch {
      // Stays stale: the next request tries again.
    }
  }

  /** The pools for these TLS options. When they have changed, the old ones end after their last request. */
  #poolsFor({ tls, fingerprint }: Credentials): Pools {
    if (this.#pools?.fingerprint === fingerprint) return this.#pools;
    const old = this.#pools;
    void old?.calls.close();
    void old?.watches.close();
    this.#pools = {
      fingerprint,
      calls: this.#dispatcher(tls, poolSize),
      watches: this.#dispatcher(tls, null),
    };
    return this.#pools;
  }

  #dispatcher(tls: TlsOptions, connections: number | null): Dispatcher {
    const options = {
      connections,
      pipelining: 1,
      keepAliveTimeout: keepAliveMs,
      keepAliveMaxTimeout: keepAliveMs,
      // Callers bring their own deadlines.
      headersTimeout: 0,
      bodyTimeout: 0,
    };
    const proxyUrl = this.#config.getCurrentCluster()?.proxyUrl;
    if (proxyUrl !== undefined) {
      return new ProxyAgent({ ...options, uri: proxyUrl, requestTls: tls });
    }
    return new Agent({
      ...options,
      connect: {
        ...tls,
        timeout: connectTimeoutMs,
        keepAlive: true,
        keepAliveInitialDelay: 15_000,
      },
    });
  }
}

function fingerprintOf(tls: TlsOptions): string {
  return createHash('sha256').update(JSON.stringify(tls)).digest('hex');
}

function serverOf(config: ClientNodeKubeConfig): string {
  return (config.getCurrentCluster()?.server ?? '').replace(/\/+$/, '');
}

/** Throws unless the current cluster is one that we may and can speak to. */
function allowServer(config: ClientNodeKubeConfig, insecureLoopback: boolean): void {
  const cluster = config.getCurrentCluster();
  if (cluster === null) throw new Error('the kubeconfig has no current context with a cluster');
  const url = new URL(cluster.server);
  if (url.protocol === 'http:') {
    if (!insecureLoopback || !isLoopback(url.hostname)) {
      throw new Error(
        `refusing plain http to ${cluster.server}: only loopback, and only when asked to be insecure`,
      );
    }
    // client-node wants this for plain http; there is no TLS to skip.
    config.clusters = config.clusters.map((other) =>
      other.name === cluster.name ? { ...other, skipTLSVerify: true } : other,
    );
  } else if (url.protocol !== 'https:') {
    throw new Error(`cannot speak ${url.protocol} to ${cluster.server}`);
  }
  if (cluster.proxyUrl !== undefined && !/^https?:/.test(cluster.proxyUrl)) {
    throw new Error(`proxy-url ${cluster.proxyUrl}: only http and https proxies are supported`);
  }
}
