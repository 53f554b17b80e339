import { meshKey, type MeshPort } from '../../network/virtual-ip/virtual-ips.ts';
import type { Exec } from './exec.ts';

const tables = ['tcp', 'tcp6', 'udp', 'udp6'].map((name) => `/proc/net/${name}`);

/** LISTEN of TCP; of UDP: bound, and not to one other side. */
const waiting: Readonly<Record<string, string>> = { tcp: '0A', udp: '07' };

/**
 * Of `ports`, those at which a process of this host itself waits, not on loopback alone: named as `meshKey` does. Throws
 * ExecError.
 */
export async function busyPorts(
  exec: Exec,
  ports: readonly Pick<MeshPort, 'port' | 'protocol'>[],
  signal?: AbortSignal,
): Promise<ReadonlySet<string>> {
  if (ports.length === 0) return new Set();
  // One after the other, with a line between them: `head` says which is which. IPv6 may not be there.
  const script = `for f in ${tables.join(' ')}; do echo "$f"; cat "$f" 2>/dev/null; done`;
  const { stdout } = await exec('sh', ['-c', script], {}, signal);
  const busy = listeners(stdout);
  return new Set(ports.map(meshKey).filter((key) => busy.has(key)));
}

/** `tcp . 80` of each port at which somebody waits. Pure. */
export function listeners(listing: string): ReadonlySet<string> {
  const found = new Set<string>();
  let protocol = '';
  for (const line of listing.split('\n')) {
    const head = /^\/proc\/net\/(tcp|udp)6?$/.exec(line);
    if (head !== null) protocol = head[1] ?? '';
    const socket = /^\s*\d+: ([0-9A-F]{8,32}):([0-9A-F]{4}) [0-9A-F]+:0000 ([0-9A-F]{2}) /.exec(
      line,
    );
    if (socket === null) continue;
    const [, address = '', port = '', state] = socket;
    if (state !== waiting[protocol] || isLoopback(address)) continue;
    found.add(`${protocol} . ${parseInt(port, 16)}`);
  }
  return found;
}

/** 127.0.0.0/8 or ::1, as the kernel writes them on a little-endian machine. */
function isLoopback(address: string): boolean {
  return address.length === 8
    ? address.endsWith('7F')
    : address === '00000000000000000000000001000000';
}
