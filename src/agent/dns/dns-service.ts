import { containsAddress, parseCidr, parseIpv4, tryParseIpv4 } from '../../network/cidr.ts';
import type { ServiceName } from '../../network/zone.ts';
import type { Store } from '../../registry/store.ts';
import { systemClock, type Clock } from '../../runtime/clock.ts';
import { supervise } from '../../runtime/supervise.ts';
import type { Logger } from '../../telemetry/log.ts';
import { Forwarder, resolvConfUpstreams, type Upstream } from './forwarder.ts';
import { Resolver } from './resolver.ts';
import { DnsServer } from './server.ts';
import { ZoneView } from './zone-view.ts';

export interface DnsServiceOptions {
  readonly store: Store;
  readonly log: Logger;
  /** The host's place in the overlay, as `NetworkManager.ensure` gives it. */
  readonly overlay: {
    readonly network: string;
    readonly subnet: string;
    readonly gateway: string;
    /** The host's own address: it may ask, too. */
    readonly address: string;
  };
  /** Which instance of this host has the overlay address. Asked for every query: a map look-up. */
  readonly localInstance: (address: string) => ServiceName | undefined;
  /** The host's /etc/resolv.conf. */
  readonly readResolvConf: () => Promise<string>;
  /** Instead of `readResolvConf`. */
  readonly upstreams?: () => Promise<readonly Upstream[]>;
  /** Default: the gateway, port 53. */
  readonly listen?: { readonly address: string; readonly port: number };
  readonly clock?: Clock;
}

/** Names for the containers of one host: the zone, the resolver and the server in one. */
export class DnsService {
  readonly view: ZoneView;
  readonly server: DnsServer;
  readonly #options: DnsServiceOptions;

  constructor(options: DnsServiceOptions) {
    this.#options = options;
    const { overlay, store, localInstance, clock = systemClock } = options;
    const log = options.log.child({ component: 'dns' });
    const network = parseCidr(overlay.network);
    const loopback = { base: parseIpv4('127.0.0.0'), prefix: 8 };
    const isHost = (address: string): boolean =>
      address === overlay.gateway || address === overlay.address;
    this.view = new ZoneView({ store, log, clock });
    const resolver = new Resolver({
      view: this.view,
      forwarder: new Forwarder({
        upstreams:
          options.upstreams ??
          resolvConfUpstreams(options.readResolvConf, (a) => a === overlay.gateway, clock),
        clock,
      }),
      localInstance,
      network,
      subnet: parseCidr(overlay.subnet),
      clock,
    });
    this.server = new DnsServer({
      address: options.listen?.address ?? overlay.gateway,
      port: options.listen?.port ?? 53,
      answer: (message, source, transport, signal) =>
        resolver.answer(message, source, transport, signal),
      allowed: (source) => {
        const address = tryParseIpv4(source);
        if (address === undefined) return false;
        return (
          containsAddress(network, address) || containsAddress(loopback, address) || isHost(source)
        );
      },
      log,
      clock,
    });
  }

  /** What is wrong at the moment, in words for the Host's status. */
  problems(): readonly string[] {
    const { problem } = this.server;
    return problem === undefined ? [] : [problem];
  }

  /** Follows the records and answers until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { log, clock = systemClock } = this.#options;
    await supervise(
      [
        { name: 'names', run: (stop) => this.view.run(stop) },
        { name: 'DNS server', run: (stop) => this.server.run(stop) },
      ],
      { log, clock },
      signal,
    );
  }
}
