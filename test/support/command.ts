import { spawn } from 'node:child_process';

/** How a program ended, and what it said. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
  /** The program is killed after this long. Default 60,000. */
  readonly timeoutMs?: number;
}

/** A program that did not end with 0. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
  readonly outcome: Outcome;

  constructor(command: readonly string[], outcome: Outcome) {
    super(
      `${command.join(' ').slice(0, 500)}: exit code ${outcome.code}\n${(outcome.stderr || outcome.stdout).slice(-4_000)}`,
    );
    this.outcome = outcome;
  }
}

/** Runs a program to its end, whatever its exit code; rejects only when it cannot be started. A killed one has code 137. */
export function run(command: readonly string[], options: CommandOptions = {}): Promise<Outcome> {
  const [program = '', ...args] = command;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      env: { ...process.env, ...options.env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? 60_000);
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.once('error', reject);
    child.once('close', (code) => {
      clearTimeout(timer);
      resolve({ code: code ?? 137, stdout, stderr });
    });
    // A program that ends without reading its input is no mistake of ours.
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input ?? '');
  });
}

/** Standard output of a program that must succeed. @throws {CommandError} */
export async function output(
  command: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  const outcome = await run(command, options);
  if (outcome.code !== 0) throw new CommandError(command, outcome);
  return outcome.stdout;
}
