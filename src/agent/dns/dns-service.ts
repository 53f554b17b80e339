import {
  blockOf,
  containsAddress,
  parseCidr,
  parseIpv4,
  tryParseIpv4,
} from '../../network/address/cidr.ts';
import type { Cidr } from '../../network/address/cidr.ts';
import { prefixOfSubnet } from '../../network/address/twins.ts';
import type { AnswerContext } from '../../network/names/zone-answer.ts';
import type { ServiceName } from '../../network/names/zone.ts';
import type { RecordSource } from '../../registry/record-watch.ts';
import { systemClock, type Clock } from '../../runtime/clock.ts';
import { supervise } from '../../runtime/supervise.ts';
import type { Logger } from '../../telemetry/log.ts';
import { runPeriodically } from '../../runtime/periodic.ts';
import { Trigger } from '../../runtime/trigger.ts';
import type { AuditBook } from '../audit/audit-book.ts';
import { ServiceFeed } from '../service-feed.ts';
import { Forwarder } from './forwarder.ts';
import { askServer, NameAudit, WrongNamesError } from './name-audit.ts';
import { resolvConfUpstreams } from './resolv-conf.ts';
import { Resolver } from './resolver.ts';
import { DnsServer } from './server.ts';
import type { Upstream } from './upstream.ts';
import { ZoneView } from './zone-view.ts';

/** Tells which instance of this host has an overlay address. Asked for every query: a map look-up. */
export interface InstanceFinder {
  localInstance(address: string): ServiceName | undefined;
}

export interface DnsServiceOptions {
  readonly store: RecordSource;
  readonly log: Logger;
  /** What services there are. Default: read from `store`, while it runs. */
  readonly services?: ServiceFeed;
  /**
   * The host's place in the overlay (`NetworkManager.current`); undefined while it is not known, for example because the store
   * has been away since the agent's start.
   */
  readonly overlay: () =>
    | {
        readonly network: string;
        readonly subnet: string;
        readonly address: string;
        /** Absent: it carries IPv4 only. */
        readonly ipv6Subnet?: string;
      }
    | undefined;
  /** The host's /etc/resolv.conf. */
  readonly readResolvConf: () => Promise<string>;
  /** Instead of `readResolvConf`. */
  readonly upstreams?: () => Promise<readonly Upstream[]>;
  /** Default 53; 0 = any free one. */
  readonly port?: number;
  /** What one source may ask for; see DnsServerOptions. */
  readonly queriesPerSecond?: number;
  /** Told what was put right, and asks for audits. Absent: answers are not compared with the registry. */
  readonly audits?: AuditBook;
  /** How often they are, in milliseconds. Default 30,000. */
  readonly auditIntervalMs?: number;
  /** Called when an audit changes `problems()`. */
  readonly onProblem?: () => void;
  readonly clock?: Clock;
}

/** What a query that must be passed on counts for, in queries: it costs the host's resolvers, and a wait. */
const forwardPrice = 10;

const loopback: Cidr = { base: parseIpv4('127.0.0.0'), prefix: 8 };

/** Names for the containers of one host: the zone, the resolver and the server in one. */
export class DnsService {
  readonly view: ZoneView;
  readonly #options: DnsServiceOptions;
  readonly #log: Logger;
  readonly #feed: ServiceFeed;
  readonly #isOwnFeed: boolean;
  #wrongNames: string | undefined;
  #server: DnsServer | undefined;

  constructor(options: DnsServiceOptions) {
    this.#options = options;
    this.#log = options.log.child({ component: 'dns' });
    const { store, clock = systemClock } = options;
    const feed = options.services ?? new ServiceFeed({ store, log: this.#log, clock });
    this.#feed = feed;
    this.#isOwnFeed = options.services === undefined;
    this.view = new ZoneView(feed);
  }

  /** The port that is listened on, while one is. */
  get port(): number | undefined {
    return this.#server?.port;
  }

  /** What is wrong at the moment, in words for the Host's status. */
  problems(): readonly string[] {
    return [this.#server?.problem, this.#wrongNames].filter((problem) => problem !== undefined);
  }

  /**
   * Answers on `gateway` until `signal` aborts. What is known of the zone outlives the call, so another
   * address can be served at once. Not for two calls at a time.
   */
  async run(gateway: string, local: InstanceFinder, signal: AbortSignal): Promise<void> {
    const { readResolvConf, overlay, clock = systemClock } = this.#options;
    // Before the overlay is known, the usual size of a host's subnet must do.
    const nearby = blockOf(parseIpv4(gateway), 24);
    const parsedNetwork = parser(parseCidr);
    const parsedSubnet = parser(parseCidr);
    const parsedIpv6 = parser((subnet) => ({ prefix: prefixOfSubnet(subnet) }));
    // Before the overlay is known, records say what it carries.
    const unknownIpv6 = {};
    const ipv6 = (): AnswerContext['ipv6'] => {
      const place = overlay();
      return place === undefined ? unknownIpv6 : parsedIpv6(place.ipv6Subnet);
    };
    const network = (): Cidr => parsedNetwork(overlay()?.network) ?? nearby;
    const resolver = new Resolver({
      view: this.view,
      forwarder: new Forwarder({
        upstreams:
          this.#options.upstreams ??
          resolvConfUpstreams(readResolvConf, (address) => address === gateway, clock),
        clock,
      }),
      localInstance: (address) => local.localInstance(address),
      network,
      ipv6,
      subnet: () => parsedSubnet(overlay()?.subnet) ?? nearby,
      mayForward: (source) => server.charge(source, forwardPrice - 1),
      clock,
    });
    const server: DnsServer = new DnsServer({
      address: gateway,
      port: this.#options.port ?? 53,
      ...(this.#options.queriesPerSecond === undefined
        ? {}
        : { queriesPerSecond: this.#options.queriesPerSecond }),
      answer: (message, source, transport, stop) =>
        resolver.answer(message, source, transport, stop),
      ready: (message, source, reply) => resolver.answerReady(message, source, reply),
      allowed: (source) => {
        const address = tryParseIpv4(source);
        if (address === undefined) return false;
        return (
          containsAddress(network(), address) ||
          containsAddress(loopback, address) ||
          source === overlay()?.address
        );
      },
      log: this.#log,
      clock,
    });
    this.#server = server;
    const { audits } = this.#options;
    await supervise(
      [
        ...(this.#isOwnFeed ? [{ name: 'names', run: (s: AbortSignal) => this.#feed.run(s) }] : []),
        { name: 'DNS server', run: (stop) => server.run(stop) },
        ...(audits === undefined
          ? []
          : [
              {
                name: 'audit of names',
                run: (s: AbortSignal) => this.#audit(server, gateway, ipv6, audits, s),
              },
            ]),
      ],
      { log: this.#log, clock },
      signal,
    );
  }

  /** Compares answers with the registry, until `signal` aborts. */
  async #audit(
    server: DnsServer,
    gateway: string,
    ipv6: () => AnswerContext['ipv6'],
    audits: AuditBook,
    signal: AbortSignal,
  ): Promise<void> {
    const { store, clock = systemClock, auditIntervalMs: intervalMs = 30_000 } = this.#options;
    const trigger = new Trigger();
    const leave = audits.onRequest(() => {
      trigger.fire();
    });
    const audit = new NameAudit({
      store,
      ask: (name, type) => askServer(gateway, server.port ?? 0)(name, type),
      ipv6,
      repair: () => {
        this.#log.warn('this host answers names wrongly; reading all of them anew');
        this.#feed.reread();
        server.rebind();
      },
      clock,
    });
    const log = this.#log;
    await runPeriodically(
      { name: 'audit of names', intervalMs, trigger, minGapMs: 500, slowMs: Infinity, log, clock },
      async (until) => {
        // Where it does not listen, that is the problem, and told.
        if (!this.#feed.synced || server.port === undefined) return;
        try {
          audits.repaired(await audit.audit(until));
          this.#tellWrong(undefined);
        } catch (error) {
          if (!(error instanceof WrongNamesError)) throw error;
          this.#tellWrong(`names are answered wrongly: ${error.message}`);
        }
      },
      signal,
    ).finally(leave);
  }

  #tellWrong(problem: string | undefined): void {
    if (problem === this.#wrongNames) return;
    this.#wrongNames = problem;
    this.#options.onProblem?.();
  }
}

/** Parses networks, the same text once: it is asked for every query. */
function parser<T>(parse: (text: string) => T): (text: string | undefined) => T | undefined {
  let last: { readonly text: string; readonly parsed: T } | undefined;
  return (text) => {
    if (text === undefined) return undefined;
    if (last?.text !== text) last = { text, parsed: parse(text) };
    return last.parsed;
  };
}
