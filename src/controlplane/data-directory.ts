import { createHash } from 'node:crypto';
import { mkdir, realpath } from 'node:fs/promises';
import { createServer } from 'node:net';

/** The data directory cannot be used; the message says why, and what to do. */
export class DataDirectoryError extends Error {
  override readonly name = 'DataDirectoryError';
  readonly retryable = false;
}

/**
 * Makes `directory` if it does not exist, and sees to it that only one process of this machine uses it until the returned function
 * is called: a second one would take the first one's etcd for a left-over and end it. The lock is a socket in Linux's
 * abstract namespace: the kernel frees it however the process ends, and no stale file can stay.
 *
 * @throws {DataDirectoryError}
 */
export async function holdDataDirectory(directory: string): Promise<() => void> {
  let real: string;
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    real = await realpath(directory);
  } catch (error) {
    throw new DataDirectoryError(
      `cannot keep data in ${directory}: ${(error as Error).message}; name another directory with --data-dir`,
    );
  }
  // The name of a socket is short; a path need not be.
  const name = createHash('sha256').update(real).digest('hex').slice(0, 32);
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => {
      socket.destroy();
    });
    server.on('error', (error: NodeJS.ErrnoException) => {
      reject(
        new DataDirectoryError(
          error.code === 'EADDRINUSE'
            ? `another nap is running with the data in ${directory}: stop it first, or give this one its own --data-dir, --api-port and --etcd-port`
            : `cannot lock ${directory}: ${error.message}`,
        ),
      );
    });
    server.listen(`\0nap-data/${name}`, () => {
      server.unref();
      resolve(() => {
        server.close();
      });
    });
  });
}
