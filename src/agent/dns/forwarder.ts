import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect, isIP, isIPv6 } from 'node:net';
import { systemClock, type Clock } from '../../runtime/clock.ts';
import { questionEnd } from './message.ts';
import { FrameReader, frame } from './tcp-framing.ts';

/** A resolver of the host. */
export interface Upstream {
  readonly address: string;
  readonly port: number;
}

export interface ForwarderOptions {
  /** The host's resolvers in order of preference; asked for each query, so it should be cheap. */
  readonly upstreams: () => Promise<readonly Upstream[]>;
  /** How long to wait for one resolver. Default 1,500 ms: a stub resolver waits 5 s in all. */
  readonly timeoutMs?: number;
  /** How many queries may wait at once; more are turned away. Default 512. */
  readonly maxPending?: number;
  readonly clock?: Clock;
}

/** A resolver that failed is asked last for this long. */
const demotedMs = 10_000;

/** Passes queries that are not nap's to the host's resolvers, one after the other until one answers. */
export class Forwarder {
  readonly #options: ForwarderOptions;
  readonly #clock: Clock;
  /** Upstream → monotonic time until which it is asked last. */
  readonly #demoted = new Map<string, number>();
  #pending = 0;

  constructor(options: ForwarderOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /**
   * The first resolver's answer to `message`, with the message's own id; undefined when there is none: no resolver known,
   * none answered, or too many queries wait. Over TCP if `transport` says so.
   */
  async forward(
    message: Buffer,
    transport: 'udp' | 'tcp',
    signal?: AbortSignal,
  ): Promise<Buffer | undefined> {
    if (this.#pending >= (this.#options.maxPending ?? 512)) return undefined;
    this.#pending += 1;
    try {
      for (const upstream of this.#inOrder(await this.#options.upstreams())) {
        if (signal?.aborted === true) return undefined;
        const answer = await this.#ask(upstream, message, transport, signal);
        if (answer !== undefined) return answer;
      }
      return undefined;
    } finally {
      this.#pending -= 1;
    }
  }

  #inOrder(upstreams: readonly Upstream[]): readonly Upstream[] {
    const now = this.#clock.monotonic();
    const isDemoted = (upstream: Upstream): boolean => (this.#demoted.get(id(upstream)) ?? 0) > now;
    return [...upstreams].sort((a, b) => Number(isDemoted(a)) - Number(isDemoted(b)));
  }

  async #ask(
    upstream: Upstream,
    message: Buffer,
    transport: 'udp' | 'tcp',
    signal?: AbortSignal,
  ): Promise<Buffer | undefined> {
    // A fresh random id and a fresh source port for each query: RFC 5452 against forged answers.
    const query = Buffer.from(message);
    query.writeUInt16BE(randomInt(0x10000), 0);
    const timeoutMs = this.#options.timeoutMs ?? 1_500;
    const ask = transport === 'udp' ? askUdp : askTcp;
    const answer = await ask(upstream, query, timeoutMs, this.#clock, signal);
    if (answer === undefined) {
      if (signal?.aborted !== true) {
        this.#demoted.set(id(upstream), this.#clock.monotonic() + demotedMs);
      }
      return undefined;
    }
    this.#demoted.delete(id(upstream));
    const result = Buffer.from(answer);
    message.copy(result, 0, 0, 2);
    return result;
  }
}

function id(upstream: Upstream): string {
  return `${upstream.address} ${upstream.port}`;
}

/** Whether `answer` is one to `query`: same id, a response, same question. */
function answers(query: Buffer, answer: Buffer): boolean {
  if (answer.length < 12 || answer.readUInt16BE(0) !== query.readUInt16BE(0)) return false;
  if ((answer.readUInt16BE(2) & 0x8000) === 0) return false;
  // An error may come without the question.
  if (answer.readUInt16BE(4) === 0) return (answer.readUInt16BE(2) & 15) !== 0;
  const end = questionEnd(query);
  return end !== undefined && query.subarray(12, end).equals(answer.subarray(12, end));
}

function askUdp(
  upstream: Upstream,
  query: Buffer,
  timeoutMs: number,
  clock: Clock,
  signal?: AbortSignal,
): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = createSocket(isIPv6(upstream.address) ? 'udp6' : 'udp4');
    let done = false;
    const settle = (answer?: Buffer): void => {
      if (done) return;
      done = true;
      cancel();
      signal?.removeEventListener('abort', abort);
      socket.close();
      resolve(answer);
    };
    const abort = (): void => {
      settle();
    };
    const cancel = clock.schedule(abort, timeoutMs);
    signal?.addEventListener('abort', abort, { once: true });
    socket.on('error', abort);
    socket.on('message', (answer) => {
      if (answers(query, answer)) settle(answer);
    });
    // A connected socket takes packets from this resolver only.
    socket.connect(upstream.port, upstream.address, () => {
      if (!done) socket.send(query);
    });
  });
}

function askTcp(
  upstream: Upstream,
  query: Buffer,
  timeoutMs: number,
  clock: Clock,
  signal?: AbortSignal,
): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = connect(upstream.port, upstream.address);
    const reader = new FrameReader(65_535);
    const settle = (answer?: Buffer): void => {
      cancel();
      signal?.removeEventListener('abort', abort);
      socket.destroy();
      resolve(answer);
    };
    const abort = (): void => {
      settle();
    };
    const cancel = clock.schedule(abort, timeoutMs);
    signal?.addEventListener('abort', abort, { once: true });
    socket.on('error', abort);
    socket.on('close', abort);
    socket.on('connect', () => socket.write(frame(query)));
    socket.on('data', (chunk) => {
      const answer = reader.push(chunk)?.find((message) => answers(query, message));
      if (answer !== undefined) settle(answer);
    });
  });
}

/** The `nameserver` lines of a resolv.conf, without those that `isSelf`: asking oneself would go round for ever. */
export function parseResolvConf(
  text: string,
  isSelf: (address: string) => boolean,
): readonly Upstream[] {
  return text
    .split('\n')
    .map((line) => /^\s*nameserver\s+(\S+)/.exec(line)?.[1] ?? '')
    .filter((address) => isIP(address.replace(/%.*$/, '')) !== 0 && !isSelf(address))
    .slice(0, 3)
    .map((address) => ({ address, port: 53 }));
}

/**
 * The host's resolvers from a file like /etc/resolv.conf, read again at most once in `maxAgeMs` (default 5,000 ms). A file
 * that cannot be read leaves what was known.
 */
export function resolvConfUpstreams(
  readText: () => Promise<string>,
  isSelf: (address: string) => boolean,
  clock: Clock = systemClock,
  maxAgeMs = 5_000,
): () => Promise<readonly Upstream[]> {
  let known: readonly Upstream[] = [];
  let readAt = -Infinity;
  return async () => {
    if (clock.monotonic() - readAt < maxAgeMs) return known;
    readAt = clock.monotonic();
    try {
      known = parseResolvConf(await readText(), isSelf);
    } catch {
      // Resolvers rewrite the file in place at times; the next reading will do.
    }
    return known;
  };
}
