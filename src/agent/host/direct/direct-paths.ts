import { formatIpv4, type Cidr } from '../../../network/address/cidr.ts';
import {
  desiredDirectTables,
  diffDirectTables,
  directTable,
  emptyDirectTables,
  peersIn,
  probeMark,
  probeTable,
  type DirectPeer,
  type DirectTables,
  type TunnelPeer,
} from '../../../network/overlay/direct-routes.ts';
import type { OverlayConfig } from '../../../network/overlay/overlay-config.ts';
import { normalizeMac, type OverlayTables } from '../../../network/overlay/vxlan.ts';
import { whenAborted } from '../../../runtime/aborted.ts';
import type { Clock } from '../../../runtime/clock.ts';
import { runPeriodically } from '../../../runtime/periodic.ts';
import { runUntil } from '../../../runtime/run-until.ts';
import type { Logger } from '../../../telemetry/log.ts';
import { findings, type Finding } from '../../audit/finding.ts';
import {
  applyDirect,
  askForNeighbours,
  ensureLooseFilter,
  onSegment,
  readDirectTables,
  readNeighbours,
} from './direct-tables.ts';
import { ExecError, type Exec } from '../exec.ts';
import type { Underlay } from '../carrier/underlay.ts';

/** A path that is in use is tried this often; one that carries nothing, after 1, 2, 4 … s, and at last this often, too. */
const retryMs = 30_000;
/** Between two rounds. */
const roundMs = 1_000;
/** Paths that are tried in one round. */
const perRound = 8;
/** So many tries in a row must fail before a path that was in use is given up, or a path that never was is told as a problem. */
const patience = 3;

export interface DirectPathsOptions {
  readonly exec: Exec;
  readonly network: Cidr;
  /** This host's own address in the overlay. */
  readonly source: string;
  /** Device of the underlay. */
  readonly device: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** `ensure` should be called: another path is to be used than before. */
  readonly onChange: () => void;
  /** Opens or closes (undefined) a matter that the host's owner should know. */
  readonly onProblem: (key: string, message: string | undefined) => void;
}

/** How a host may be reached. */
interface Path extends TunnelPeer {
  /** Undefined: not asked yet. */
  isOnSegment: boolean | undefined;
  /**
   * The host's MAC on the segment, as it was last seen there. It stands when the host is not reached directly any more, for the other
   * side may not have noticed yet.
   */
  mac: string | undefined;
  /** Packets pass directly. */
  isProved: boolean;
  failures: number;
  /** When it is tried next, monotonic milliseconds. */
  due: number;
  isTold: boolean;
}

/**
 * Which hosts are reached directly, and the kernel's routes to them (direct-routes.ts says where they lie, and why there).
 *
 * To be on the same segment is not enough: networks of clouds drop packets under addresses that are not the sender's, and a host
 * whose agent does not route directly (yet) drops what does not come out of the tunnel. Packets that get lost so are told to
 * nobody. So a path is tried first, by pings between the two hosts' addresses in the overlay, and again while it is in use; what does not
 * pass goes through the tunnel. That also lets the agents of a cluster be restarted one by one when the option is switched on or off.
 *
 * Calls of `ensure…` must not overlap.
 */
export class DirectPaths {
  readonly #options: DirectPathsOptions;
  /** By subnet. */
  #paths = new Map<string, Path>();
  /** What the kernel holds, as far as is known. */
  #believed: DirectTables | undefined;
  #stood: DirectTables | undefined;
  #segment: ReadonlyMap<string, string> = new Map();
  #isOn = true;

  constructor(options: DirectPathsOptions) {
    this.#options = options;
  }

  /** What the packet filter's rules need to know of it. */
  get rules(): { readonly segment: string } {
    return { segment: this.#options.device };
  }

  /** Base of the subnet of each host on the segment → its MAC there. The same object as long as nothing has changed. */
  get segment(): ReadonlyMap<string, string> {
    return this.#segment;
  }

  /**
   * Off: nothing is sent directly any more, while what comes directly is still taken in. So no host sends what another, whose agent was
   * restarted without direct routing, drops.
   */
  turn(isOn: boolean): void {
    if (this.#isOn === isOn) return;
    this.#isOn = isOn;
    // Others may have changed meanwhile.
    for (const path of this.#paths.values()) {
      Object.assign(path, untried);
      this.#tell(path, undefined);
    }
    this.#options.onChange();
  }

  /** Kernel parameters. Returns what was changed. Throws ExecError. */
  async ensureBase(signal?: AbortSignal): Promise<readonly Finding[]> {
    const { exec, device } = this.#options;
    return findings('sysctl', await ensureLooseFilter(exec, device, signal));
  }

  /**
   * Brings the direct routes to what is known of the hosts in `tables`. With `audit`, all is asked of the kernel anew. Returns what somebody else
   * had changed. Throws ExecError; the next call reads the kernel.
   */
  async ensure(
    tables: OverlayTables,
    audit: boolean,
    signal?: AbortSignal,
  ): Promise<readonly Finding[]> {
    const { exec, network, source, device } = this.#options;
    const believed = audit ? undefined : this.#believed;
    const observed = believed ?? (await readDirectTables(exec, signal));
    this.#take(tables, observed);
    await this.#locate(audit, signal);
    await this.#meet(signal);
    this.#noteSegment();
    const peers = [...this.#paths.values()].map(peerOf);
    const desired = desiredDirectTables(network, source, this.#isOn ? peers : []);
    const repairs =
      audit && this.#stood !== undefined ? diffDirectTables(observed, this.#stood, device) : [];
    this.#believed = undefined;
    await applyDirect(exec, diffDirectTables(observed, desired, device), signal);
    this.#believed = desired;
    this.#stood = desired;
    const count = repairs.length;
    return count === 0 ? [] : [{ kind: 'route', count, what: 'direct routes restored' }];
  }

  /** Whether a line of `ip -o -4 monitor` (addresses, neighbours, routes, rules) tells of something that `ensure` should look at. */
  concerns(line: string): boolean {
    const { device } = this.#options;
    if (/^Deleted /.test(line)) {
      if (new RegExp(` (table|lookup) (${directTable}|${probeTable}) `).test(`${line} `))
        return true;
    }
    const [first = '', ...words] = line.replace(/^Deleted /, '').split(/\s+/);
    if (/^\d+:$/.test(first)) {
      // An address of the underlay came or went, or the cable was put in: the kernel took the routes away when it was pulled.
      if (words[0] === device) return words[1] === 'inet';
      return /^[^:@]*/.exec(words[0] ?? '')?.[0] === device && line.includes('LOWER_UP');
    }
    const [, on, , mac] = words;
    if (words[0] !== 'dev' || on !== device) return false;
    for (const path of this.#paths.values()) {
      if (path.address !== first) continue;
      const seen = words[2] === 'lladdr' ? normalizeMac(mac ?? '') : undefined;
      return path.isOnSegment === true && seen !== undefined && seen !== path.mac;
    }
    return false;
  }

  /** Tries paths for as long as there is a `ping` on this host. Ends when `signal` aborts, and not before. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log, onProblem } = this.#options;
    const key = 'direct routing';
    await runUntil(
      (stop, until) =>
        runPeriodically(
          { name: 'direct paths', intervalMs: roundMs, slowMs: 60_000, clock, log },
          async (s) => {
            try {
              await this.step(s);
              onProblem(key, undefined);
            } catch (error) {
              if (!(error instanceof ExecError && error.notFound)) throw error;
              onProblem(
                key,
                'DirectRouting needs `ping` on this host, which is not installed: all goes through the tunnel',
              );
              stop();
            }
          },
          until,
        ),
      signal,
    );
    // An end would count as a failure, and be tried again and again.
    await whenAborted(signal);
  }

  /** Tries the paths that are due, first those that have waited longest. */
  async step(signal?: AbortSignal): Promise<void> {
    const now = this.#options.clock.monotonic();
    const due = [...this.#paths.values()]
      .filter((path) => path.due <= now && this.#isTriable(path))
      .sort((a, b) => a.due - b.due)
      .slice(0, perRound);
    await Promise.all(due.map((path) => this.#try(path, signal)));
  }

  async #try(path: Path, signal?: AbortSignal): Promise<void> {
    const { clock, source, onChange } = this.#options;
    const marked = ['-m', String(probeMark), '-I', source, path.via];
    const passes = await this.#answers(marked, signal);
    if (!this.#isTriable(path)) return;
    const now = clock.monotonic();
    if (passes) {
      path.failures = 0;
      path.due = now + retryMs;
      this.#tell(path, undefined);
      if (path.isProved) return;
      path.isProved = true;
      onChange();
      return;
    }
    path.failures += 1;
    const isGivenUp = path.failures >= patience;
    path.due =
      now +
      (path.isProved && !isGivenUp ? 0 : Math.min(retryMs, roundMs * 2 ** (path.failures - 1)));
    if (!isGivenUp) return;
    if (path.isProved) {
      path.isProved = false;
      onChange();
    }
    // A host that is away says nothing about the path to it.
    if (!(await this.#answers([path.address], signal)) || !this.#isTriable(path)) return;
    this.#tell(
      path,
      `host ${path.address} is on this host's segment, but no ping comes back that is sent to it directly, from this host's address in the ` +
        'overlay to its: packets for it go through the tunnel. Its agent runs without DirectRouting, or the network ' +
        "drops packets under addresses that are not the host's (clouds: source/destination check), or the host answers no ping there",
    );
  }

  /** It may be a path no more once it has been tried. */
  #isTriable(path: Path): boolean {
    return this.#isOn && this.#paths.get(path.subnet) === path && peerOf(path).path !== 'tunnel';
  }

  async #answers(args: readonly string[], signal?: AbortSignal): Promise<boolean> {
    try {
      await this.#options.exec('ping', ['-n', '-q', '-c', '1', '-W', '1', ...args], {}, signal);
      return true;
    } catch (error) {
      if (!(error instanceof ExecError) || error.notFound || error.cancelled) throw error;
      return false;
    }
  }

  #tell(path: Path, message: string | undefined): void {
    if (message === undefined && !path.isTold) return;
    path.isTold = message !== undefined;
    this.#options.onProblem(`direct path ${path.subnet}`, message);
  }

  /** Takes the hosts in `tables`. What an earlier agent routed directly is so still. */
  #take(tables: OverlayTables, observed: DirectTables): void {
    const before = this.#paths;
    this.#paths = new Map();
    for (const peer of peersIn(tables)) {
      const { subnet, vtep, address } = peer;
      const found = before.get(subnet);
      const known = found?.vtep === vtep ? found : undefined;
      const isProved =
        this.#stood === undefined && observed.routes.get(`${directTable} ${subnet}`) === address;
      const path = known?.address === address ? known : newPath(peer, known?.mac, isProved);
      this.#paths.set(subnet, path);
    }
    for (const path of before.values()) {
      if (this.#paths.get(path.subnet) !== path) this.#tell(path, undefined);
    }
  }

  async #locate(audit: boolean, signal?: AbortSignal): Promise<void> {
    const { exec, device } = this.#options;
    const asked = [...this.#paths.values()].filter((p) => audit || p.isOnSegment === undefined);
    const addresses = [...new Set(asked.map(({ address }) => address))];
    const found = await onSegment(exec, device, addresses, signal);
    for (const path of asked) {
      path.isOnSegment = found.has(path.address);
      if (path.isOnSegment) continue;
      Object.assign(path, untried);
      this.#tell(path, undefined);
    }
  }

  /** Learns the MACs of hosts on the segment. One that was seen stands until another is. */
  async #meet(signal?: AbortSignal): Promise<void> {
    const { exec, device } = this.#options;
    const here = [...this.#paths.values()].filter(({ isOnSegment }) => isOnSegment);
    if (here.length === 0) return;
    const seen = await readNeighbours(exec, device, signal);
    for (const path of here) path.mac = seen.get(path.address) ?? path.mac;
    const unknown = here.filter(({ mac }) => mac === undefined).map(({ address }) => address);
    await askForNeighbours(exec, device, unknown, signal);
  }

  #noteSegment(): void {
    const before = this.#segment;
    const now = new Map<string, string>();
    for (const { via, mac } of this.#paths.values()) if (mac !== undefined) now.set(via, mac);
    const isSame =
      before.size === now.size && [...now].every(([via, mac]) => before.get(via) === mac);
    if (!isSame) this.#segment = now;
  }
}

/** For a host of a network with this config; undefined where the option is off. @param subnet this host's */
export function directPaths(
  { network, directRouting }: OverlayConfig,
  subnet: Cidr,
  underlay: Underlay,
  more: Omit<DirectPathsOptions, 'network' | 'source' | 'device'>,
): DirectPaths | undefined {
  if (directRouting !== true) return undefined;
  const { device } = underlay;
  return new DirectPaths({ ...more, network, source: formatIpv4(subnet.base), device });
}

/**
 * Takes back what an earlier agent has left of direct routing, where it is off: all goes through the tunnel. Returns what was
 * changed. Throws ExecError when it is there and cannot be taken back.
 */
export async function endDirectRouting(
  exec: Exec,
  device: string,
  signal?: AbortSignal,
): Promise<readonly Finding[]> {
  let observed: DirectTables;
  try {
    observed = await readDirectTables(exec, signal);
  } catch (error) {
    if (!(error instanceof ExecError) || error.exitCode === undefined) throw error;
    // A kernel with one routing table alone.
    return [];
  }
  const left = diffDirectTables(observed, emptyDirectTables, device);
  await applyDirect(exec, left, signal);
  return findings('route', left);
}

const untried = { isProved: false, failures: 0, due: 0 };

function newPath(peer: TunnelPeer, mac: string | undefined, isProved: boolean): Path {
  return { ...peer, ...untried, mac, isProved, isOnSegment: undefined, isTold: false };
}

function peerOf({ subnet, address, isOnSegment, mac, isProved }: Path): DirectPeer {
  const path = isOnSegment !== true || mac === undefined ? 'tunnel' : isProved ? 'direct' : 'tried';
  return { subnet, address, path };
}
