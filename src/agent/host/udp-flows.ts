import type { Exec } from './exec.ts';

/** A UDP "connection" as the kernel tracks it: who spoke to which virtual IP, and who was made to answer. */
export interface UdpFlow {
  readonly source: string;
  readonly sourcePort: string;
  readonly virtualIP: string;
  readonly port: string;
  readonly endpoint: string;
}

/** Reads what `conntrack -L` prints. Lines of another form are left out. */
export function parseFlows(listing: string): readonly UdpFlow[] {
  return [
    ...listing.matchAll(
      /^udp +17 +\d+ src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+) (?:\[UNREPLIED\] )?src=(\S+) /gm,
    ),
  ].map(([, source = '', virtualIP = '', sourcePort = '', port = '', endpoint = '']) => ({
    source,
    virtualIP,
    sourcePort,
    port,
    endpoint,
  }));
}

/**
 * Forgets UDP flows that lead where they must not any more. A client that goes on sending would keep such a flow alive, and be
 * sent to nobody for ever: UDP has no end of a connection. Its next packet chooses anew.
 * @param range virtual IPs to look at, CIDR
 * Returns the number of flows. Throws ExecError, `notFound` when conntrack is not installed.
 */
export async function forgetFlows(
  exec: Exec,
  range: string,
  isStale: (flow: UdpFlow) => boolean,
  signal?: AbortSignal,
): Promise<number> {
  const { stdout } = await exec(
    'conntrack',
    ['-L', '-f', 'ipv4', '-p', 'udp', '--orig-dst', range],
    {},
    signal,
  );
  const stale = parseFlows(stdout).filter(isStale);
  for (const { source, virtualIP, sourcePort, port } of stale) {
    // It may have ended by itself meanwhile.
    await exec(
      'conntrack',
      [
        ...['-D', '-f', 'ipv4', '-p', 'udp', '--orig-src', source, '--orig-dst', virtualIP],
        ...['--orig-port-src', sourcePort, '--orig-port-dst', port],
      ],
      {},
      signal,
    ).catch((error: unknown) => {
      if (signal?.aborted === true) throw error;
    });
  }
  return stale.length;
}
