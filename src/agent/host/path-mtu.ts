import { whenAborted } from '../../runtime/aborted.ts';
import type { Clock } from '../../runtime/clock.ts';
import { runPeriodically } from '../../runtime/periodic.ts';
import { runUntil } from '../../runtime/run-until.ts';
import type { Logger } from '../../telemetry/log.ts';
import { ExecError, type Exec } from './exec.ts';

/** IPv4 header and ICMP header: what a ping's payload is shorter by than its packet. RFC 791, RFC 792. */
const pingHeaderBytes = 28;
/** What every path of IPv4 carries (RFC 791 says less, but no network does). */
const leastBytes = 576;
/** Each path is tried this often: routes and tunnels under the overlay change while it runs. */
const everyMs = 600_000;
/** Between two tries, of whichever paths. */
const leastGapMs = 1_000;

export interface PathMtuOptions {
  readonly exec: Exec;
  /** Size of the largest packet that the overlay sends to another host, headers included, in bytes. */
  readonly packetBytes: number;
  /** Underlay addresses of the other hosts. */
  readonly peers: () => readonly string[];
  readonly clock: Clock;
  readonly log: Logger;
  /** Opens or closes (undefined) a matter that the host's owner should know. */
  readonly onProblem: (key: string, message: string | undefined) => void;
  /** How often each path is tried, in milliseconds. Default ten minutes. */
  readonly intervalMs?: number;
}

/**
 * Finds out whether the overlay's packets fit through the network below it, path by path: a tunnel or a VLAN on the way that carries
 * less than the interface says makes connections that begin well and then stand still, and nothing else tells. Pings of the full size,
 * not to be fragmented, one path at a time, however many hosts there are; a host that answers no ping at all says nothing.
 */
export class PathMtu {
  readonly #options: PathMtuOptions;
  /** Address → when it was tried, monotonic milliseconds. */
  readonly #tried = new Map<string, number>();
  readonly #narrow = new Set<string>();

  constructor(options: PathMtuOptions) {
    this.#options = options;
  }

  /** Tries paths for as long as there is a `ping` on this host. Ends when `signal` aborts, and not before. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    await runUntil(
      (stop, until) =>
        runPeriodically(
          { name: 'path MTU', intervalMs: leastGapMs, slowMs: 60_000, clock, log },
          async (s) => {
            try {
              await this.step(s);
            } catch (error) {
              if (!(error instanceof ExecError && error.notFound)) throw error;
              log.warn(
                'this host has no ping: nobody tries whether its packets fit through the network',
              );
              stop();
            }
          },
          until,
        ),
      signal,
    );
    // An end would count as a failure, and take the overlay's other tasks with it.
    await whenAborted(signal);
  }

  /** Tries the path that has waited longest, if it is due. */
  async step(signal?: AbortSignal): Promise<void> {
    const { clock, peers, intervalMs = everyMs } = this.#options;
    const present = new Set(peers());
    for (const address of [...this.#tried.keys()]) {
      if (present.has(address)) continue;
      this.#tried.delete(address);
      this.#say(address, undefined);
    }
    const now = clock.monotonic();
    let next: string | undefined;
    let longest = -1;
    for (const address of present) {
      const waited = now - (this.#tried.get(address) ?? Number.NEGATIVE_INFINITY);
      if (waited >= intervalMs && waited > longest) [next, longest] = [address, waited];
    }
    if (next === undefined) return;
    this.#tried.set(next, now);
    await this.#try(next, signal);
  }

  async #try(address: string, signal?: AbortSignal): Promise<void> {
    const { packetBytes } = this.#options;
    const passes = (bytes: number): Promise<boolean> => this.#passes(address, bytes, signal);
    if (await passes(packetBytes)) {
      this.#say(address, undefined);
      return;
    }
    // Away, or it answers none: nothing is known, and what was known stands.
    if (!(await passes(leastBytes))) return;
    const carries = await largestThatPasses(leastBytes, packetBytes, passes);
    this.#say(
      address,
      `the path to host ${address} carries packets of ${carries} bytes at most, and the overlay sends ${packetBytes}: ` +
        `set "MTU": ${carries} under "Backend" in /coreos.com/network/config and restart the agents, or mend the path`,
    );
  }

  async #passes(address: string, bytes: number, signal?: AbortSignal): Promise<boolean> {
    const size = String(bytes - pingHeaderBytes);
    // Three tries within two seconds: one lost packet says nothing about the rest.
    const args = ['-4', '-n', '-q', '-M', 'do', '-c', '3', '-i', '0.3', '-w', '2', '-s', size];
    try {
      const { stdout } = await this.#options.exec('ping', [...args, address], {}, signal);
      return received(stdout) > 0;
    } catch (error) {
      if (!(error instanceof ExecError) || error.exitCode === undefined) throw error;
      return received(error.stdout) > 0;
    }
  }

  #say(address: string, problem: string | undefined): void {
    if (problem === undefined && !this.#narrow.delete(address)) return;
    if (problem !== undefined) this.#narrow.add(address);
    this.#options.onProblem(`path to ${address}`, problem);
  }
}

/** Answers that a summary of ping's tells of. */
function received(summary: string): number {
  return Number(/(\d+) received/.exec(summary)?.[1] ?? 0);
}

/**
 * The largest number of bytes from `low`, which passes, to below `high`, which does not, by bisection. If what passes changes meanwhile, some
 * number that did.
 */
export async function largestThatPasses(
  low: number,
  high: number,
  passes: (bytes: number) => Promise<boolean>,
): Promise<number> {
  let [good, bad] = [low, high];
  while (bad - good > 1) {
    const middle = Math.floor((good + bad) / 2);
    if (await passes(middle)) good = middle;
    else bad = middle;
  }
  return good;
}
