import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { eventually } from './eventually.ts';

/** Between what one life of a process has said in its log, and the next. */
const lifeMark = '--- started\n';

/**
 * A long-lived process that any process of the test run may stop and start: what is known of it is on the disk
 * (`<directory>/<name>.pid`, `<directory>/<name>.log`).
 */
export class ControlPlaneProcess {
  readonly name: string;
  readonly command: readonly string[];
  readonly #directory: string;

  constructor(directory: string, name: string, command: readonly string[]) {
    this.#directory = directory;
    this.name = name;
    this.command = command;
  }

  get log(): string {
    return join(this.#directory, `${this.name}.log`);
  }

  /** Starts it if it does not run. Does not wait until it serves. */
  async start(): Promise<void> {
    if ((await this.pid()) !== undefined) return;
    mkdirSync(this.#directory, { recursive: true });
    const log = openSync(this.log, 'a');
    writeSync(log, lifeMark);
    const [program = '', ...args] = this.command;
    const child = spawn(program, args, { stdio: ['ignore', log, log], detached: true });
    closeSync(log);
    child.unref();
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', reject);
    });
    await writeFile(this.#pidFile, String(child.pid));
  }

  /** What it has said since it was started last. */
  async said(): Promise<string> {
    return (await readFile(this.log, 'utf8')).split(lifeMark).at(-1) ?? '';
  }

  /** Its process id, if it runs. */
  async pid(): Promise<number | undefined> {
    const pid = Number(await readFile(this.#pidFile, 'utf8').catch(() => ''));
    if (!Number.isSafeInteger(pid) || pid <= 1) return undefined;
    // The number may have been given to another process since; a zombie has no command line.
    const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    return line.split('\0').slice(0, -1).join(' ') === this.command.join(' ') ? pid : undefined;
  }

  /** SIGSTOP and SIGCONT freeze and thaw it. @throws when it does not run */
  async signal(signal: NodeJS.Signals): Promise<void> {
    const pid = await this.pid();
    if (pid === undefined) throw new Error(`${this.name} does not run`);
    process.kill(pid, signal);
  }

  /** Ends it, with SIGKILL unless told otherwise, and waits until it is gone. */
  async end(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const pid = await this.pid();
    if (pid === undefined) return;
    process.kill(pid, signal);
    await eventually(
      `${this.name} ends`,
      async () => (await this.pid()) === undefined || undefined,
      20_000,
    );
  }

  /** SIGKILL, and a new one. */
  async restart(): Promise<void> {
    await this.end();
    await this.start();
  }

  get #pidFile(): string {
    return join(this.#directory, `${this.name}.pid`);
  }
}
