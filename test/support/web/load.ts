import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';

/** What clients have met with. */
export interface LoadReport {
  /** Requests that were made, by kind of client. */
  readonly requests: { 'keep-alive': number; new: number; slow: number };
  /** What became of those that were not answered as they should have been. */
  readonly failures: string[];
  /** "<server> <address of the client as it saw it>" → answers. */
  readonly answers: Record<string, number>;
}

const tsx = new URL('../../../node_modules/.bin/tsx', import.meta.url).pathname;
const generator = new URL('load-generator.ts', import.meta.url).pathname;

/** Clients at work; see load-generator.ts. */
export class Load {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #report: Promise<LoadReport>;

  /** @param prefix runs the clients somewhere, for example `nsenter --net=…` */
  constructor(url: string, prefix: readonly string[] = []) {
    const [program = '', ...args] = [...prefix, tsx, generator, url].map(String);
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    this.#report = new Promise((resolve, reject) => {
      this.#child.once('error', reject);
      this.#child.once('close', (code) => {
        if (code === 0) resolve(JSON.parse(stdout) as LoadReport);
        else reject(new Error(`the clients of ${url} ended with ${String(code)}: ${stderr}`));
      });
    });
    this.#report.catch(() => undefined);
  }

  /** Lets the clients end what they are doing. */
  stop(): Promise<LoadReport> {
    this.#child.stdin.end();
    return this.#report;
  }
}
