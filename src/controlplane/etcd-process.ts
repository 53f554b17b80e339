import { spawn, type ChildProcess } from 'node:child_process';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { kill } from 'node:process';
import { sleep, type Clock } from '../runtime/clock.ts';
import { raisePriority } from '../runtime/priority.ts';
import type { Logger } from '../telemetry/log.ts';

export interface EtcdProcessOptions {
  /** The program: a name on the PATH or a path. */
  readonly binary: string;
  /** `data/` in it is etcd's own. */
  readonly directory: string;
  /** Address to listen on, and by which others reach it. */
  readonly address: string;
  readonly port: number;
  /** Files of `ensureCredentials`; undefined: plain http. */
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string } | undefined;
  readonly log: Logger;
  readonly clock: Clock;
}

/** etcd could not be started; the message says what to do. */
export class EtcdStartError extends Error {
  override readonly name = 'EtcdStartError';
  readonly retryable = false;
}

const readyTimeoutMs = 30_000;
const stopTimeoutMs = 10_000;
const restartPauseMs = 500;

/**
 * Runs a single etcd member as a child process and starts it again when it dies, until `stop`.
 * Peers do not exist, but etcd insists on listening for them: that happens on loopback.
 */
export class EtcdProcess {
  readonly url: string;
  readonly #options: EtcdProcessOptions;
  #child: ChildProcess | undefined;
  #lastWords = '';
  #stopping = false;

  constructor(options: EtcdProcessOptions) {
    this.#options = options;
    this.url = `${options.tls === undefined ? 'http' : 'https'}://${options.address}:${options.port}`;
  }

  /** Resolves when etcd takes connections. Throws EtcdStartError when it cannot. */
  async start(signal?: AbortSignal): Promise<void> {
    const { directory, clock, address, port } = this.#options;
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await this.#endPredecessor();
    if (await accepts(address, port)) {
      throw new EtcdStartError(
        `port ${port} of ${address} is taken by another program (an etcd of this machine?); ` +
          'choose another one with --etcd-port, or use that etcd with --etcd',
      );
    }
    this.#spawn();
    const deadline = clock.monotonic() + readyTimeoutMs;
    while (!(await accepts(address, port))) {
      if (this.#child === undefined) {
        throw new EtcdStartError(`etcd ended at once: ${this.#lastWords || 'it said nothing'}`);
      }
      if (clock.monotonic() > deadline) {
        throw new EtcdStartError(`etcd did not listen within 30 s: ${this.#lastWords}`);
      }
      await sleep(clock, 50, signal);
    }
  }

  /** Ends etcd: politely, then by force. */
  async stop(): Promise<void> {
    this.#stopping = true;
    const child = this.#child;
    if (child === undefined) return;
    const ended = new Promise<void>((resolve) =>
      child.once('exit', () => {
        resolve();
      }),
    );
    child.kill('SIGTERM');
    const cancel = this.#options.clock.schedule(() => child.kill('SIGKILL'), stopTimeoutMs);
    await ended;
    cancel();
    await rm(this.#pidFile(), { force: true });
  }

  #spawn(): void {
    const { binary, log, clock } = this.#options;
    const child = spawn(binary, this.#arguments(), {
      stdio: ['ignore', 'ignore', 'pipe'],
      // Out of the terminal's process group: Ctrl-C must not end it before those who still write to it.
      detached: true,
    });
    this.#child = child;
    if (child.pid !== undefined) {
      raisePriority(child.pid);
      void writeFile(this.#pidFile(), String(child.pid));
    }
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#lastWords = (this.#lastWords + text).slice(-2_000);
    });
    child.once('error', (error: NodeJS.ErrnoException) => {
      this.#lastWords =
        error.code === 'ENOENT'
          ? `there is no program "${binary}"; install Debian's etcd-server, or name it with --etcd-binary`
          : error.message;
      this.#child = undefined;
    });
    child.once('exit', (code, ended) => {
      this.#child = undefined;
      if (this.#stopping) return;
      log.error({ code, signal: ended, output: this.#lastWords }, 'etcd ended, starting it again');
      clock.schedule(() => {
        if (!this.#stopping) this.#spawn();
      }, restartPauseMs);
    });
  }

  #arguments(): string[] {
    const { directory, port, tls } = this.#options;
    const peer = `http://127.0.0.1:${port + 1}`;
    return [
      ...['--name', 'nap', '--data-dir', join(directory, 'data')],
      ...['--listen-client-urls', this.url, '--advertise-client-urls', this.url],
      ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
      ...['--initial-cluster', `nap=${peer}`],
      // Records are small and change often; old revisions serve only watchers that fell behind.
      ...['--auto-compaction-mode', 'periodic', '--auto-compaction-retention', '10m'],
      ...['--quota-backend-bytes', String(4 * 1024 ** 3)],
      ...['--logger', 'zap', '--log-outputs', 'stderr'],
      ...(tls === undefined
        ? []
        : [
            ...['--cert-file', tls.cert, '--key-file', tls.key],
            ...['--trusted-ca-file', tls.ca, '--client-cert-auth'],
          ]),
    ];
  }

  #pidFile(): string {
    return join(this.#options.directory, 'etcd.pid');
  }

  /** A control plane that was killed leaves its etcd behind: it holds the port and the lock on the data. */
  async #endPredecessor(): Promise<void> {
    const pid = Number(await readFile(this.#pidFile(), 'utf8').catch(() => ''));
    if (!Number.isSafeInteger(pid) || pid <= 1) return;
    const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (!commandLine.includes(join(this.#options.directory, 'data'))) return;
    this.#options.log.warn({ pid }, 'ending the etcd that an earlier run left behind');
    kill(pid, 'SIGTERM');
    while ((await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')) !== '') {
      await sleep(this.#options.clock, 50);
    }
  }
}

/** Whether somebody listens there. */
function accepts(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host, port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => {
      resolve(false);
    });
  });
}
