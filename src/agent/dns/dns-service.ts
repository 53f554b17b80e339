import {
  blockOf,
  containsAddress,
  parseCidr,
  parseIpv4,
  tryParseIpv4,
} from '../../network/cidr.ts';
import type { Cidr } from '../../network/cidr.ts';
import type { ServiceName } from '../../network/zone.ts';
import type { RecordSource } from '../../registry/record-watch.ts';
import { systemClock, type Clock } from '../../runtime/clock.ts';
import { supervise } from '../../runtime/supervise.ts';
import type { Logger } from '../../telemetry/log.ts';
import { ServiceFeed } from '../service-feed.ts';
import { Forwarder } from './forwarder.ts';
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
    { readonly network: string; readonly subnet: string; readonly address: string } | undefined;
  /** The host's /etc/resolv.conf. */
  readonly readResolvConf: () => Promise<string>;
  /** Instead of `readResolvConf`. */
  readonly upstreams?: () => Promise<readonly Upstream[]>;
  /** Default 53; 0 = any free one. */
  readonly port?: number;
  /** What one source may ask for; see DnsServerOptions. */
  readonly queriesPerSecond?: number;
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
  readonly #ownFeed: ServiceFeed | undefined;
  #server: DnsServer | undefined;

  constructor(options: DnsServiceOptions) {
    this.#options = options;
    this.#log = options.log.child({ component: 'dns' });
    const { store, clock = systemClock } = options;
    const feed = options.services ?? new ServiceFeed({ store, log: this.#log, clock });
    this.#ownFeed = feed === options.services ? undefined : feed;
    this.view = new ZoneView(feed);
  }

  /** The port that is listened on, while one is. */
  get port(): number | undefined {
    return this.#server?.port;
  }

  /** What is wrong at the moment, in words for the Host's status. */
  problems(): readonly string[] {
    const problem = this.#server?.problem;
    return problem === undefined ? [] : [problem];
  }

  /**
   * Answers on `gateway` until `signal` aborts. What is known of the zone outlives the call, so another
   * address can be served at once. Not for two calls at a time.
   */
  async run(gateway: string, local: InstanceFinder, signal: AbortSignal): Promise<void> {
    const { readResolvConf, overlay, clock = systemClock } = this.#options;
    // Before the overlay is known, the usual size of a host's subnet must do.
    const nearby = blockOf(parseIpv4(gateway), 24);
    const parsedNetwork = parser();
    const parsedSubnet = parser();
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
    const feed = this.#ownFeed;
    await supervise(
      [
        ...(feed === undefined ? [] : [{ name: 'names', run: (s: AbortSignal) => feed.run(s) }]),
        { name: 'DNS server', run: (stop) => server.run(stop) },
      ],
      { log: this.#log, clock },
      signal,
    );
  }
}

/** Parses networks, the same text once: it is asked for every query. */
function parser(): (text: string | undefined) => Cidr | undefined {
  let last: { readonly text: string; readonly cidr: Cidr } | undefined;
  return (text) => {
    if (text === undefined) return undefined;
    if (last?.text !== text) last = { text, cidr: parseCidr(text) };
    return last.cidr;
  };
}
