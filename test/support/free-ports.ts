import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

/** Below what the kernel gives out by itself (net.ipv4.ip_local_port_range), above what services have. */
const range = { first: 10_000, end: 32_768 };

/**
 * Ports of 127.0.0.1 that are free, for servers that start later, or again and again. Nobody else gets them in between, be it as the
 * client of a connection or by listening at port 0.
 */
export async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) {
    const port = randomInt(range.first, range.end);
    if (await isFree(port)) ports.add(port);
  }
  return [...ports];
}

function isFree(port: number): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once('error', () => {
      resolve(false);
    });
    server.listen(port, '127.0.0.1', () => {
      server.close(() => {
        resolve(true);
      });
    });
  });
}
