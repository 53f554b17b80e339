import { containsAddress, tryParseIpv4, type Cidr } from '../../network/address/cidr.ts';
import { zoneSuffix, type Asker, type ServiceName } from '../../network/names/zone.ts';
import {
  answerQuestion,
  type AnswerContext,
  type ZoneAnswer,
} from '../../network/names/zone-answer.ts';
import { sleep, systemClock, type Clock } from '../../runtime/clock.ts';
import { AnswerCache } from './answer-cache.ts';
import { ForeignCache } from './foreign-cache.ts';
import type { Forwarder } from './forwarder.ts';
import { bareReply, encodeFormatError, encodeReply } from './message.ts';
import { decodeQuery, type Query } from './query.ts';
import { rcode } from './wire.ts';
import type { ZoneView } from './zone-view.ts';

export interface ResolverOptions {
  readonly view: Pick<ZoneView, 'zone' | 'serial' | 'synced'>;
  readonly forwarder: Pick<Forwarder, 'forward'>;
  /** Which instance of this host has the address; undefined when none has. */
  readonly localInstance: (address: string) => ServiceName | undefined;
  /** The whole overlay; the same object as long as nothing changes. */
  readonly network: () => Cidr;
  /** What of IPv6 is answered; the same object as long as nothing changes. Absent, or undefined: nothing. */
  readonly ipv6?: () => AnswerContext['ipv6'];
  /** This host's part of it. */
  readonly subnet: () => Cidr;
  /** Whether the source may have one more query passed on. Default: always. */
  readonly mayForward?: (source: string) => boolean;
  /**
   * How long a name of ours asked for by an unknown address of this host's subnet waits for the asker to become known: a container
   * may ask before the agent has seen its address. Default 500 ms.
   */
  readonly askerPatienceMs?: number;
  readonly clock?: Clock;
  /** Numbers in [0, 1). Default Math.random. */
  readonly random?: () => number;
}

/** How often the asker is looked up again, in milliseconds. */
const askerPollMs = 20;
/** How long an asker may keep that ANY is not answered, in seconds. */
const anyTtlSeconds = 3_600;

/** What the zone says. */
type Own = ZoneAnswer | 'foreign' | 'unknown yet';

/** Turns a message into its answer: nap's own names from the zone, all others from the host's resolvers. */
export class Resolver {
  readonly #options: ResolverOptions;
  readonly #clock: Clock;
  readonly #ready = new AnswerCache();
  readonly #foreign: ForeignCache;
  /** Grows with everything that answers depend on. */
  #version = 0;
  #versionOf:
    { serial: number; synced: boolean; network: Cidr; ipv6: AnswerContext['ipv6'] } | undefined;

  constructor(options: ResolverOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#foreign = new ForeignCache({ forwarder: options.forwarder, clock: this.#clock });
  }

  /**
   * The answer to `message` from `source`; undefined when silence is best. At once when it is known, which spares a busy server
   * much. Never throws, whatever the bytes. Who may ask is the server's affair.
   */
  answer(
    message: Buffer,
    source: string,
    transport: 'udp' | 'tcp',
    signal?: AbortSignal,
  ): Buffer | undefined | Promise<Buffer | undefined> {
    const asker = this.#askerAt(source);
    const key = transport === 'udp' ? this.#ready.key(message, asker) : undefined;
    const ready = key === undefined ? undefined : this.#readyAt(key);
    if (ready !== undefined) return withId(Buffer.from(ready), message);
    const query = decodeQuery(message);
    if ('malformed' in query) {
      return query.id === undefined ? undefined : encodeFormatError(query.id);
    }
    const refusal = refused(query);
    if (refusal !== undefined) return encodeReply(query, bareReply(refusal), transport);
    if (asker === 'stranger' && isOurs(query.name) && this.#mayBecomeKnown(source)) {
      return this.#answerLater(query, source, transport, signal);
    }
    const own = this.#own(query, asker);
    // Cookies and the like make each query another.
    const keepAs = (query.edns?.optionBytes ?? 0) === 0 ? key : undefined;
    return this.#reply(query, own, source, transport, keepAs, signal);
  }

  /**
   * Writes the answer to a message over UDP to the start of `reply` when it lies ready, and returns its length; otherwise, and when
   * `reply` is too short, 0.
   */
  answerReady(message: Buffer, source: string, reply: Buffer): number {
    const key = this.#ready.key(message, this.#askerAt(source));
    const ready = key === undefined ? undefined : this.#readyAt(key);
    if (ready === undefined || ready.length > reply.length) return 0;
    ready.copy(reply);
    withId(reply, message);
    return ready.length;
  }

  #readyAt(key: string): Buffer | undefined {
    return this.#ready.get(key, this.#zoneVersion(), this.#clock.monotonic());
  }

  #reply(
    query: Query,
    own: Own,
    source: string,
    transport: 'udp' | 'tcp',
    keepAs?: string,
    signal?: AbortSignal,
  ): Buffer | Promise<Buffer> {
    const bare = (code: number): Buffer => encodeReply(query, bareReply(code), transport);
    if (own === 'unknown yet') return bare(rcode.serverFailure);
    const now = this.#clock.monotonic();
    if (own !== 'foreign') {
      const code = own.absent ? rcode.nameError : rcode.noError;
      const parts = query.type === 'ANY' ? minimal(own) : own;
      const reply = encodeReply(query, { ...parts, rcode: code, authoritative: true }, transport);
      if (keepAs !== undefined) {
        if (own.answers.length > 1) this.#ready.keepOrder(keepAs, reply, this.#version, now);
        else this.#ready.keep(keepAs, reply, this.#version, Infinity);
      }
      return reply;
    }
    if (query.type === 'ANY') {
      const answer = { type: 'HINFO', name: query.name, ttl: anyTtlSeconds } as const;
      return encodeReply(query, { ...bareReply(rcode.noError), answers: [answer] }, transport);
    }
    const kept = this.#foreign.kept(query, transport);
    if (kept !== undefined) {
      if (keepAs !== undefined) {
        this.#ready.keep(keepAs, kept.reply, this.#version, now + kept.forMs);
      }
      return kept.reply;
    }
    if (this.#options.mayForward?.(source) === false) return bare(rcode.refused);
    return this.#foreign
      .ask(query, transport, signal)
      .then((reply) => reply ?? bare(rcode.serverFailure));
  }

  async #answerLater(
    query: Query,
    source: string,
    transport: 'udp' | 'tcp',
    signal?: AbortSignal,
  ): Promise<Buffer> {
    const asker = await this.#awaitAsker(source, signal);
    const own = this.#own(query, asker);
    return this.#reply(query, own, source, transport, undefined, signal);
  }

  #own(query: Query, asker: Asker): Own {
    const { view, network, random = Math.random } = this.#options;
    const ipv6 = this.#options.ipv6?.();
    const context: AnswerContext = {
      ...{ asker, network: network(), serial: view.serial, random },
      ...(ipv6 && { ipv6 }),
    };
    const answer = answerQuestion(view.zone, query, context);
    // Without the records, nobody can say that a name does not exist.
    return !view.synced && answer !== 'foreign' && answer.answers.length === 0
      ? 'unknown yet'
      : answer;
  }

  #zoneVersion(): number {
    const { serial, synced } = this.#options.view;
    const network = this.#options.network();
    const ipv6 = this.#options.ipv6?.();
    const of = this.#versionOf;
    if (
      of?.serial !== serial ||
      of.synced !== synced ||
      of.network !== network ||
      of.ipv6 !== ipv6
    ) {
      this.#version += 1;
      this.#versionOf = { serial, synced, network, ipv6 };
    }
    return this.#version;
  }

  #askerAt(source: string): Asker {
    return this.#options.localInstance(source) ?? (this.#isHost(source) ? undefined : 'stranger');
  }

  /** The host itself asks from outside of the overlay, or from the first two addresses of its subnet. */
  #isHost(source: string): boolean {
    const address = tryParseIpv4(source);
    const { network, subnet } = this.#options;
    if (address === undefined) return false;
    if (!containsAddress(network(), address)) return true;
    return containsAddress(subnet(), address) && address <= subnet().base + 1;
  }

  #mayBecomeKnown(source: string): boolean {
    const address = tryParseIpv4(source);
    const subnet = this.#options.subnet();
    // The first two addresses are the host's own.
    return address !== undefined && containsAddress(subnet, address) && address > subnet.base + 1;
  }

  async #awaitAsker(source: string, signal?: AbortSignal): Promise<Asker> {
    const end = this.#clock.monotonic() + (this.#options.askerPatienceMs ?? 500);
    let asker: Asker = 'stranger';
    while (asker === 'stranger' && this.#clock.monotonic() < end && signal?.aborted !== true) {
      await sleep(this.#clock, askerPollMs, signal).catch(() => undefined);
      asker = this.#askerAt(source);
    }
    return asker;
  }
}

function withId(reply: Buffer, message: Buffer): Buffer {
  reply[0] = message[0] ?? 0;
  reply[1] = message[1] ?? 0;
  return reply;
}

/** A part of the answer is answer enough to ANY (RFC 8482, 4.1). */
function minimal(answer: ZoneAnswer): ZoneAnswer {
  return { ...answer, answers: answer.answers.slice(0, 1), additionals: [] };
}

/** Whether what the name means depends on who asks. */
function isOurs(name: string): boolean {
  const plain = name.toLowerCase().replace(/\.$/, '');
  return !plain.includes('.') || /\.\d+$/.test(plain) || plain.endsWith(`.${zoneSuffix}`);
}

function refused(query: Query): number | undefined {
  if (query.opcode !== 0) return rcode.notImplemented;
  if (query.edns !== undefined && query.edns.version !== 0) return rcode.badVersion;
  if (query.class !== 'IN' && query.class !== 'ANY') return rcode.refused;
  return query.type === 'AXFR' || query.type === 'IXFR' ? rcode.refused : undefined;
}
