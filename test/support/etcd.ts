import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readFileSync } from 'node:fs';
import { freePorts } from './free-ports.ts';

/** Paths of PEM files. Clients must present a certificate of `caFile`. */
export interface EtcdTls {
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
  /** What the readiness probe presents. Default: the server's own pair. */
  readonly clientCertFile?: string;
  readonly clientKeyFile?: string;
}

export interface EtcdOptions {
  readonly tls?: EtcdTls;
  /** Further command-line flags. */
  readonly args?: readonly string[];
}

/** One of several members: its name, and all of them with their peers' addresses. */
interface Membership {
  readonly name: string;
  readonly initialCluster: string;
}

/** A real etcd, alone or one of several members, on free ports of 127.0.0.1, with its data in a temporary directory. */
export class TestEtcd {
  readonly port: number;
  readonly #peerPort: number;
  readonly #dir: string;
  readonly #options: EtcdOptions;
  #child: ChildProcess | undefined;
  #output = '';
  readonly #membership: Membership;

  private constructor(
    port: number,
    peerPort: number,
    dir: string,
    options: EtcdOptions,
    membership: Membership = { name: 'test', initialCluster: `test=${peerUrl(peerPort)}` },
  ) {
    this.#membership = membership;
    this.port = port;
    this.#peerPort = peerPort;
    this.#dir = dir;
    this.#options = options;
  }

  /** Starts etcd and waits until it is healthy (it has a leader: itself). */
  static async start(options: EtcdOptions = {}): Promise<TestEtcd> {
    const [port = 0, peerPort = 0] = await freePorts(2);
    const dir = await mkdtemp(join(tmpdir(), 'nap-etcd-'));
    const etcd = new TestEtcd(port, peerPort, dir, options);
    process.once('exit', etcd.#killAtExit);
    await etcd.#launch();
    return etcd;
  }

  /** Starts `count` members of one cluster and waits until they are healthy. */
  static async startCluster(count: number): Promise<TestEtcd[]> {
    const free = await freePorts(2 * count);
    const ports = Array.from(
      { length: count },
      (_, i) => [free[2 * i]!, free[2 * i + 1]!] as const,
    );
    const initialCluster = ports.map(([, peer], i) => `m${i}=${peerUrl(peer)}`).join(',');
    const members = await Promise.all(
      ports.map(async ([port, peer], i) => {
        const dir = await mkdtemp(join(tmpdir(), 'nap-etcd-'));
        return new TestEtcd(port, peer, dir, {}, { name: `m${i}`, initialCluster });
      }),
    );
    for (const member of members) process.once('exit', member.#killAtExit);
    // None is healthy before most of them run.
    await Promise.all(members.map((member) => member.#launch()));
    return members;
  }

  /** `http://127.0.0.1:<port>`, or https with `tls`. */
  get url(): string {
    return `${this.#options.tls === undefined ? 'http' : 'https'}://127.0.0.1:${this.port}`;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** What etcd wrote so far. */
  get output(): string {
    return this.#output;
  }

  /** SIGKILL; the data stay. `restart()` brings it back. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  /** Stops it if it runs, and starts it on the same ports and data. Waits until it is healthy. */
  async restart(): Promise<void> {
    await this.#end('SIGKILL');
    await this.#launch();
  }

  /** SIGSTOP: connections stay up, nothing answers. */
  pause(): void {
    this.#child?.kill('SIGSTOP');
  }

  /** SIGCONT. */
  resume(): void {
    this.#child?.kill('SIGCONT');
  }

  /** Ends it for good and removes its data. */
  async stop(): Promise<void> {
    await this.#end('SIGKILL');
    process.removeListener('exit', this.#killAtExit);
    await rm(this.#dir, { recursive: true, force: true, maxRetries: 5 });
  }

  readonly #killAtExit = (): void => {
    this.#child?.kill('SIGKILL');
  };

  async #launch(): Promise<void> {
    const { tls, args = [] } = this.#options;
    const scheme = tls === undefined ? 'http' : 'https';
    const client = `${scheme}://127.0.0.1:${this.port}`;
    const peer = peerUrl(this.#peerPort);
    const { name, initialCluster } = this.#membership;
    this.#child = spawn(
      'etcd',
      [
        ...['--name', name, '--data-dir', this.#dir],
        ...['--listen-client-urls', client, '--advertise-client-urls', client],
        ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
        ...['--initial-cluster', initialCluster, '--logger', 'zap', '--log-level', 'warn'],
        ...(tls === undefined
          ? []
          : [
              ...['--cert-file', tls.certFile, '--key-file', tls.keyFile],
              ...['--client-cert-auth', '--trusted-ca-file', tls.caFile],
            ]),
        ...args,
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    const keep = (chunk: Buffer): void => {
      this.#output = (this.#output + chunk.toString()).slice(-20_000);
    };
    this.#child.stdout?.on('data', keep);
    this.#child.stderr?.on('data', keep);
    const deadline = Date.now() + 30_000;
    while (!(await this.#healthy())) {
      if (this.#child.exitCode !== null) throw new Error(`etcd exited:\n${this.#output}`);
      if (Date.now() > deadline)
        throw new Error(`etcd is not healthy after 30 s:\n${this.#output}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  #healthy(): Promise<boolean> {
    const { tls } = this.#options;
    return new Promise((resolve) => {
      const done = (response: { statusCode?: number | undefined; resume(): void }): void => {
        response.resume();
        resolve(response.statusCode === 200);
      };
      const request =
        tls === undefined
          ? httpRequest(`${this.url}/health`, { timeout: 1000 }, done)
          : httpsRequest(
              `${this.url}/health`,
              {
                timeout: 1000,
                ca: readFileSync(tls.caFile),
                cert: readFileSync(tls.clientCertFile ?? tls.certFile),
                key: readFileSync(tls.clientKeyFile ?? tls.keyFile),
              },
              done,
            );
      request.on('timeout', () => request.destroy());
      request.on('error', () => {
        resolve(false);
      });
      request.end();
    });
  }

  async #end(signal: 'SIGKILL'): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child?.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await ended;
  }
}

function peerUrl(port: number): string {
  return `http://127.0.0.1:${port}`;
}
