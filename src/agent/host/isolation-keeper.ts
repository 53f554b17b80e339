import { containsAddress, tryParseIpv4, type Cidr } from '../../network/address/cidr.ts';
import { ElementGroup } from '../../network/nftables/element-group.ts';
import { Isolation } from '../../network/isolation/isolation.ts';
import {
  isolationChains,
  isolationSets,
  senderElements,
} from '../../network/isolation/isolation-rules.ts';
import {
  closedIpv6Chain,
  isolationIpv6Chains,
  isolationIpv6Sets,
  withTwins,
} from '../../network/isolation/isolation-ipv6.ts';
import { declarationLines, ElementLedger } from '../../network/nftables/nft-elements.ts';
import { isolatedService } from '../../network/isolation/permission.ts';
import type { RulesetInput } from '../../network/nftables/ruleset.ts';
import type { Peer } from '../../network/overlay/vxlan.ts';
import { isAborted } from '../../runtime/aborted.ts';
import type { Clock } from '../../runtime/clock.ts';
import { supervise } from '../../runtime/supervise.ts';
import { Trigger } from '../../runtime/trigger.ts';
import type { Logger } from '../../telemetry/log.ts';
import type { AddressBook } from '../addresses/address-book.ts';
import type { AddressFeed } from '../addresses/address-feed.ts';
import { findings, type Finding } from '../audit/finding.ts';
import type { ServiceFeed } from '../service-feed.ts';
import { Semaphore } from '../semaphore.ts';
import { ElementApplier } from './element-applier.ts';
import type { Exec } from './exec.ts';
import { chainBegins, ensureChains } from './nft.ts';
import { SparingAudit } from './sparing-audit.ts';

/** Who is in the overlay, and at which address. */
export interface OverlayAddresses {
  /** Of the whole cluster. */
  readonly feed: Pick<AddressFeed, 'synced' | 'complete' | 'subscribe'>;
  /** Of this host. */
  readonly book: Pick<AddressBook, 'known' | 'addresses' | 'holderOf' | 'onChange'>;
}

export interface IsolationKeeperOptions {
  readonly exec: Exec;
  readonly services: Pick<ServiceFeed, 'synced' | 'complete' | 'subscribe'>;
  readonly addresses: OverlayAddresses;
  readonly rules: RulesetInput;
  readonly clock: Clock;
  readonly log: Logger;
  /** Rules and elements are compared with the kernel at most this often. */
  readonly auditIntervalMs: number;
  /** Opens or closes (undefined) a matter that the host's owner should know. */
  readonly onProblem: (key: string, message: string | undefined) => void;
  /** These things were not as they should have been, and are again. */
  readonly onRepairs: (found: readonly Finding[]) => void;
}

/**
 * Has the kernel let in to the instances of this host those who may speak to them, and nobody else. Until everything that decides
 * this is known (services, addresses, this host's containers, the other hosts, where virtual IPs are) nothing is changed: what
 * an earlier agent has left stays in force, and a host that never had one has no isolation rather than no network. After that, rules and
 * elements are there together: the elements are written before the rules that look them up.
 *
 * Whose this host's own addresses are is known from its engine, also while the registry is away; all others from the registry.
 */
export class IsolationKeeper {
  readonly #options: IsolationKeeperOptions;
  /** All, and those of IPv4 alone and of IPv6, each with who brings it into the kernel. */
  readonly #ledger: Pick<ElementLedger, 'put' | 'remove'>;
  readonly #tables: readonly { readonly ledger: ElementLedger; readonly applier: ElementApplier }[];
  readonly #isolation: Isolation;
  readonly #changed = new Trigger();
  readonly #audits: SparingAudit;
  /** Addresses of this host that were told as somebody's. */
  readonly #own = new Set<string>();
  /** The other hosts. */
  readonly #senders: ElementGroup;
  #peersKnown = false;
  #ranges: readonly Cidr[] | undefined;
  /** The rules may not be there, or not be right. */
  #rulesUnknown = true;
  /** What they were when they were last there. */
  #stood = '';
  /** Kernel changes wait for one another. */
  readonly #turns = new Semaphore(1);

  constructor(options: IsolationKeeperOptions) {
    this.#options = options;
    const { clock, log, auditIntervalMs: intervalMs } = options;
    this.#audits = new SparingAudit({ name: 'audit of isolation', intervalMs, clock, log });
    const { services, addresses } = options;
    const { ipv6 } = options.rules;
    const ledger = new ElementLedger(isolationSets);
    const twins = ipv6 && new ElementLedger(isolationIpv6Sets);
    this.#ledger = ipv6 && twins ? withTwins(ledger, twins, ipv6) : ledger;
    this.#isolation = new Isolation(this.#ledger);
    this.#senders = new ElementGroup(this.#ledger);
    this.#tables = [ledger, ...(twins ? [twins] : [])].map((each) => ({
      ledger: each,
      applier: new ElementApplier(
        options.exec,
        each,
        () => !services.complete || !addresses.feed.complete,
        (count) => {
          const what = 'elements of isolation in nftables restored';
          options.onRepairs([{ kind: 'element', count, what }]);
        },
      ),
    }));
    services.subscribe({
      service: (key, record) => {
        this.#isolation.setService(key, record && isolatedService(record));
      },
      endpoint: () => undefined,
      settled: () => {
        this.#changed.fire();
      },
    });
    addresses.feed.subscribe({
      address: (address, owner) => {
        if (!this.#isOwn(address)) this.#isolation.setSource(address, owner);
      },
      settled: () => {
        this.#changed.fire();
      },
    });
    addresses.book.onChange((address) => {
      if (address === undefined) this.#takeBook();
      else this.#takeOwn(address);
      this.#changed.fire();
    });
    this.#takeBook();
  }

  /**
   * Lets nobody in to instances of this host in IPv6, until it is known who may come in, where no earlier agent has left rules that
   * say so of the same addresses. Does nothing where the overlay carries IPv4 only. Throws ExecError.
   */
  async closeIpv6(signal?: AbortSignal): Promise<void> {
    const { exec, rules } = this.#options;
    const { ipv6 } = rules;
    if (ipv6 === undefined) return;
    const closed = closedIpv6Chain(rules, ipv6);
    // All but the last say where: rules for another subnet or prefix would let everybody in to this one.
    if (await chainBegins(exec, closed, closed.rules.length - 1, signal)) return;
    await ensureChains(exec, [closed], [], signal);
  }

  /** Number of instances of this host that are looked after. */
  get size(): number {
    return this.#isolation.size;
  }

  /** Takes the other hosts, as this one reaches them. */
  setPeers(_network: Cidr, peers: readonly Peer[], segment?: ReadonlyMap<string, string>): void {
    this.#senders.replace(senderElements(peers, segment));
    this.#peersKnown = true;
    this.#changed.fire();
  }

  /** Where virtual IPs are; empty: nowhere. */
  set ranges(ranges: readonly Cidr[]) {
    this.#ranges = ranges;
    this.#rulesUnknown = true;
    this.#changed.fire();
  }

  /** Whether it is known where virtual IPs are. */
  get hasRanges(): boolean {
    return this.#ranges !== undefined;
  }

  /** Somebody has changed the table: all is compared at once. */
  distrust(): void {
    for (const { ledger } of this.#tables) ledger.distrust();
    this.#rulesUnknown = true;
    this.#audits.makeDue();
    this.#changed.fire();
  }

  /** Asks for an audit now. */
  requestAudit(): void {
    this.#audits.request();
  }

  /** Compares the kernel with what it should hold, and puts right what differs. Throws ExecError. */
  async audit(signal?: AbortSignal): Promise<void> {
    if (!this.#isReady()) return;
    await this.#turns.run(() =>
      this.#audits.measure(async () => {
        this.#isolation.update();
        for (const { applier } of this.#tables) await applier.audit(signal);
        await this.#ensureRules(signal);
      }),
    );
  }

  /** Runs until `signal` aborts; leaves everything in place then. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    const restart = { baseMs: 200, capMs: 5_000 };
    await supervise(
      [
        { name: 'isolation', run: (s) => this.#follow(s), restart },
        {
          name: 'audit of isolation',
          run: (s) => this.#audits.run((until) => this.audit(until), s),
        },
      ],
      { log, clock },
      signal,
    );
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const { clock, onProblem } = this.#options;
    // It may have failed half-way before.
    this.#changed.fire();
    while (!isAborted(signal)) {
      await this.#changed.wait(clock, 60_000, signal);
      if (isAborted(signal)) return;
      if (!this.#isReady()) continue;
      try {
        await this.#turns.run(async () => {
          this.#isolation.update();
          for (const { applier } of this.#tables) await applier.flush(signal);
          if (this.#rulesUnknown) await this.#ensureRules(signal);
        });
        onProblem('isolation', undefined);
      } catch (error) {
        if (!isAborted(signal)) {
          onProblem('isolation', `isolation is not up to date: ${(error as Error).message}`);
        }
        throw error;
      }
    }
  }

  async #ensureRules(signal?: AbortSignal): Promise<void> {
    const { exec, rules, onRepairs } = this.#options;
    const { ipv6 } = rules;
    const chains = [
      ...isolationChains(rules, this.#ranges ?? []),
      ...(ipv6 ? isolationIpv6Chains(rules, ipv6) : []),
    ];
    // Where there are no elements (yet), nobody has declared the sets that the rules look into.
    const sets = [...isolationSets, ...(ipv6 ? isolationIpv6Sets : [])];
    const declarations = declarationLines(sets);
    const wanted = JSON.stringify(chains);
    this.#rulesUnknown = false;
    try {
      const found = await ensureChains(exec, chains, declarations, signal);
      // Other rules than before are no repair.
      if (this.#stood === wanted && found.length > 0) onRepairs(findings('chain', found));
      this.#stood = wanted;
    } catch (error) {
      this.#rulesUnknown = true;
      throw error;
    }
  }

  #isReady(): boolean {
    const { services, addresses } = this.#options;
    return (
      services.synced &&
      addresses.feed.synced &&
      addresses.book.known &&
      this.#peersKnown &&
      this.#ranges !== undefined
    );
  }

  #takeBook(): void {
    const { book } = this.#options.addresses;
    for (const address of new Set([...this.#own, ...book.addresses()])) this.#takeOwn(address);
  }

  #takeOwn(address: string): void {
    // A container may have kept one of a subnet that this host had before.
    if (!this.#isOwn(address)) return;
    const owner = this.#options.addresses.book.holderOf(address)?.owner;
    if (owner === undefined) this.#own.delete(address);
    else this.#own.add(address);
    this.#isolation.setSource(address, owner);
    this.#isolation.setLocal(address, owner);
  }

  #isOwn(address: string): boolean {
    return containsAddress(this.#options.rules.subnet, tryParseIpv4(address) ?? -1);
  }
}
