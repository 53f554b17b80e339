import { createConnection } from 'node:net';
import { deadline } from '../../runtime/deadline.ts';
import type { Clock } from '../../runtime/clock.ts';

/** HAProxy's master process does not answer, or what it answers makes no sense. */
export class RouterAwayError extends Error {
  override readonly name = 'RouterAwayError';
  readonly retryable = true;
}

/** Longest that HAProxy may take for an answer, milliseconds. */
const answerMs = 5_000;
/** A state of ten thousand backends has a few MB. */
const maxAnswerBytes = 64 * 1024 * 1024;

/** One command, or several joined by ";", to HAProxy's master; gives all that it says. @throws {RouterAwayError} */
export async function askMaster(
  socket: string,
  command: string,
  clock: Clock,
  signal: AbortSignal,
): Promise<string> {
  const limit = deadline(clock, answerMs, 'an answer of the router', signal);
  try {
    return await ask(socket, command, limit.signal);
  } catch (error) {
    signal.throwIfAborted();
    const why = error instanceof Error ? error.message : String(error);
    throw new RouterAwayError(`the router does not answer: ${why}`, { cause: error });
  } finally {
    limit.dispose();
  }
}

function ask(socket: string, command: string, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const connection = createConnection({ path: socket, allowHalfOpen: true });
    const chunks: Buffer[] = [];
    let size = 0;
    const stop = (): void => {
      connection.destroy(signal.reason instanceof Error ? signal.reason : new Error('aborted'));
    };
    const done = (): void => {
      signal.removeEventListener('abort', stop);
      connection.destroy();
    };
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    connection.on('error', (error) => {
      done();
      reject(error);
    });
    connection.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > maxAnswerBytes) connection.destroy(new Error('it says too much'));
      else chunks.push(chunk);
    });
    connection.on('end', () => {
      done();
      resolve(Buffer.concat(chunks).toString('utf8'));
    });
    connection.end(`${command}\n`);
  });
}
