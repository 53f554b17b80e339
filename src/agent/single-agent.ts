import { createServer } from 'node:net';

/** Another agent process for the same host and engine runs on this machine. */
export class AgentRunningError extends Error {
  override readonly name = 'AgentRunningError';
  readonly retryable = false;
}

/**
 * Makes sure that only one process of this machine holds `name` until the returned function is called.
 * The lock is a socket in Linux's abstract namespace: the kernel frees it however the process ends, and no stale file can stay.
 *
 * Throws AgentRunningError when another process holds it.
 */
export function holdAlone(name: string): Promise<() => void> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => {
      socket.destroy();
    });
    server.on('error', (error: NodeJS.ErrnoException) => {
      reject(
        error.code === 'EADDRINUSE'
          ? new AgentRunningError(`an agent for ${name} is running on this machine already`)
          : error,
      );
    });
    server.listen(`\0nap-agent/${name}`, () => {
      server.unref();
      resolve(() => {
        server.close();
      });
    });
  });
}
