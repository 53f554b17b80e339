import { spawn, type ChildProcessByStdio } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import type { Box, Container } from '../../test/support/box.ts';
import { output } from '../../test/support/command.ts';

/** A host, or a container. */
export type Place = string | Pick<Container, 'host' | 'id'>;

/** One that was started by `startInside`. */
export type Inside = ChildProcessByStdio<Writable, Readable, null>;

const tsx = new URL('../../node_modules/.bin/tsx', import.meta.url).pathname;

/**
 * Starts a program of this directory in the network of `place`. The program has to end with its standard input, which `stopInside`
 * closes: it runs in a host's own process namespace, where a signal does not reach it.
 */
export async function startInside(
  box: Box,
  place: Place,
  program: string,
  ...args: readonly string[]
): Promise<Inside> {
  const [command = '', ...words] = await commandInside(box, place, program, args);
  return spawn(command, words, { stdio: ['pipe', 'pipe', 'inherit'] });
}

/** Ends it, without waiting for that. */
export function stopInside(program: Inside): void {
  program.stdin.end();
}

/** Runs a program of this directory to its end. @returns its standard output. @throws {CommandError} */
export async function runInside(
  box: Box,
  place: Place,
  program: string,
  ...args: readonly string[]
): Promise<string> {
  return output(await commandInside(box, place, program, args));
}

async function commandInside(
  box: Box,
  place: Place,
  program: string,
  args: readonly string[],
): Promise<readonly string[]> {
  const path = new URL(program, import.meta.url).pathname;
  return [...(await box.prefix(place)), tsx, path, ...args];
}
