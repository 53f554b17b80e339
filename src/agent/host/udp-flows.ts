import { ExecError, type Exec } from './exec.ts';

/** A UDP "connection" as the kernel tracks it: which virtual IP somebody spoke to, and who was made to answer. */
export interface UdpFlow {
  readonly virtualIP: string;
  readonly endpoint: string;
}

/** Reads what `conntrack -L` prints. Lines of another form are left out. */
export function parseFlows(listing: string): readonly UdpFlow[] {
  const flow =
    /^udp +17 +\d+ src=\S+ dst=(\S+) sport=\d+ dport=\d+ (?:\[UNREPLIED\] )?src=(\S+) /gm;
  return [...listing.matchAll(flow)].map(([, virtualIP = '', endpoint = '']) => ({
    virtualIP,
    endpoint,
  }));
}

/**
 * Forgets UDP flows that lead where they must not any more. A client that goes on sending would keep such a flow alive, and be
 * sent to nobody for ever: UDP has no end of a connection. Its next packet chooses anew.
 * @param which flows to look at, as options of conntrack: `--orig-dst 10.78.0.0/16`
 * Returns the number of flows. Throws ExecError, `notFound` when conntrack is not installed.
 */
export async function forgetFlows(
  exec: Exec,
  which: readonly string[],
  isStale: (flow: UdpFlow) => boolean,
  signal?: AbortSignal,
): Promise<number> {
  const { stdout } = await exec(
    'conntrack',
    ['-L', '-f', 'ipv4', '-p', 'udp', ...which],
    {},
    signal,
  );
  const stale = parseFlows(stdout).filter(isStale);
  // All that lead from one virtual IP to one endpoint go together: a busy service has thousands.
  const pairs = new Map(stale.map((flow) => [`${flow.virtualIP} ${flow.endpoint}`, flow]));
  for (const { virtualIP, endpoint } of pairs.values()) {
    const pair = ['--orig-dst', virtualIP, '--reply-src', endpoint];
    try {
      await exec('conntrack', ['-D', '-f', 'ipv4', '-p', 'udp', ...pair], {}, signal);
    } catch (error) {
      // They may have ended by themselves meanwhile: then it finds none, and says so by its exit code.
      if (!(error instanceof ExecError) || error.exitCode !== 1) throw error;
    }
  }
  return stale.length;
}
