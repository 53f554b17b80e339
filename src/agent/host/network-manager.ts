import { formatCidr, formatIpv4, parseCidr, type Cidr } from '../../network/cidr.ts';
import {
  defaultNetworkConfig,
  overlayConfig,
  OverlayConfigError,
  type OverlayConfig,
} from '../../network/overlay-config.ts';
import {
  networkConfigPath,
  networkConfigRecords,
  subnetRecords,
} from '../../registry/records/subnet.ts';
import { systemClock, type Clock } from '../../runtime/clock.ts';
import { asError } from '../../runtime/errors.ts';
import { runPeriodically } from '../../runtime/periodic.ts';
import { supervise } from '../../runtime/supervise.ts';
import { Trigger } from '../../runtime/trigger.ts';
import type { Logger } from '../../telemetry/log.ts';
import { ExecError, hostExec, hostFollow, type Exec, type Follow } from './exec.ts';
import { HostNetwork, overlayMtu, readPrevious } from './host-network.ts';
import type {
  NetworkCounters,
  NetworkManagerOptions,
  NetworkProblem,
  OverlayInfo,
} from './network-options.ts';
import { PeerView } from './peer-view.ts';
import { SubnetHolder } from './subnet-lease.ts';
import { findUnderlay } from './underlay.ts';
import { checksumOffloadIsSafe } from './vxlan-device.ts';

/** Shortest time between two audits that hints asked for. */
const auditGapMs = 500;

interface Setup {
  readonly info: OverlayInfo;
  readonly config: OverlayConfig;
  readonly subnet: Cidr;
  readonly mac: string;
  readonly host: HostNetwork;
  readonly view: PeerView;
}

/**
 * Keeps this host in the overlay: takes its subnet, builds device, tables and packet filter, follows the other hosts and
 * repairs what others break. Whatever exists already is adopted, so neither a restart of the agent nor an absent
 * store interrupts traffic; a stop leaves all in place.
 */
export class NetworkManager {
  readonly counters: NetworkCounters = { audits: 0, repairs: 0, tableChanges: 0 };
  readonly #options: NetworkManagerOptions;
  readonly #log: Logger;
  readonly #exec: Exec;
  readonly #follow: Follow;
  readonly #clock: Clock;
  readonly #holder: SubnetHolder;
  readonly #device: string;
  readonly #bridge: string;
  readonly #auditHint = new Trigger();
  readonly #ownHint = new Trigger();
  readonly #open = new Map<string, string>();
  readonly #listeners = new Set<() => void>();
  #setup: Setup | undefined;
  /** Kernel changes wait for one another. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: NetworkManagerOptions) {
    this.#options = options;
    this.#log = options.log.child({ component: 'network' });
    this.#exec = options.exec ?? hostExec();
    this.#follow = options.follow ?? hostFollow();
    this.#clock = options.clock ?? systemClock;
    this.#device = options.device ?? 'nap.1';
    this.#bridge = options.bridge ?? 'nap0';
    this.#holder = new SubnetHolder({
      store: options.store,
      log: this.#log,
      random: options.random ?? Math.random,
      ...(options.subnetTtlMs === undefined ? {} : { ttlMs: options.subnetTtlMs }),
    });
  }

  /** What is wrong at the moment, in words for the Host's status. */
  problems(): readonly string[] {
    return [...this.#open.values()];
  }

  /** Has `listener` called when `problems()` has changed. */
  onProblems(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** The host's place in the overlay, once `ensure` has succeeded. */
  get current(): OverlayInfo | undefined {
    return this.#setup?.info;
  }

  /**
   * Takes or confirms the subnet and brings device, kernel parameters and packet filter into being. Idempotent; once it has
   * succeeded, the subnet never changes for the life of this object. Throws OverlayConfigError (the config in the store must be
   * corrected), UnderlayError, DeviceConflictError, NoSubnetError, SubnetTakenError, ExecError, or the store's
   * errors: all worth retrying with a pause.
   */
  async ensure(signal?: AbortSignal): Promise<OverlayInfo> {
    return this.#guard('setup', () =>
      this.#exclusive(async () => {
        const before = this.#setup;
        const setup = (this.#setup ??= await this.#prepare(signal));
        const changes = await setup.host.ensureBase(signal);
        // What has to be done again was undone by somebody.
        if (setup === before) this.#reportRepairs(changes);
        return setup.info;
      }),
    );
  }

  /** Asks for an audit now. */
  requestAudit(): void {
    this.#auditHint.fire();
  }

  /**
   * Compares the kernel with what it should hold, repairs, counts and reports. Returns what was wrong. Throws
   * ExecError when a repair failed. Calls `ensure` first if need be.
   */
  async audit(signal?: AbortSignal): Promise<readonly string[]> {
    const found = await this.#exclusive(async () => {
      const setup = (this.#setup ??= await this.#prepare(signal));
      const changes = [...(await setup.host.ensureBase(signal))];
      if (setup.view.synced) {
        const { operations, refused } = await setup.host.ensurePeers(setup.view, true, signal);
        if (operations > 0)
          changes.push(`${operations} routes, neighbours or forwarding entries restored`);
        this.#reportRecords(setup.view, refused);
      }
      return changes;
    });
    this.counters.audits += 1;
    this.#reportRepairs(found);
    return found;
  }

  /** Follows the records and audits until `signal` aborts. Leaves everything in place then. */
  async run(signal: AbortSignal): Promise<void> {
    const restart = { baseMs: 200, capMs: 5_000 };
    // Hints are worth nothing before there is something to audit.
    await runUntil(
      (stop, until) =>
        runPeriodically(
          { name: 'network setup', intervalMs: 5_000, log: this.#log, clock: this.#clock },
          async (s) => {
            await this.ensure(s);
            stop();
          },
          until,
        ),
      signal,
    );
    if (signal.aborted) return;
    try {
      await supervise(
        [
          { name: 'peers', run: (s) => this.#followPeers(s), restart },
          { name: 'network config', run: (s) => this.#followConfig(s), restart },
          { name: 'kernel events', run: (s) => this.#followKernel(s), restart },
          { name: 'own subnet', run: (s) => this.#keepSubnet(s), restart },
          { name: 'network audit', run: (s) => this.#auditLoop(s), restart },
        ],
        { log: this.#log, clock: this.#clock },
        signal,
      );
    } finally {
      this.#holder.abandon();
    }
  }

  async #prepare(signal?: AbortSignal): Promise<Setup> {
    const config = await this.#config(signal);
    const underlay = await findUnderlay(this.#exec, this.#options.address, signal);
    const before = await readPrevious(this.#exec, this.#device, config.subnetLength, signal);
    const previous = before.subnet ?? this.#previousSubnet();
    const { address } = underlay;
    const held = await this.#holder.acquire({ config, address, previous, mac: before.mac }, signal);
    const offload = this.#options.checksumOffload ?? 'auto';
    const { subnet, mac } = held;
    const host = new HostNetwork(this.#exec, {
      config,
      subnet,
      mac,
      underlay,
      device: this.#device,
      bridge: this.#bridge,
      checksumOffload:
        offload === 'auto'
          ? await checksumOffloadIsSafe(this.#exec, underlay.device, signal)
          : offload === 'on',
    });
    const mtu = overlayMtu(config, underlay);
    const info: OverlayInfo = {
      subnet: formatCidr(subnet),
      gateway: formatIpv4(subnet.base + 1),
      bridge: this.#bridge,
      mtu,
      dockerOptions: {
        'com.docker.network.bridge.name': this.#bridge,
        'com.docker.network.bridge.enable_ip_masquerade': 'false',
        'com.docker.network.driver.mtu': String(mtu),
      },
      network: formatCidr(config.network),
      device: this.#device,
      address,
    };
    this.#log.info({ ...info, mac }, 'overlay subnet held');
    const view = new PeerView({ subnet, address, mac }, config.vni);
    return { info, config, subnet, mac, host, view };
  }

  #previousSubnet(): Cidr | undefined {
    const text = this.#options.previousSubnet;
    return text === undefined ? undefined : parseCidr(text);
  }

  /** Reads the network config and writes the default one if there is none. */
  async #config(signal?: AbortSignal): Promise<OverlayConfig> {
    const { store } = this.#options;
    const key = networkConfigPath;
    let entry = await store.get(key, signal);
    if (entry === undefined) {
      const value = networkConfigRecords.encode(defaultNetworkConfig);
      await store.commit([{ type: 'absent', key }], [{ type: 'put', key, value }], signal);
      entry = await store.get(key, signal);
    }
    return parseConfig(entry?.value ?? '');
  }

  async #followPeers(signal: AbortSignal): Promise<void> {
    const setup = this.#ready();
    for await (const batch of this.#options.store.watch(subnetRecords.prefix, {}, signal)) {
      if (batch.type === 'progress') continue;
      setup.view.apply(batch);
      if (setup.view.own !== 'ours') this.#ownHint.fire();
      try {
        const { operations, refused } = await this.#exclusive(() =>
          setup.host.ensurePeers(setup.view, false, signal),
        );
        this.counters.tableChanges += operations;
        this.#reportRecords(setup.view, refused);
      } catch (error) {
        if (signal.aborted) return;
        // The audit reads the kernel and tries again with backoff.
        this.#log.warn({ err: asError(error) }, 'could not follow a change of hosts; auditing');
        this.#auditHint.fire();
      }
    }
  }

  async #followConfig(signal: AbortSignal): Promise<void> {
    const setup = this.#ready();
    for await (const batch of this.#options.store.watch(networkConfigPath, {}, signal)) {
      const entries =
        batch.type === 'snapshot'
          ? batch.entries
          : batch.type === 'events'
            ? batch.events.flatMap((event) => (event.type === 'put' ? [event.entry] : []))
            : [];
      for (const entry of entries.filter((e) => e.key === networkConfigPath)) {
        await this.#guard('config', () => {
          const config = parseConfig(entry.value);
          if (JSON.stringify(config) !== JSON.stringify(setup.config)) {
            throw new OverlayConfigError(
              'the network config was changed; this host keeps the one it runs with until its agent is restarted',
            );
          }
        }).catch(() => undefined);
      }
    }
  }

  /** The kernel tells of changes at once; the audit then decides what they mean. */
  async #followKernel(signal: AbortSignal): Promise<void> {
    const setup = this.#ready();
    const wanted = [this.#device, setup.info.bridge].map(escaped).join('|');
    // The device that a line is about, or that a route leads to; not the bridge that a container's veth is plugged into.
    const pattern = new RegExp(`^(Deleted )?(\\d+: |.* dev )(${wanted})([\\s:@]|$)`);
    await this.#follow(
      'ip',
      ['-o', '-4', 'monitor', 'link', 'address', 'route'],
      (line) => {
        // Something of ours is gone, or a device is not up (its flags stand in angle brackets).
        const bad = line.startsWith('Deleted ') || /<(?![^>]*\bUP\b)/.test(line);
        if (bad && pattern.test(line)) this.#auditHint.fire();
      },
      signal,
    );
  }

  async #keepSubnet(signal: AbortSignal): Promise<void> {
    const setup = this.#ready();
    const wake = (): void => {
      this.#ownHint.fire();
    };
    let watched: AbortSignal | undefined;
    await runPeriodically(
      {
        name: 'own subnet',
        intervalMs: this.#options.auditIntervalMs ?? 30_000,
        trigger: this.#ownHint,
        minGapMs: auditGapMs,
        log: this.#log,
        clock: this.#clock,
      },
      async (s) => {
        const intact = setup.view.own === 'ours' && this.#holder.secure;
        if (!setup.view.synced || intact) {
          if (intact) this.#solve('subnet');
        } else {
          await this.#guard('subnet', () =>
            this.#holder.acquire(
              {
                config: setup.config,
                address: setup.info.address,
                previous: setup.subnet,
                pinned: true,
                mac: setup.mac,
              },
              s,
            ),
          );
        }
        if (this.#holder.lost !== watched) {
          watched = this.#holder.lost;
          watched?.addEventListener('abort', wake, { once: true });
        }
      },
      signal,
    );
    watched?.removeEventListener('abort', wake);
  }

  async #auditLoop(signal: AbortSignal): Promise<void> {
    await runPeriodically(
      {
        name: 'network audit',
        intervalMs: this.#options.auditIntervalMs ?? 30_000,
        trigger: this.#auditHint,
        minGapMs: auditGapMs,
        log: this.#log,
        clock: this.#clock,
      },
      async (s) => {
        await this.#guard('kernel', () => this.audit(s));
      },
      signal,
    );
  }

  #ready(): Setup {
    if (this.#setup === undefined) throw new Error('ensure() comes first');
    return this.#setup;
  }

  /** Runs `action` when no other kernel change runs. */
  #exclusive<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#last.then(action, action);
    this.#last = result.catch(() => undefined);
    return result;
  }

  /** Runs `action`; its failure is an open problem under `key` until it succeeds. */
  async #guard<T>(key: string, action: () => T | Promise<T>): Promise<T> {
    try {
      const result = await action();
      this.#solve(key);
      return result;
    } catch (error) {
      if (!isAbort(error)) this.#openProblem(key, asError(error).message);
      throw error;
    }
  }

  #reportRecords(
    view: PeerView,
    refused: readonly { readonly subnet: string; readonly reason: string }[],
  ): void {
    const current = new Map<string, string>();
    for (const [subnet, message] of view.problems()) current.set(`record ${subnet}`, message);
    for (const { subnet, reason } of refused) {
      // What is wrong with the record itself says more than its clash with another.
      if (current.has(`record ${subnet}`)) continue;
      current.set(`record ${subnet}`, `record of subnet ${subnet} is not used: ${reason}`);
    }
    for (const key of [...this.#open.keys()]) {
      if (key.startsWith('record ') && !current.has(key)) this.#solve(key);
    }
    for (const [key, message] of current) this.#openProblem(key, message);
  }

  #reportRepairs(changes: readonly string[]): void {
    this.counters.repairs += changes.length;
    for (const message of changes) this.#notify({ key: 'kernel', message, state: 'repaired' });
  }

  #openProblem(key: string, message: string): void {
    if (this.#open.get(key) === message) return;
    this.#open.set(key, message);
    this.#notify({ key, message, state: 'open' });
  }

  #solve(key: string): void {
    const message = this.#open.get(key);
    if (message === undefined) return;
    this.#open.delete(key);
    this.#notify({ key, message, state: 'solved' });
  }

  #notify(problem: NetworkProblem): void {
    if (problem.state === 'open') this.#log.warn({ key: problem.key }, problem.message);
    else this.#log.info({ key: problem.key, state: problem.state }, problem.message);
    this.#options.onProblem?.(problem);
    if (problem.state !== 'repaired') for (const listener of this.#listeners) listener();
  }
}

function parseConfig(text: string): OverlayConfig {
  try {
    return overlayConfig(networkConfigRecords.decode(text));
  } catch (error) {
    throw new OverlayConfigError(`${networkConfigPath}: ${asError(error).message}`);
  }
}

/** Runs `body` until it is told to stop by its argument or by `signal`. */
async function runUntil(
  body: (stop: () => void, signal: AbortSignal) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const done = new AbortController();
  const forward = (): void => {
    done.abort();
  };
  signal.addEventListener('abort', forward, { once: true });
  if (signal.aborted) forward();
  await body(forward, done.signal);
  signal.removeEventListener('abort', forward);
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

function isAbort(error: unknown): boolean {
  if (error instanceof ExecError) return error.cancelled;
  return error instanceof Error && error.name === 'AbortError';
}
