import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { cp, mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Image that every TestDocker has: a static busybox with `sh`, `sleep`, `nc`, `httpd` …; no CMD. */
export const testImage = 'nap-test/busybox:1';

const applets = ['sh', 'sleep', 'cat', 'echo', 'true', 'false', 'nc', 'httpd', 'env', 'hostname'];

/**
 * A real Docker engine of its own, in namespaces of its own (network, processes, mounts), so that it can neither clash with
 * another engine of the machine nor leave anything behind. Needs root.
 */
export class TestDocker {
  readonly #dir: string;
  readonly #netns: string;
  #host: ChildProcess | undefined;

  private constructor(dir: string, netns: string) {
    this.#dir = dir;
    this.#netns = netns;
  }

  /** Starts an engine and loads `testImage`. */
  static async start(): Promise<TestDocker> {
    const dir = await mkdtemp(join(tmpdir(), 'nap-docker-'));
    const docker = new TestDocker(dir, `nap-t${randomBytes(4).toString('hex')}`);
    process.once('exit', docker.#killAtExit);
    await run('ip', ['netns', 'add', docker.#netns]);
    await run('ip', ['-n', docker.#netns, 'link', 'set', 'lo', 'up']);
    await docker.startEngine();
    await docker.#importImage();
    return docker;
  }

  /** Of the engine's unix socket. */
  get socketPath(): string {
    return join(this.#dir, 'docker.sock');
  }

  /** Arguments that put a program into the engine's network, followed by the program and its arguments. */
  get prefix(): readonly string[] {
    return ['nsenter', `--net=/var/run/netns/${this.#netns}`];
  }

  /** The docker command against this engine; its standard output without surrounding space. */
  async cli(...args: string[]): Promise<string> {
    const { stdout } = await run('docker', ['-H', `unix://${this.socketPath}`, ...args], {
      env: { PATH: process.env['PATH'] ?? '' },
      maxBuffer: 16 * 1024 * 1024,
    });
    return stdout.trim();
  }

  /** Runs a program in the engine's network. */
  async inNetwork(...command: string[]): Promise<string> {
    const [program = '', ...args] = [...this.prefix, ...command];
    return (await run(program, args)).stdout.trim();
  }

  /** Starts a program in the engine's network that runs until it is killed. */
  spawnInNetwork(...command: string[]): ChildProcess {
    const [program = '', ...args] = [...this.prefix, ...command];
    return spawn(program, args, { stdio: 'ignore' });
  }

  /**
   * Starts the engine on the data that are there. Its first process holds its process namespace: killing that kills
   * engine and containers in one instant.
   */
  async startEngine(): Promise<void> {
    const d = this.#dir;
    const script = [
      'mount -t proc proc /proc',
      `rm -f ${d}/docker.pid ${d}/exec/containerd/containerd.pid`,
      `while :; do dockerd --data-root=${d}/data --exec-root=${d}/exec -H unix://${d}/docker.sock ` +
        `-p ${d}/docker.pid --iptables=false --ip6tables=false --bridge=none >>${d}/dockerd.log 2>&1 & ` +
        `echo $! >${d}/docker.inner; wait $!; rm -f ${d}/docker.pid; ` +
        `while [ -e ${d}/hold ]; do sleep 0.05; done; done`,
    ].join('; ');
    const [program = '', ...args] = [
      ...this.prefix,
      ...['unshare', '--fork', '--kill-child', '--pid', '--mount', '--', 'sh', '-c', script],
    ];
    this.#host = spawn(program, args, { stdio: 'ignore' });
    await this.#answers();
  }

  /** Everything of this engine and its containers dies at once, as in a power cut; `startEngine()` boots again. */
  async powerOff(): Promise<void> {
    const host = this.#host;
    this.#host = undefined;
    if (host === undefined || host.exitCode !== null || host.signalCode !== null) return;
    const gone = new Promise((resolve) => host.once('exit', resolve));
    host.kill('SIGKILL');
    await gone;
    // The kernel reaps the namespace after its first process: mounts are free when the pidfile's owner is gone.
    await rm(this.socketPath, { force: true });
  }

  /** Stops dockerd (with a signal of choice) and leaves it stopped until `resumeEngine`. */
  async stopEngine(signal: 'TERM' | 'KILL' = 'TERM'): Promise<void> {
    await run('touch', [join(this.#dir, 'hold')]);
    await this.#signalEngine(signal);
    const deadline = Date.now() + 60_000;
    while (await this.#pingable()) {
      if (Date.now() > deadline) throw new Error('dockerd does not stop');
      await pause(50);
    }
  }

  /** Starts the stopped dockerd again. */
  async resumeEngine(): Promise<void> {
    await rm(join(this.#dir, 'hold'), { force: true });
    await this.#answers();
  }

  /** Stops the engine, and removes every trace. */
  async stop(): Promise<void> {
    process.removeListener('exit', this.#killAtExit);
    await this.powerOff();
    await run('ip', ['netns', 'delete', this.#netns]).catch(() => undefined);
    const deadline = Date.now() + 10_000;
    for (;;) {
      try {
        await rm(this.#dir, { recursive: true, force: true });
        return;
      } catch (error) {
        if (Date.now() > deadline) throw error;
        await pause(100);
      }
    }
  }

  /** Loads an image with busybox under another name. */
  async importImage(name: string, changes: readonly string[] = []): Promise<void> {
    const root = join(this.#dir, 'image');
    await mkdir(join(root, 'bin'), { recursive: true });
    await mkdir(join(root, 'tmp'), { recursive: true });
    await cp('/bin/busybox', join(root, 'bin/busybox'));
    for (const applet of applets) {
      await symlink('busybox', join(root, 'bin', applet)).catch(() => undefined);
    }
    const tar = join(this.#dir, 'image.tar');
    await run('tar', ['-C', root, '-cf', tar, '.']);
    const options = ['ENV PATH=/bin', ...changes].flatMap((change) => ['--change', change]);
    await this.cli('import', ...options, tar, name);
  }

  #importImage(): Promise<void> {
    return this.importImage(testImage);
  }

  async #signalEngine(signal: string): Promise<void> {
    // The pid noted is that of the engine's own namespace: send the signal from inside.
    const inner = (await readFile(join(this.#dir, 'docker.inner'), 'utf8')).trim();
    const outer = await this.#firstProcess();
    await run('nsenter', [`--target=${outer}`, '--pid', '--mount', 'kill', `-${signal}`, inner]);
  }

  async #firstProcess(): Promise<string> {
    const outer = String(this.#host?.pid ?? '');
    const { stdout } = await run('pgrep', ['-P', outer]);
    return stdout.trim().split('\n')[0] ?? '';
  }

  async #pingable(): Promise<boolean> {
    try {
      await this.cli('version', '--format', '{{.Server.Version}}');
      return true;
    } catch {
      return false;
    }
  }

  async #answers(): Promise<void> {
    const deadline = Date.now() + 60_000;
    while (!(await this.#pingable())) {
      if (Date.now() > deadline) {
        const log = await readFile(join(this.#dir, 'dockerd.log'), 'utf8').catch(() => '');
        throw new Error(`dockerd does not answer:\n${log.slice(-3000)}`);
      }
      await pause(100);
    }
  }

  readonly #killAtExit = (): void => {
    this.#host?.kill('SIGKILL');
  };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
