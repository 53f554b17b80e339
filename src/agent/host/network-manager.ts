import { parseCidr, type Cidr } from '../../network/address/cidr.ts';
import type { RulesetInput } from '../../network/nftables/ruleset.ts';
import { usableRanges } from '../../network/virtual-ip/virtual-range.ts';
import { OverlayConfigError, type OverlayConfig } from '../../network/overlay/overlay-config.ts';
import { networkConfigPath, subnetRecords } from '../../registry/records/subnet.ts';
import { virtualRangePath, virtualRangeRecords } from '../../registry/records/virtual-range.ts';
import { versionsIn } from '../../registry/versions-in.ts';
import { systemClock, type Clock } from '../../runtime/clock.ts';
import { asError } from '../../runtime/errors.ts';
import { runPeriodically } from '../../runtime/periodic.ts';
import { runUntil } from '../../runtime/run-until.ts';
import { supervise } from '../../runtime/supervise.ts';
import { Trigger } from '../../runtime/trigger.ts';
import type { Logger } from '../../telemetry/log.ts';
import type { DataPlanePart } from '../data-plane.ts';
import type { Finding } from '../audit/finding.ts';
import { Semaphore } from '../semaphore.ts';
import { underlayMtu } from './carrier/carrier.ts';
import { directPaths } from './direct/direct-paths.ts';
import { hostExec, hostFollow, type Exec, type Follow } from './exec.ts';
import { kernelFiles } from './hairpin.ts';
import { HostNetwork, joinedKeepers, readPrevious } from './host-network.ts';
import { IsolationKeeper } from './isolation-keeper.ts';
import { requireIpv6, requireIpv6Mtu } from './ipv6/ipv6-kernel.ts';
import { kernelHints } from './kernel-events.ts';
import { parseNetworkConfig, readNetworkConfig } from './network-config.ts';
import type { NetworkCounters, NetworkManagerOptions, OverlayInfo } from './network-options.ts';
import { nftInProcess } from './nft-library.ts';
import { NetworkProblems } from './network-problems.ts';
import { overlayInfo } from './overlay-info.ts';
import { PathMtu } from './path-mtu.ts';
import { PeerView } from './peer-view.ts';
import { prepareCarrier, stopPlainTraffic } from './carrier/prepare-carrier.ts';
import { SubnetHolder } from './subnet-lease.ts';
import { tracesOfEncryption } from './carrier/traces.ts';
import { loadTunnelKey } from './carrier/tunnel-key-file.ts';
import { findUnderlay } from './carrier/underlay.ts';
import { VirtualIpKeeper } from './virtual-ip-keeper.ts';
import { checksumOffloadIsSafe } from './vxlan-device.ts';

/** Shortest time between two audits that hints asked for. */
const auditGapMs = 500;
const defaultAuditMs = 30_000;
const defaultTunnelKeyPath = '/var/lib/nap/wireguard.key';

interface Setup {
  readonly info: OverlayInfo;
  readonly config: OverlayConfig;
  readonly subnet: Cidr;
  readonly mac: string;
  /** WireGuard's, if this host encrypts. */
  readonly publicKey: string | undefined;
  /** Interfaces below VXLAN's that this host has made. */
  readonly ownDevices: readonly string[];
  readonly host: HostNetwork;
  readonly view: PeerView;
  readonly pathMtu: PathMtu;
  readonly virtualIps?: VirtualIpKeeper;
  readonly isolation?: IsolationKeeper;
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
  readonly #auditMs: number;
  readonly #bridgeHint = new Trigger();
  readonly #auditHint = new Trigger();
  readonly #ownHint = new Trigger();
  readonly #problems: NetworkProblems;
  /** Virtual IPs that an earlier agent has left lead where they led, until this one has applied all changes. */
  readonly #part: DataPlanePart | undefined;
  #setup: Setup | undefined;
  /** Kernel changes wait for one another. */
  readonly #turns = new Semaphore(1);

  constructor(options: NetworkManagerOptions) {
    this.#options = options;
    this.#log = options.log.child({ component: 'network' });
    this.#problems = new NetworkProblems(this.#log, options.onProblem);
    this.#exec = options.exec ?? nftInProcess(hostExec(), { log: this.#log });
    this.#follow = options.follow ?? hostFollow();
    this.#clock = options.clock ?? systemClock;
    this.#device = options.device ?? 'nap.1';
    this.#bridge = options.bridge ?? 'nap0';
    this.#auditMs = options.auditIntervalMs ?? defaultAuditMs;
    this.#part = options.services?.dataPlane.part(() => this.#setup?.virtualIps?.catchUp());
    this.#holder = new SubnetHolder({
      store: options.store,
      log: this.#log,
      random: options.random ?? Math.random,
      ...(options.subnetTtlMs === undefined ? {} : { ttlMs: options.subnetTtlMs }),
    });
  }

  /** What is wrong at the moment, in words for the Host's status. */
  problems(): readonly string[] {
    return this.#problems.open();
  }

  /** Has `listener` called when `problems()` has changed. */
  onProblems(listener: () => void): void {
    this.#problems.onChange(listener);
  }

  /** The host's place in the overlay, once `ensure` has succeeded. */
  get current(): OverlayInfo | undefined {
    return this.#setup?.info;
  }

  /**
   * Takes or confirms the subnet and brings device, kernel parameters and packet filter into being. Idempotent; once it has
   * succeeded, the subnet never changes for the life of this object. Throws OverlayConfigError (the config in the store must be
   * corrected), UnderlayError, EncryptionError, Ipv6Error, DeviceConflictError, NoSubnetError, SubnetTakenError, ExecError, or the store's
   * errors: all worth retrying with a pause.
   */
  async ensure(signal?: AbortSignal): Promise<OverlayInfo> {
    return this.#problems.guard('setup', () =>
      this.#turns.run(async () => {
        const setup = (this.#setup ??= await this.#prepare(signal));
        this.#reportRepairs(await setup.host.ensureBase(signal));
        this.#problems.set('left of direct routing', setup.host.directProblem);
        return setup.info;
      }),
    );
  }

  /**
   * The Docker network is on the subnet that `ensure` told of, and has IPv6 only if that says so: what isolated instances in IPv6
   * may go where the overlay does not carry it any more.
   */
  dockerNetworkStands(): void {
    if (this.#setup?.host.dockerNetworkStands() === true) this.#auditHint.fire();
  }

  /** Asks for an audit now. */
  requestAudit(): void {
    this.#auditHint.fire();
    this.#setup?.virtualIps?.requestAudit();
    this.#setup?.isolation?.requestAudit();
  }

  /**
   * Compares the kernel with what it should hold, repairs, counts and reports. Returns what was wrong. Throws
   * ExecError when a repair failed. Calls `ensure` first if need be.
   */
  async audit(signal?: AbortSignal): Promise<readonly Finding[]> {
    const found = await this.#turns.run(async () => {
      const setup = (this.#setup ??= await this.#prepare(signal));
      const changes = [...(await setup.host.ensureBase(signal))];
      if (setup.view.synced) {
        const { repairs, refused } = await setup.host.ensurePeers(setup.view, true, signal);
        changes.push(...repairs);
        this.#problems.setRecords(setup.view.problems(), refused);
      }
      this.#problems.set('local routing', setup.host.localProblem);
      this.#problems.set('local IPv6', setup.host.localIpv6Problem);
      this.#problems.set('left of direct routing', setup.host.directProblem);
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
    const { virtualIps, isolation, pathMtu, host } = this.#ready();
    const { direct } = host;
    const leave = this.#options.audits?.onRequest(() => {
      this.requestAudit();
    });
    try {
      await supervise(
        [
          ...(virtualIps === undefined
            ? []
            : [
                { name: 'virtual IPs', run: (s: AbortSignal) => virtualIps.run(s) },
                {
                  name: 'ranges of virtual IPs',
                  run: (s: AbortSignal) => this.#followRanges(virtualIps, s),
                  restart,
                },
              ]),
          ...(isolation === undefined
            ? []
            : [{ name: 'isolation', run: (s: AbortSignal) => isolation.run(s) }]),
          ...(direct === undefined
            ? []
            : [{ name: 'direct paths', run: (s: AbortSignal) => direct.run(s), restart }]),
          { name: 'bridge', run: (s) => this.#keepBridge(s), restart },
          { name: 'peers', run: (s) => this.#followPeers(s), restart },
          { name: 'network config', run: (s) => this.#followConfig(s), restart },
          { name: 'kernel events', run: (s) => this.#followKernel(s), restart },
          { name: 'own subnet', run: (s) => this.#keepSubnet(s), restart },
          { name: 'network audit', run: (s) => this.#auditLoop(s), restart },
          { name: 'path MTU', run: (s) => pathMtu.run(s) },
        ],
        { log: this.#log, clock: this.#clock },
        signal,
      );
    } finally {
      leave?.();
      this.#holder.abandon();
    }
  }

  async #prepare(signal?: AbortSignal): Promise<Setup> {
    const tunnel = this.#options.tunnelDevice ?? 'nap-wg';
    const traces = () => tracesOfEncryption(this.#exec, { vxlan: this.#device, tunnel }, signal);
    const config = await readNetworkConfig(this.#options.store, traces, signal);
    const before = await readPrevious(this.#exec, this.#device, config.subnetLength, signal);
    const previous = before.subnet ?? this.#previousSubnet();
    await stopPlainTraffic(this.#exec, config, this.#device, signal);
    if (config.ipv6 !== undefined) await requireIpv6(this.#exec, signal);
    const underlay = await findUnderlay(this.#exec, this.#options.address, signal);
    const { address } = underlay;
    const keyPath = this.#options.tunnelKeyPath ?? defaultTunnelKeyPath;
    const key = config.encryption && (await loadTunnelKey(keyPath));
    const publicKey = key?.publicKey;
    const held = await this.#holder.acquire(
      { config, address, previous, mac: before.mac, publicKey },
      signal,
    );
    const { subnet, mac } = held;
    const { exec, clock, log, onProblem } = this.#keeperOptions();
    const carrier = await prepareCarrier(
      {
        exec,
        clock,
        config,
        underlay,
        subnet,
        key,
        device: tunnel,
      },
      signal,
    );
    const offload = this.#options.checksumOffload ?? 'auto';
    const checksumOffload =
      offload === 'auto'
        ? await checksumOffloadIsSafe(this.#exec, carrier.device, signal)
        : offload === 'on';
    const mtu = underlayMtu(config, underlay) - carrier.overheadBytes;
    if (config.ipv6 !== undefined) requireIpv6Mtu(mtu);
    const virtualIps = this.#virtualIpKeeper(config.network, subnet);
    const onChange = this.#auditHint.fire.bind(this.#auditHint);
    const direct = directPaths(config, subnet, underlay, { ...this.#keeperOptions(), onChange });
    const names = { device: this.#device, bridge: this.#bridge };
    const { network, ipv6 } = config;
    const rules = { network, subnet, ...names, ...direct?.rules, ...(ipv6 && { ipv6 }) };
    const isolation = this.#isolationKeeper(rules);
    await isolation?.closeIpv6(signal);
    const host = new HostNetwork(
      this.#exec,
      {
        ...{ config, subnet, mac, address, publicKey, carrier, mtu, checksumOffload, direct },
        ...names,
        files: this.#options.exec === undefined ? kernelFiles : undefined,
      },
      joinedKeepers([virtualIps, isolation].filter((keeper) => keeper !== undefined)),
    );
    const info = overlayInfo({
      ...{ config, subnet, mtu, address },
      ...{ device: this.#device, bridge: this.#bridge },
    });
    log.info({ ...info, mac, publicKey }, 'overlay subnet held');
    const view = new PeerView({ subnet, address, mac, publicKey }, config.vni);
    const pathMtu = new PathMtu({
      ...{ exec, clock, log, onProblem },
      packetBytes: mtu + carrier.overheadBytes,
      peers: () => Array.from(view.peers(), (peer) => peer.address),
    });
    const { ownDevices } = carrier;
    const parts = { info, config, subnet, mac, publicKey, ownDevices, host, view, pathMtu };
    return { ...parts, ...(virtualIps && { virtualIps }), ...(isolation && { isolation }) };
  }

  #isolationKeeper(rules: RulesetInput): IsolationKeeper | undefined {
    const { services, addresses } = this.#options;
    if (services === undefined || addresses === undefined) return undefined;
    return new IsolationKeeper({
      ...this.#keeperOptions(),
      ...{ services, addresses, rules },
      onRepairs: (found) => {
        this.#reportRepairs(found);
      },
    });
  }

  #virtualIpKeeper(network: Cidr, subnet: Cidr): VirtualIpKeeper | undefined {
    const { services: feed } = this.#options;
    const part = this.#part;
    if (feed === undefined || part === undefined) return undefined;
    return new VirtualIpKeeper({
      ...this.#keeperOptions(),
      ...{ feed, part, network, subnet },
      onRepairs: (count) => {
        const what = 'elements of virtual IPs in nftables restored';
        this.#reportRepairs([{ kind: 'element', count, what }]);
      },
    });
  }

  #keeperOptions() {
    return {
      exec: this.#exec,
      clock: this.#clock,
      log: this.#log,
      auditIntervalMs: this.#auditMs,
      onProblem: (key: string, message: string | undefined): void => {
        this.#problems.set(key, message);
      },
    };
  }

  #previousSubnet(): Cidr | undefined {
    const text = this.#options.previousSubnet;
    return text === undefined ? undefined : parseCidr(text);
  }

  async #followPeers(signal: AbortSignal): Promise<void> {
    const setup = this.#ready();
    for await (const batch of this.#options.store.watch(subnetRecords.prefix, {}, signal)) {
      if (batch.type === 'progress') continue;
      setup.view.apply(batch);
      if (setup.view.own !== 'ours') this.#ownHint.fire();
      try {
        const { operations, refused } = await this.#turns.run(() =>
          setup.host.ensurePeers(setup.view, false, signal),
        );
        this.counters.tableChanges += operations;
        this.#problems.setRecords(setup.view.problems(), refused);
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
      for (const entry of versionsIn(batch, networkConfigPath)) {
        await this.#problems
          .guard('config', () => {
            const config = parseNetworkConfig(entry.value);
            setup.host.direct?.turn(config.directRouting === true);
            if (JSON.stringify(config) !== JSON.stringify(setup.config)) {
              throw new OverlayConfigError(
                'the network config was changed; this host keeps the one it runs with until its agent is restarted',
              );
            }
          })
          .catch(() => undefined);
      }
    }
  }

  /** Learns where virtual IPs are. A record that is gone or unreadable takes nothing back. */
  async #followRanges(virtualIps: VirtualIpKeeper, signal: AbortSignal): Promise<void> {
    const setup = this.#ready();
    for await (const batch of this.#options.store.watch(virtualRangePath, {}, signal)) {
      for (const entry of versionsIn(batch, virtualRangePath)) {
        await this.#problems
          .guard('ranges of virtual IPs', async () => {
            const { ranges } = virtualRangeRecords.decode(entry.value);
            const { network } = setup.config;
            const usable = usableRanges(ranges, network, setup.info.address);
            virtualIps.ranges = usable;
            if (setup.isolation !== undefined) setup.isolation.ranges = usable;
            setup.host.virtualRanges = usable;
            await this.#turns.run(() => setup.host.ensureBase(signal));
          })
          .catch(() => {
            this.#auditHint.fire();
          });
      }
      // Read, and there is none, or none that could be read before.
      const { isolation } = setup;
      if (batch.type === 'snapshot' && isolation?.hasRanges === false) isolation.ranges = [];
    }
  }

  /** What instances of this host send each other has to come by the packet filter, from their bridge's first day. */
  async #keepBridge(signal: AbortSignal): Promise<void> {
    const setup = this.#ready();
    await runPeriodically(
      {
        name: 'bridge',
        intervalMs: this.#auditMs,
        trigger: this.#bridgeHint,
        // While many instances start, their engine needs the processors more than they need to reach themselves at once.
        minGapMs: 1_000,
        log: this.#log,
        clock: this.#clock,
      },
      (s) => this.#turns.run(() => setup.host.ensurePorts(s)),
      signal,
    );
  }

  /** The kernel tells of changes at once; the audit then decides what they mean. */
  async #followKernel(signal: AbortSignal): Promise<void> {
    const setup = this.#ready();
    const { direct } = setup.host;
    const hintOf = kernelHints([this.#device, ...setup.ownDevices], setup.info.bridge);
    await this.#follow(
      'ip',
      [
        ...['-o', ...(setup.config.ipv6 ? [] : ['-4'])],
        ...['monitor', 'link', 'address', 'route', ...(direct ? ['neigh', 'rule'] : [])],
      ],
      (line) => {
        const hint = hintOf(line);
        if (hint === 'audit' || direct?.concerns(line) === true) this.#auditHint.fire();
        else if (hint === 'ports') this.#bridgeHint.fire();
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
        intervalMs: this.#auditMs,
        trigger: this.#ownHint,
        minGapMs: auditGapMs,
        log: this.#log,
        clock: this.#clock,
      },
      async (s) => {
        const intact = setup.view.own === 'ours' && this.#holder.secure;
        if (!setup.view.synced || intact) {
          if (intact) this.#problems.set('subnet', undefined);
        } else {
          await this.#problems.guard('subnet', () =>
            this.#holder.acquire(
              {
                config: setup.config,
                address: setup.info.address,
                previous: setup.subnet,
                pinned: true,
                mac: setup.mac,
                publicKey: setup.publicKey,
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
        intervalMs: this.#auditMs,
        trigger: this.#auditHint,
        minGapMs: auditGapMs,
        log: this.#log,
        clock: this.#clock,
      },
      async (s) => {
        await this.#problems.guard('kernel', () => this.audit(s));
      },
      signal,
    );
  }

  #ready(): Setup {
    if (this.#setup === undefined) throw new Error('ensure() comes first');
    return this.#setup;
  }

  #reportRepairs(found: readonly Finding[]): void {
    this.counters.repairs += found.length;
    for (const { what } of found) this.#problems.repaired('kernel', what);
    this.#options.audits?.repaired(found);
  }
}
