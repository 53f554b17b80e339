import { formatCidr, tryParseIpv4, type Cidr } from '../../network/cidr.ts';
import { ElementLedger } from '../../network/nft-elements.ts';
import type { Chain } from '../../network/ruleset.ts';
import { virtualIpSets } from '../../network/virtual-ip-rules.ts';
import { VirtualIps } from '../../network/virtual-ips.ts';
import type { ServiceRecord } from '../../registry/records/service.ts';
import type { Clock } from '../../runtime/clock.ts';
import { runPeriodically } from '../../runtime/periodic.ts';
import { supervise } from '../../runtime/supervise.ts';
import { Trigger } from '../../runtime/trigger.ts';
import type { Logger } from '../../telemetry/log.ts';
import { isAborted } from '../aborted.ts';
import type { ServiceFeed, ServiceKey } from '../service-feed.ts';
import { ElementApplier } from './element-applier.ts';
import { ExecError, type Exec } from './exec.ts';
import { forgetFlows, type UdpFlow } from './udp-flows.ts';

/** An audit reads all elements; it may take this part of the time at most. */
const auditShare = 0.01;

export interface VirtualIpKeeperOptions {
  readonly exec: Exec;
  readonly feed: ServiceFeed;
  /** This host's. */
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
 * Keeps the elements of virtual IPs in the kernel as the services and endpoints of the cluster say. What the kernel has stays until
 * all records have been read; a change after that is one small transaction.
 */
export class VirtualIpKeeper {
  readonly #options: VirtualIpKeeperOptions;
  readonly #ledger = new ElementLedger(virtualIpSets);
  readonly #ips: VirtualIps;
  readonly #applier: ElementApplier;
  readonly #changed = new Trigger();
  readonly #auditHint = new Trigger();
  /** Services of which somebody may speak UDP; the others have no flows to forget. */
  readonly #udp = new Set<string>();
  #ranges: readonly Cidr[] = [];
  readonly #flowHint = new Trigger();
  /** Virtual IPs with endpoints that they do not lead to any more, whose flows are still to be forgotten. */
  #gone = new Set<string>();
  /** All flows have to be looked at: those that an earlier agent has left, or that a failure did. */
  #flowsUnknown = true;
  #nextFullAudit = 0;
  /** Kernel changes wait for one another. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: VirtualIpKeeperOptions) {
    this.#options = options;
    this.#ips = new VirtualIps(this.#ledger, options.subnet);
    this.#applier = new ElementApplier(options.exec, this.#ledger, () => !options.feed.complete);
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

  set ranges(ranges: readonly Cidr[]) {
    this.#ranges = ranges;
    this.#flowHint.fire();
  }

  /** Somebody has changed the table: all elements are compared at once. */
  distrust(): void {
    this.#ledger.distrust();
    this.#nextFullAudit = 0;
    this.#changed.fire();
  }

  /** Asks for an audit now. */
  requestAudit(): void {
    this.#nextFullAudit = 0;
    this.#auditHint.fire();
  }

  /** Compares the kernel with what it should hold. Returns how many elements were wrong. Throws ExecError. */
  async audit(signal?: AbortSignal): Promise<number> {
    const { feed, clock, onRepairs } = this.#options;
    if (!feed.synced) return 0;
    return this.#exclusive(async () => {
      const startedAt = clock.monotonic();
      this.#update();
      const wrong = await this.#applier.audit(signal);
      const endedAt = clock.monotonic();
      this.#nextFullAudit = endedAt + (endedAt - startedAt) / auditShare;
      if (wrong > 0) onRepairs(wrong);
      return wrong;
    });
  }

  /** Runs until `signal` aborts; leaves everything in place then. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log, auditIntervalMs } = this.#options;
    const restart = { baseMs: 200, capMs: 5_000 };
    await supervise(
      [
        { name: 'virtual IPs', run: (s) => this.#follow(s), restart },
        { name: 'UDP flows', run: (s) => this.#followFlows(s), restart },
        {
          name: 'audit of virtual IPs',
          run: (s) =>
            runPeriodically(
              {
                name: 'audit of virtual IPs',
                intervalMs: auditIntervalMs,
                trigger: this.#auditHint,
                minGapMs: 500,
                log,
                clock,
              },
              async (until) => {
                if (clock.monotonic() >= this.#nextFullAudit) await this.audit(until);
              },
              s,
            ),
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
      if (!feed.synced) continue;
      try {
        await this.#exclusive(() => this.#apply(signal));
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
    this.#update();
    await this.#applier.flush(signal);
  }

  #update(): void {
    for (const { virtualIP, address } of this.#ips.update()) {
      if (this.#udp.size > 0) this.#gone.add(`${virtualIP} ${address}`);
    }
  }

  /** After the rules, by which the next packet of a forgotten flow chooses; and beside them, for it may take its time. */
  async #followFlows(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    while (!isAborted(signal)) {
      await this.#flowHint.wait(clock, 60_000, signal);
      if (isAborted(signal)) return;
      const all = this.#flowsUnknown;
      if (!this.#options.feed.synced || this.#udp.size === 0 || this.#ranges.length === 0) continue;
      if (!all && this.#gone.size === 0) continue;
      const gone = this.#gone;
      this.#gone = new Set();
      this.#flowsUnknown = true;
      this.#flowsUnknown = !(await this.#forgetFlows(
        ({ virtualIP, endpoint }) =>
          (all || gone.has(`${virtualIP} ${endpoint}`)) && !this.#ips.leadsTo(virtualIP, endpoint),
        signal,
      ));
    }
  }

  /** Returns false when it could not be done. */
  async #forgetFlows(isStale: (flow: UdpFlow) => boolean, signal: AbortSignal): Promise<boolean> {
    const { exec, onProblem, log } = this.#options;
    try {
      for (const range of this.#ranges) await forgetFlows(exec, formatCidr(range), isStale, signal);
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

  #service(key: ServiceKey, record: ServiceRecord | undefined): void {
    const id = idOf(key);
    const virtualIP = record?.virtualIP;
    // Written by hand, perhaps: nothing else may come into a script.
    const isAddress = virtualIP !== undefined && tryParseIpv4(virtualIP) !== undefined;
    this.#ips.setService(
      id,
      isAddress
        ? {
            virtualIP,
            affinity: record?.sessionAffinity === 'clientIP',
            preferLocal: record?.trafficPolicy === 'preferLocal',
          }
        : undefined,
    );
    const { ports = [] } = record ?? {};
    const speaksUdp = ports.length === 0 || ports.some(({ protocol }) => protocol === 'udp');
    if (isAddress && speaksUdp) this.#udp.add(id);
    else this.#udp.delete(id);
  }

  /** Runs `action` when no other one runs. */
  #exclusive<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#last.then(action, action);
    this.#last = result.catch(() => undefined);
    return result;
  }
}

function idOf({ namespace, project, service }: ServiceKey): string {
  return `${namespace}/${project}/${service}`;
}
