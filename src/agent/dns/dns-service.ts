import {
  blockOf,
  containsAddress,
  parseCidr,
  parseIpv4,
  tryParseIpv4,
} from '../../network/cidr.ts';
import type { Cidr } from '../../network/cidr.ts';
import type { ServiceName } from '../../network/zone.ts';
import type { Store } from '../../registry/store.ts';
import { systemClock, type Clock } from '../../runtime/clock.ts';
import { supervise } from '../../runtime/supervise.ts';
import type { Logger } from '../../telemetry/log.ts';
import { Forwarder, resolvConfUpstreams, type Upstream } from './forwarder.ts';
import { Resolver } from './resolver.ts';
import { DnsServer } from './server.ts';
import { ZoneView } from './zone-view.ts';

/** Tells which instance of this host has an overlay address. Asked for every query: a map look-up. */
export interface InstanceFinder {
  localInstance(address: string): ServiceName | undefined;
}

export interface DnsServiceOptions {
  readonly store: Store;
  readonly log: Logger;
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
  readonly clock?: Clock;
}

const loopback: Cidr = { base: parseIpv4('127.0.0.0'), prefix: 8 };

/** Names for the containers of one host: the zone, the resolver and the server in one. */
export class DnsService {
  readonly view: ZoneView;
  readonly #options: DnsServiceOptions;
  readonly #log: Logger;
  #server: DnsServer | undefined;

  constructor(options: DnsServiceOptions) {
    this.#options = options;
    this.#log = options.log.child({ component: 'dns' });
    const { store, clock = systemClock } = options;
    this.view = new ZoneView({ store, log: this.#log, clock });
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
   * Follows the records and answers on `gateway` until `signal` aborts. What is known of the zone outlives the call, so another
   * address can be served at once. Not for two calls at a time.
   */
  async run(gateway: string, local: InstanceFinder, signal: AbortSignal): Promise<void> {
    const { readResolvConf, overlay, clock = systemClock } = this.#options;
    // Before the overlay is known, the usual size of a host's subnet must do.
    const nearby = blockOf(parseIpv4(gateway), 24);
    const network = (): Cidr => parsed(overlay()?.network) ?? nearby;
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
      subnet: () => parsed(overlay()?.subnet) ?? nearby,
      clock,
    });
    const server = new DnsServer({
      address: gateway,
      port: this.#options.port ?? 53,
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
    await supervise(
      [
        { name: 'names', run: (stop) => this.view.run(stop) },
        { name: 'DNS server', run: (stop) => server.run(stop) },
      ],
      { log: this.#log, clock },
      signal,
    );
  }
}

function parsed(text: string | undefined): Cidr | undefined {
  return text === undefined ? undefined : parseCidr(text);
}
