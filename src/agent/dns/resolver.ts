import { containsAddress, tryParseIpv4, type Cidr } from '../../network/cidr.ts';
import type { ServiceName } from '../../network/zone.ts';
import { answerQuestion } from '../../network/zone-answer.ts';
import { sleep, systemClock, type Clock } from '../../runtime/clock.ts';
import type { Forwarder } from './forwarder.ts';
import {
  bareReply,
  decodeQuery,
  encodeFormatError,
  encodeReply,
  rcode,
  type Query,
} from './message.ts';
import type { ZoneView } from './zone-view.ts';

export interface ResolverOptions {
  readonly view: ZoneView;
  readonly forwarder: Forwarder;
  /** Which instance of this host has the address; undefined when none has. */
  readonly localInstance: (address: string) => ServiceName | undefined;
  /** The whole overlay. */
  readonly network: () => Cidr;
  /** This host's part of it. */
  readonly subnet: () => Cidr;
  /**
   * How long a plain name asked for by an unknown address of this host's subnet waits for the asker to become known: a container
   * may ask before the agent has seen its address. Default 500 ms.
   */
  readonly askerPatienceMs?: number;
  readonly clock?: Clock;
  /** Numbers in [0, 1). Default Math.random. */
  readonly random?: () => number;
}

/** How often the asker is looked up again, in milliseconds. */
const askerPollMs = 20;

/** Turns a message into its answer: nap's own names from the zone, all others from the host's resolvers. */
export class Resolver {
  readonly #options: ResolverOptions;
  readonly #clock: Clock;

  constructor(options: ResolverOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /**
   * The answer to `message` from `source`; undefined when silence is best. Never throws, whatever the bytes. Who may ask
   * is the server's affair.
   */
  async answer(
    message: Buffer,
    source: string,
    transport: 'udp' | 'tcp',
    signal?: AbortSignal,
  ): Promise<Buffer | undefined> {
    const query = decodeQuery(message);
    if ('malformed' in query) {
      return query.id === undefined ? undefined : encodeFormatError(query.id);
    }
    const refusal = refused(query);
    if (refusal !== undefined) return encodeReply(query, bareReply(refusal), transport);
    const own = await this.#own(query, source, signal);
    if (own === 'unknown yet') {
      return encodeReply(query, bareReply(rcode.serverFailure), transport);
    }
    if (own !== 'foreign') {
      const code = own.absent ? rcode.nameError : rcode.noError;
      return encodeReply(query, { ...own, rcode: code, authoritative: true }, transport);
    }
    const forwarded = await this.#options.forwarder.forward(message, transport, signal);
    return forwarded ?? encodeReply(query, bareReply(rcode.serverFailure), transport);
  }

  async #own(
    query: Query,
    source: string,
    signal?: AbortSignal,
  ): Promise<ReturnType<typeof answerQuestion> | 'unknown yet'> {
    const { view, network, localInstance } = this.#options;
    const ask = (asker: ServiceName | undefined): ReturnType<typeof answerQuestion> =>
      answerQuestion(view.zone, query, {
        asker,
        network: network(),
        serial: view.serial,
        random: this.#options.random ?? Math.random,
      });
    let asker = localInstance(source);
    let answer = ask(asker);
    if (asker === undefined && this.#mayBecomeKnown(source) && isPlain(query.name)) {
      asker = await this.#awaitAsker(source, signal);
      answer = ask(asker);
    }
    // Without the records, nobody can say that a name does not exist.
    return !view.synced && answer !== 'foreign' && answer.answers.length === 0
      ? 'unknown yet'
      : answer;
  }

  #mayBecomeKnown(source: string): boolean {
    const address = tryParseIpv4(source);
    const subnet = this.#options.subnet();
    // The first two addresses are the host's own.
    return address !== undefined && containsAddress(subnet, address) && address > subnet.base + 1;
  }

  async #awaitAsker(source: string, signal?: AbortSignal): Promise<ServiceName | undefined> {
    const end = this.#clock.monotonic() + (this.#options.askerPatienceMs ?? 500);
    let asker: ServiceName | undefined;
    while (asker === undefined && this.#clock.monotonic() < end && signal?.aborted !== true) {
      await sleep(this.#clock, askerPollMs, signal).catch(() => undefined);
      asker = this.#options.localInstance(source);
    }
    return asker;
  }
}

/** Whether the name may mean something to an instance that means nothing to others. */
function isPlain(name: string): boolean {
  return !name.includes('.') || /\.\d+$/.test(name);
}

function refused(query: Query): number | undefined {
  if (query.opcode !== 0) return rcode.notImplemented;
  if (query.edns !== undefined && query.edns.version !== 0) return rcode.badVersion;
  if (query.class !== 'IN' && query.class !== 'ANY') return rcode.refused;
  return query.type === 'AXFR' || query.type === 'IXFR' ? rcode.refused : undefined;
}
