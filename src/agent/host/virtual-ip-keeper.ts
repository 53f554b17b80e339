import {
  containsAddress,
  formatCidr,
  tryParseIpv4,
  type Cidr,
} from '../../network/address/cidr.ts';
import { ElementGroup } from '../../network/nftables/element-group.ts';
import { ElementLedger } from '../../network/nftables/nft-elements.ts';
import type { Chain } from '../../network/nftables/ruleset.ts';
import { meshSets, returnElements } from '../../network/virtual-ip/mesh-rules.ts';
import { virtualIpSets } from '../../network/virtual-ip/virtual-ip-rules.ts';
import { meshKey, VirtualIps, type MeshPort } from '../../network/virtual-ip/virtual-ips.ts';
import type { Peer } from '../../network/overlay/vxlan.ts';
import type { ServiceRecord } from '../../registry/records/service.ts';
import type { Revision } from '../../registry/store.ts';
import type { Clock } from '../../runtime/clock.ts';
import { supervise } from '../../runtime/supervise.ts';
import { Trigger } from '../../runtime/trigger.ts';
import type { Logger } from '../../telemetry/log.ts';
import { isAborted } from '../../runtime/aborted.ts';
import type { DataPlanePart } from '../data-plane.ts';
import type { ServiceFeed, ServiceKey } from '../service-feed.ts';
import { Semaphore } from '../semaphore.ts';
import { ElementApplier } from './element-applier.ts';
import { ExecError, type Exec } from './exec.ts';
import { busyPorts } from './listeners.ts';
import { SparingAudit } from './sparing-audit.ts';
import { forgetFlows, type UdpFlow } from './udp-flows.ts';

export interface VirtualIpKeeperOptions {
  readonly exec: Exec;
  readonly feed: ServiceFeed;
  /** Told how far the kernel is. */
  readonly part: DataPlanePart;
  /** The whole overlay. */
  readonly network: Cidr;
  /** This host's part of it. */
  readonly subnet: Cidr;
  readonly clock: Clock;
  readonly log: Logger;
  /** Elements are compared with the kernel at most this often. */
  readonly auditIntervalMs: number;
  /** Opens or closes (undefined) a matter that the host's owner should know. */
  readonly onProblem: (key: string, message: string | undefined) => void;
  /** This many elements were not as they should have been, and are again. */
  readonly onRepairs: (count: number) => void;
}

/**
 * Keeps the elements of virtual IPs and mesh ports in the kernel as the services and endpoints of the cluster say. What the kernel has stays until
 * all records have been read; a change after that is one small transaction.
 */
export class VirtualIpKeeper {
  readonly #options: VirtualIpKeeperOptions;
  readonly #ledger = new ElementLedger([...virtualIpSets, ...meshSets]);
  readonly #ips: VirtualIps;
  readonly #applier: ElementApplier;
  readonly #changed = new Trigger();
  readonly #audits: SparingAudit;
  /** Services of which somebody may speak UDP; the others have no flows to forget. */
  readonly #udp = new Set<string>();
  /** Ports that every host answers on, by service. */
  readonly #mesh = new Map<string, readonly MeshPort[]>();
  /** Which of them this host itself listens on has to be looked at. */
  #listenersUnknown = true;
  /** How answers find back through the other hosts. */
  readonly #returns = new ElementGroup(this.#ledger);
  /** Before that, what an earlier agent has left must stay. */
  #peersKnown = false;
  #ranges: readonly Cidr[] = [];
  readonly #flowHint = new Trigger();
  /** Virtual IPs with endpoints that they do not lead to any more, whose flows are still to be forgotten. */
  #gone = new Set<string>();
  /** All flows have to be looked at: those that an earlier agent has left, or that a failure did. */
  #flowsUnknown = true;
  /** Some are being forgotten. */
  #forgetting = false;
  /** The rules heed every change up to here. */
  #applied: Revision = 0n;
  /** Kernel changes wait for one another. */
  readonly #turns = new Semaphore(1);

  constructor(options: VirtualIpKeeperOptions) {
    this.#options = options;
    const { clock, log, auditIntervalMs: intervalMs } = options;
    this.#audits = new SparingAudit({ name: 'audit of virtual IPs', intervalMs, clock, log });
    this.#ips = new VirtualIps(this.#ledger, options.subnet);
    this.#applier = new ElementApplier(
      options.exec,
      this.#ledger,
      () => !options.feed.complete,
      options.onRepairs,
    );
    options.feed.subscribe({
      service: (key, record) => {
        this.#service(key, record);
      },
      endpoint: (key, seat, record) => {
        this.#ips.setEndpoint(idOf(key), seat, record?.ipv4_addr);
      },
      settled: () => {
        this.#changed.fire();
      },
    });
  }

  /** Chains that elements go to, to be kept beside the constant ones. */
  get chains(): Iterable<Chain> {
    return this.#ledger.chains;
  }

  /** Number of services that have a virtual IP. */
  get size(): number {
    return this.#ips.size;
  }

  /** Takes the other hosts, as this one reaches them. */
  setPeers(network: Cidr, peers: readonly Peer[]): void {
    this.#returns.replace(returnElements(network, peers));
    this.#peersKnown = true;
    this.#changed.fire();
  }

  set ranges(ranges: readonly Cidr[]) {
    this.#ranges = ranges;
    this.#flowsUnknown = true;
    this.#flowHint.fire();
  }

  /** Tells `part` how far the kernel is, though nothing may have changed. */
  catchUp(): void {
    this.#changed.fire();
  }

  /** Somebody has changed the table: all elements are compared at once. */
  distrust(): void {
    this.#ledger.distrust();
    this.#audits.makeDue();
    this.#changed.fire();
  }

  /** Asks for an audit now. */
  requestAudit(): void {
    this.#audits.request();
  }

  /** Compares the kernel with what it should hold, and puts right what differs. Throws ExecError. */
  async audit(signal?: AbortSignal): Promise<void> {
    const { feed } = this.#options;
    if (!feed.synced || !this.#peersKnown) return;
    await this.#turns.run(async () => {
      await this.#yield(signal);
      await this.#audits.measure(async () => {
        this.#update();
        await this.#applier.audit(signal);
      });
    });
  }

  /** Runs until `signal` aborts; leaves everything in place then. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    const restart = { baseMs: 200, capMs: 5_000 };
    await supervise(
      [
        { name: 'virtual IPs', run: (s) => this.#follow(s), restart },
        { name: 'UDP flows', run: (s) => this.#followFlows(s), restart },
        {
          name: 'audit of virtual IPs',
          run: (s) => this.#audits.run((until) => this.audit(until), s),
        },
      ],
      { log, clock },
      signal,
    );
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const { clock, feed, onProblem } = this.#options;
    // It may have failed half-way before.
    this.#changed.fire();
    while (!isAborted(signal)) {
      await this.#changed.wait(clock, 60_000, signal);
      if (isAborted(signal)) return;
      if (!feed.synced || !this.#peersKnown) continue;
      try {
        await this.#turns.run(() => this.#apply(signal));
        this.#flowHint.fire();
        onProblem('virtual IPs', undefined);
      } catch (error) {
        if (!isAborted(signal)) {
          onProblem('virtual IPs', `virtual IPs are not up to date: ${(error as Error).message}`);
        }
        throw error;
      }
    }
  }

  async #apply(signal: AbortSignal): Promise<void> {
    const { feed } = this.#options;
    const { revision } = feed;
    if (this.#listenersUnknown) await this.#yield(signal);
    this.#update();
    await this.#applier.flush(signal);
    this.#applied = revision;
    this.#tellApplied();
  }

  /** Nobody sends to what has left any more: by the rules, and by flows that were there before. */
  #tellApplied(): void {
    if (this.#gone.size === 0 && !this.#forgetting) this.#options.part.applied(this.#applied);
  }

  #update(): void {
    for (const { front, address } of this.#ips.update()) {
      if (this.#udp.size > 0) this.#gone.add(`${front} ${address}`);
    }
  }

  /** Ports at which processes of this host wait are theirs. */
  async #yield(signal?: AbortSignal): Promise<void> {
    const { exec, onProblem } = this.#options;
    const ports = [...this.#mesh].flatMap(([service, own]) =>
      own.map((port) => ({ ...port, service })),
    );
    const busy = await busyPorts(exec, ports, signal);
    this.#ips.refuse(busy);
    this.#listenersUnknown = false;
    const names = ports
      .filter((port) => busy.has(meshKey(port)))
      .map(({ port, protocol, service }) => `${port}/${protocol} (${service})`);
    onProblem(
      'mesh ports',
      names.length === 0
        ? undefined
        : `ports that are published on every host are in use by processes of this one, and lead to them here: ${names.join(', ')}`,
    );
  }

  /** After the rules, by which the next packet of a forgotten flow chooses; and beside them, for it may take its time. */
  async #followFlows(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    while (!isAborted(signal)) {
      await this.#flowHint.wait(clock, 60_000, signal);
      if (isAborted(signal)) return;
      const all = this.#flowsUnknown;
      if (!this.#options.feed.synced || (!all && this.#gone.size === 0)) continue;
      const gone = this.#gone;
      this.#gone = new Set();
      this.#forgetting = true;
      this.#flowsUnknown = true;
      try {
        this.#flowsUnknown =
          this.#udp.size > 0 &&
          !(await this.#forgetFlows(
            (front, { endpoint }) =>
              (all || gone.has(`${front} ${endpoint}`)) && !this.#ips.leadsTo(front, endpoint),
            signal,
          ));
      } finally {
        this.#forgetting = false;
      }
      this.#tellApplied();
    }
  }

  /** Returns false when it could not be done. */
  async #forgetFlows(
    isStale: (front: string, flow: UdpFlow) => boolean,
    signal: AbortSignal,
  ): Promise<boolean> {
    const { exec, onProblem, log } = this.#options;
    try {
      for (const range of this.#ranges) {
        const which = ['--orig-dst', formatCidr(range)];
        await forgetFlows(exec, which, (flow) => isStale(flow.virtualIP, flow), signal);
      }
      for (const port of [...this.#mesh.values()].flat()) {
        if (port.protocol !== 'udp') continue;
        await forgetFlows(
          exec,
          ['--orig-port-dst', String(port.port)],
          // Others speak to such a port, too; only what was turned to an instance has another address than it asked for.
          (flow) =>
            flow.endpoint !== flow.virtualIP &&
            this.#isInstance(flow) &&
            isStale(meshKey(port), flow),
          signal,
        );
      }
      onProblem('UDP flows', undefined);
      return true;
    } catch (error) {
      if (!(error instanceof ExecError) || error.cancelled) throw error;
      log.debug({ err: error }, 'cannot forget UDP flows');
      onProblem(
        'UDP flows',
        error.notFound
          ? 'conntrack is not installed: clients that send UDP to a virtual IP without a pause go on sending to instances that are gone'
          : `UDP flows to instances that are gone cannot be forgotten: ${error.message}`,
      );
      return false;
    }
  }

  #isInstance({ endpoint }: UdpFlow): boolean {
    return containsAddress(this.#options.network, tryParseIpv4(endpoint) ?? -1);
  }

  #service(key: ServiceKey, record: ServiceRecord | undefined): void {
    const id = idOf(key);
    const virtualIP = record?.virtualIP;
    // Written by hand, perhaps: nothing else may come into a script.
    const isAddress = virtualIP !== undefined && tryParseIpv4(virtualIP) !== undefined;
    const mesh = record?.mesh ?? [];
    this.#ips.setService(
      id,
      isAddress || mesh.length > 0
        ? {
            virtualIP: isAddress ? virtualIP : undefined,
            mesh,
            affinity: record?.sessionAffinity === 'clientIP',
            preferLocal: record?.trafficPolicy === 'preferLocal',
          }
        : undefined,
    );
    if (mesh.length > 0 || this.#mesh.has(id)) this.#listenersUnknown = true;
    if (mesh.length > 0) this.#mesh.set(id, mesh);
    else this.#mesh.delete(id);
    const { ports = [] } = record ?? {};
    const speaksUdp = ports.length === 0 || ports.some(({ protocol }) => protocol === 'udp');
    const isLedTo = isAddress || mesh.length > 0;
    if (isLedTo && speaksUdp) this.#udp.add(id);
    else this.#udp.delete(id);
  }
}

function idOf({ namespace, project, service }: ServiceKey): string {
  return `${namespace}/${project}/${service}`;
}
