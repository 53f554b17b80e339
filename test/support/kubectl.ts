import { spawn } from 'node:child_process';
import { CommandError, run, type Outcome } from './command.ts';

/** A Kubernetes object, as far as tests look into it. */
export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly generation?: number;
    readonly labels?: Readonly<Record<string, string>>;
    readonly [field: string]: unknown;
  };
  readonly [field: string]: unknown;
}

/** kubectl with a kubeconfig, as a user has it. */
export class Kubectl {
  readonly #kubeconfig: string;
  readonly #cache: string;

  /** @param cacheDirectory for what kubectl remembers of the API; must be this test run's own */
  constructor(kubeconfig: string, cacheDirectory: string) {
    this.#kubeconfig = kubeconfig;
    this.#cache = cacheDirectory;
  }

  /** Runs kubectl, whatever its exit code. */
  try(args: readonly string[], input?: string): Promise<Outcome> {
    return run(['kubectl', `--cache-dir=${this.#cache}`, ...args], {
      env: { KUBECONFIG: this.#kubeconfig },
      timeoutMs: 180_000,
      ...(input === undefined ? {} : { input }),
    });
  }

  /** Standard output of a kubectl that must succeed. @throws {CommandError} */
  async run(...args: readonly string[]): Promise<string> {
    const outcome = await this.try(args);
    if (outcome.code !== 0) throw new CommandError(['kubectl', ...args], outcome);
    return outcome.stdout;
  }

  /** `kubectl get ... -o json`. */
  async get<Result = KubeObject>(...args: readonly string[]): Promise<Result> {
    return JSON.parse(await this.run('get', ...args, '-o', 'json')) as Result;
  }

  /** `kubectl apply` of one object or several, whatever its exit code. */
  tryApply(objects: object | readonly object[], ...args: readonly string[]): Promise<Outcome> {
    const items = Array.isArray(objects) ? (objects as readonly object[]) : [objects];
    // Several documents, as in the files that people write: kubectl checks a List in another way.
    const input = items.map((item) => JSON.stringify(item)).join('\n');
    return this.try(['apply', '-f', '-', ...args], input);
  }

  /** @throws {CommandError} */
  async apply(objects: object | readonly object[], ...args: readonly string[]): Promise<string> {
    const outcome = await this.tryApply(objects, ...args);
    if (outcome.code !== 0) throw new CommandError(['kubectl', 'apply', ...args], outcome);
    return outcome.stdout;
  }

  /**
   * `kubectl wait`, also for an object that a controller is about to make: kubectl itself gives up at once on what is not there.
   * @param condition as behind `--for=condition=`
   */
  async wait(object: string, condition = 'Ready', seconds = 60, namespace?: string): Promise<void> {
    const args = [
      ...['wait', `--for=condition=${condition}`, object, `--timeout=${seconds}s`],
      ...(namespace === undefined ? [] : ['--namespace', namespace]),
    ];
    const deadline = performance.now() + 10_000;
    for (;;) {
      const outcome = await this.try(args);
      if (outcome.code === 0) return;
      if (!outcome.stderr.includes('NotFound') || performance.now() > deadline) {
        throw new CommandError(['kubectl', ...args], outcome);
      }
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }

  /** Starts a kubectl that goes on until `stop`; gives its lines up to then. */
  follow(...args: readonly string[]): { lines: () => string[]; stop: () => Promise<string[]> } {
    const child = spawn('kubectl', [`--cache-dir=${this.#cache}`, ...args], {
      env: { ...process.env, KUBECONFIG: this.#kubeconfig },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    const ended = new Promise((resolve) => child.once('close', resolve));
    const lines = (): string[] => text.split('\n').filter((line) => line !== '');
    return {
      lines,
      stop: async () => {
        child.kill('SIGKILL');
        await ended;
        return lines();
      },
    };
  }
}
