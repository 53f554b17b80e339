import { execFile, spawn } from 'node:child_process';

/** What a command printed. */
export interface ExecResult {
  readonly stdout: string;
  readonly stderr: string;
}

/** How long a command may take, in milliseconds, when nothing else is said. */
export const defaultTimeoutMs = 10_000;

export interface ExecOptions {
  /** Written to the command's standard input. */
  readonly input?: string;
  /** The command is killed after so many milliseconds. Default `defaultTimeoutMs`. */
  readonly timeoutMs?: number;
}

/**
 * Runs a program without a shell. Rejects with ExecError when it cannot be started, exits non-zero or takes too long.
 * Injected everywhere, so that tests can run the same code in another network namespace.
 */
export type Exec = (
  command: string,
  args: readonly string[],
  options?: ExecOptions,
  signal?: AbortSignal,
) => Promise<ExecResult>;

/** A command of the host failed. The message has the command line and what it said. */
export class ExecError extends Error {
  override readonly name = 'ExecError';
  readonly retryable: boolean;
  readonly command: string;
  /** Undefined when the program did not start or was killed. */
  readonly exitCode: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
  /** The program is not installed. */
  readonly notFound: boolean;
  /** The caller's signal ended it. */
  readonly cancelled: boolean;

  constructor(
    command: string,
    details: {
      readonly exitCode?: number | undefined;
      readonly stdout?: string;
      readonly stderr?: string;
      readonly why?: string;
      readonly notFound?: boolean;
      readonly cancelled?: boolean;
    },
  ) {
    const said = (details.stderr ?? '').trim() || (details.stdout ?? '').trim();
    const why = details.why ?? `exit status ${details.exitCode ?? '?'}`;
    super(`\`${command}\`: ${why}${said === '' ? '' : `: ${truncated(said)}`}`);
    this.command = command;
    this.exitCode = details.exitCode;
    this.stdout = details.stdout ?? '';
    this.stderr = details.stderr ?? '';
    this.notFound = details.notFound ?? false;
    this.cancelled = details.cancelled ?? false;
    this.retryable = !this.notFound;
  }
}

/** Whether `error` only says that the caller wanted no more. */
export function isCancelled(error: unknown): boolean {
  if (error instanceof ExecError) return error.cancelled;
  return error instanceof Error && error.name === 'AbortError';
}

/** Runs commands on this machine, each with `prefix` in front (for example `nsenter --net=…`). */
export function hostExec(prefix: readonly string[] = []): Exec {
  return (command, args, options = {}, signal) =>
    new Promise((resolve, reject) => {
      const [file = command, ...all] = [...prefix, command, ...args];
      const line = [command, ...args].join(' ');
      const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
      const child = execFile(
        file,
        all,
        {
          timeout: timeoutMs,
          killSignal: 'SIGKILL',
          maxBuffer: 64 * 1024 * 1024,
          // Tools must speak the language that the parsers read.
          env: {
            PATH: '/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin',
            LC_ALL: 'C',
          },
          ...(signal === undefined ? {} : { signal }),
        },
        (error, stdout, stderr) => {
          if (error === null) {
            resolve({ stdout, stderr });
            return;
          }
          const code: unknown = error.code;
          const why =
            code === 'ENOENT'
              ? 'not installed'
              : signal?.aborted === true
                ? 'cancelled'
                : error.killed === true
                  ? `no end after ${timeoutMs} ms`
                  : typeof code === 'number'
                    ? undefined
                    : error.message;
          reject(
            new ExecError(line, {
              stdout,
              stderr,
              exitCode: typeof code === 'number' ? code : undefined,
              notFound: code === 'ENOENT',
              cancelled: signal?.aborted === true,
              ...(why === undefined ? {} : { why }),
            }),
          );
        },
      );
      // A program that ends without reading its input must fail by its exit status, not by EPIPE here.
      child.stdin?.on('error', () => undefined);
      child.stdin?.end(options.input ?? '');
    });
}

/** Starts a long-running program and gives its output line by line; resolves when it ends or `signal` aborts. */
export type Follow = (
  command: string,
  args: readonly string[],
  onLine: (line: string) => void,
  signal: AbortSignal,
) => Promise<void>;

/** As `hostExec`, for programs that go on printing. Rejects with ExecError when the program cannot be started. */
export function hostFollow(prefix: readonly string[] = []): Follow {
  return (command, args, onLine, signal) =>
    new Promise((resolve, reject) => {
      const [file = command, ...all] = [...prefix, command, ...args];
      const child = spawn(file, all, { stdio: ['ignore', 'pipe', 'ignore'] });
      const kill = (): void => {
        child.kill('SIGKILL');
      };
      signal.addEventListener('abort', kill, { once: true });
      if (signal.aborted) kill();
      let rest = '';
      child.stdout.setEncoding('utf8');
      child.stdout.on('data', (chunk: string) => {
        const lines = (rest + chunk).split('\n');
        // A line without end must not fill the memory.
        rest = (lines.pop() ?? '').slice(-65536);
        for (const line of lines) onLine(line);
      });
      child.on('error', (error) => {
        signal.removeEventListener('abort', kill);
        reject(new ExecError([command, ...args].join(' '), { why: error.message }));
      });
      child.on('close', () => {
        signal.removeEventListener('abort', kill);
        resolve();
      });
    });
}

function truncated(text: string): string {
  return text.length > 2000 ? `${text.slice(0, 2000)}…` : text;
}
