import { readFile } from 'node:fs/promises';

/** States of a TCP socket, as the kernel prints them. */
const established = '01';
const synReceived = '03';
/** The other side sends no more, but may wait for an answer. */
const closeWait = '08';
const listening = '0A';

const open: ReadonlySet<string> = new Set([established, synReceived, closeWait]);

interface Socket {
  readonly localAddress: string;
  readonly localPort: string;
  readonly remoteAddress: string;
  readonly state: string;
}

/**
 * Counts the connections that others have to the servers in a network namespace: those at ports on which somebody listens, not
 * from inside. `tables` are /proc/…/net/tcp and tcp6. Pure.
 */
export function countConnections(...tables: readonly string[]): number {
  const sockets = tables.flatMap(parseSockets);
  const ports = new Set(
    sockets.filter(({ state }) => state === listening).map(({ localPort }) => localPort),
  );
  return sockets.filter(
    ({ state, localAddress, localPort, remoteAddress }) =>
      open.has(state) && ports.has(localPort) && localAddress !== remoteAddress,
  ).length;
}

/** Lines such as `  0: 0100007F:1F90 00000000:0000 0A …`. */
function parseSockets(table: string): Socket[] {
  return [
    ...table.matchAll(
      /^\s*\d+: ([0-9A-F]{8,32}):([0-9A-F]{4}) ([0-9A-F]{8,32}):[0-9A-F]{4} ([0-9A-F]{2}) /gm,
    ),
  ].map(([, localAddress = '', localPort = '', remoteAddress = '', state = '']) => ({
    localAddress,
    localPort,
    remoteAddress,
    state,
  }));
}

/** Open connections to the servers of a container, by its first process; undefined: it cannot be told. */
export async function openConnections(pid: number): Promise<number | undefined> {
  try {
    const table = (name: string): Promise<string> => readFile(`/proc/${pid}/net/${name}`, 'utf8');
    const none = (): string => '';
    return countConnections(await table('tcp'), await table('tcp6').catch(none));
  } catch {
    return undefined;
  }
}
