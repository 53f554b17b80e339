import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { setMaxListeners } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { Backoff } from '../../runtime/backoff.ts';
import { sleep, systemClock, type Clock } from '../../runtime/clock.ts';
import { asError } from '../../runtime/errors.ts';
import type { Logger } from '../../telemetry/log.ts';
import { encodeAskOverTcp } from './message.ts';
import { Sources, type Source } from './sources.ts';
import { FrameReader, frame } from './tcp-framing.ts';
import {
  burstSize,
  udpBursts,
  type AnswerInPlace,
  type UdpBurst,
  type UdpBursts,
} from './udp-burst.ts';

/** Answers one message, at once if it can; undefined = say nothing. Must not throw. */
export type AnswerMessage = (
  message: Buffer,
  source: string,
  transport: 'udp' | 'tcp',
  signal: AbortSignal,
) => Buffer | undefined | Promise<Buffer | undefined>;

/**
 * Writes the answer to a message over UDP to the start of `reply` when it is one that lies ready, and returns its length; otherwise 0,
 * and then `AnswerMessage` is asked. Keeps neither buffer. Must not throw.
 */
export type AnswerReady = (message: Buffer, source: string, reply: Buffer) => number;

export interface DnsServerOptions {
  /** Where to listen: the overlay's gateway address of this host. */
  readonly address: string;
  /** Default 53. With 0 any free one; see `port`. */
  readonly port?: number;
  readonly answer: AnswerMessage;
  /** A quicker way for what is asked again and again. Absent: `answer` is asked for all. */
  readonly ready?: AnswerReady;
  /** How many datagrams go with one system call; undefined = they do not. Default: where that can be had. */
  readonly bursts?: Promise<UdpBursts | undefined>;
  /** Who may ask. Others get no word: an open resolver is a weapon for attacks on third parties. */
  readonly allowed: (source: string) => boolean;
  readonly log: Logger;
  readonly clock?: Clock;
  /**
   * Messages over UDP that are worked on at once in all, default 2,000, and of one source, default 200; more are dropped. One
   * container that asks without end must not silence the others.
   */
  readonly maxUdpPending?: number;
  readonly maxUdpPendingPerSource?: number;
  /**
   * What one source may ask for in a second, and at once twice as much. Default 10,000, far beyond what programs do that are not
   * out of their minds. Beyond that, over UDP most messages are dropped and some answered by "ask over TCP", so that nobody
   * legitimate is left without; over TCP the source has to wait.
   */
  readonly queriesPerSecond?: number;
  /**
   * TCP connections in all, default 256, and of one source, default 32. When there are as many in all, the one that has been
   * idle longest makes room.
   */
  readonly maxConnections?: number;
  readonly maxConnectionsPerSource?: number;
  /** A connection without a complete query for so long is closed. Default 10,000 ms (RFC 7766 wants seconds). */
  readonly idleMs?: number;
}

/** Messages of one connection that are worked on at once; then reading waits. */
const maxPipelined = 16;
/** Of so many messages beyond the rate one is answered by "ask over TCP". */
const slip = 4;
/** How long a TCP source beyond its rate waits before it is looked at again, in milliseconds. */
const throttleMs = 20;
/** How often at most it is told of a source that it asks for too much, in milliseconds. */
const tellMs = 60_000;

/**
 * A DNS server on one address, UDP and TCP. The address may not exist yet, or go away and come back (Docker makes and removes
 * the bridge): it binds as soon as it can, for ever.
 */
export class DnsServer {
  readonly #options: DnsServerOptions;
  readonly #clock: Clock;
  #port: number | undefined;
  #failure: string | undefined = 'has not started';
  readonly #sources: Sources;
  #endSession: () => void = () => undefined;
  #udpPending = 0;
  #connections = 0;
  /** Connections that wait for a query, the longest first. */
  readonly #idle = new Set<Socket>();

  constructor(options: DnsServerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#sources = new Sources({
      allowed: options.allowed,
      clock: this.#clock,
      queriesPerSecond: options.queriesPerSecond ?? 10_000,
    });
  }

  /** Counts `queries` more to what `source` has asked; false when that is more than it may. */
  charge(source: string, queries: number): boolean {
    return this.#sources.find(source)?.bucket.tryTake(queries) === true;
  }

  /** Where it listens, while it does. */
  get port(): number | undefined {
    return this.#port;
  }

  /** Opens new sockets in place of those that it has. */
  rebind(): void {
    this.#endSession();
  }

  /** Why it does not listen; undefined while it does. */
  get problem(): string | undefined {
    return this.#failure;
  }

  /** Serves until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { log, address } = this.#options;
    let backoff = new Backoff({ baseMs: 50, capMs: 300 });
    while (!signal.aborted) {
      const session = new AbortController();
      // Each connection and each query that is passed on listens.
      setMaxListeners(0, session.signal);
      const end = (): void => {
        session.abort();
      };
      this.#endSession = end;
      signal.addEventListener('abort', end, { once: true });
      try {
        await this.#session(session, (atOnce) => {
          backoff = backoff.reset();
          this.#failure = undefined;
          log.info({ address, port: this.#port, atOnce }, 'answering names');
        });
      } catch (error) {
        const failure = `names are not served on ${address}: ${asError(error).message}`;
        // Once, not at each try.
        if (failure !== this.#failure) log.warn({ err: asError(error), address }, failure);
        this.#failure = failure;
      } finally {
        session.abort();
        signal.removeEventListener('abort', end);
        this.#port = undefined;
      }
      backoff = backoff.next();
      await sleep(this.#clock, backoff.delayMs, signal).catch(() => undefined);
    }
  }

  /**
   * Binds and serves until the session aborts; throws when a socket cannot be bound or fails. `bound` is told how many datagrams go
   * with one system call.
   */
  async #session(session: AbortController, bound: (atOnce: number) => void): Promise<void> {
    const { address } = this.#options;
    const { signal } = session;
    const { port: wanted = 53 } = this.#options;
    const burst = (await (this.#options.bursts ?? udpBursts()))?.open(address, wanted);
    const udp = createSocket({
      type: 'udp4',
      recvBufferSize: 1024 * 1024,
      // Where to send is always an address: looking it up would put each answer off by a turn of the loop.
      lookup: (address, _options, found) => {
        found(null, address, 4);
      },
    });
    const tcp = createServer({ noDelay: true, allowHalfOpen: true });
    let failed: Error | undefined;
    const fail = (error: Error): void => {
      failed ??= error;
      session.abort();
    };
    try {
      await listening(udp, () => {
        if (burst === undefined) udp.bind(wanted, address);
        else udp.bind({ fd: burst.fd });
      });
      const { port } = udp.address();
      await listening(tcp, () => {
        tcp.listen(port, address);
      });
      udp.on('error', fail);
      tcp.on('error', fail);
      this.#port = (tcp.address() as AddressInfo).port;
      this.#serveUdp(udp, burst, signal);
      this.#serveTcp(tcp, signal);
      bound(burst === undefined ? 1 : burstSize);
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        signal.addEventListener('abort', () => {
          resolve();
        });
      });
    } finally {
      session.abort();
      udp.close();
      tcp.close();
    }
    if (failed !== undefined) throw failed;
  }

  #serveUdp(socket: UdpSocket, burst: UdpBurst | undefined, signal: AbortSignal): void {
    const {
      answer,
      ready,
      log,
      maxUdpPending = 2_000,
      maxUdpPendingPerSource = 200,
    } = this.#options;
    const failed = (error: unknown, address: string): void => {
      log.error({ err: asError(error), source: address }, 'no answer');
    };
    const send = (reply: Buffer | undefined, port: number, address: string): void => {
      // Without a callback, which would cost each answer a turn of the loop: what cannot be sent is asked again.
      if (reply !== undefined && !signal.aborted) socket.send(reply, port, address);
    };
    /** The source, when the message is to be answered. */
    const admit = (message: Buffer, port: number, address: string): Source | undefined => {
      const source = port === 0 ? undefined : this.#sources.find(address);
      if (source === undefined || source.bucket.tryTake()) return source;
      if (this.#exceeds(source, address)) send(encodeAskOverTcp(message), port, address);
      return undefined;
    };
    const work = (message: Buffer, port: number, address: string, source: Source): void => {
      if (this.#udpPending >= maxUdpPending || source.udpPending >= maxUdpPendingPerSource) return;
      let reply: ReturnType<AnswerMessage>;
      try {
        reply = answer(message, address, 'udp', signal);
      } catch (error) {
        failed(error, address);
        return;
      }
      if (!(reply instanceof Promise)) {
        send(reply, port, address);
        return;
      }
      this.#udpPending += 1;
      source.udpPending += 1;
      reply
        .then((late) => {
          send(late, port, address);
        })
        .catch((error: unknown) => {
          failed(error, address);
        })
        .finally(() => {
          this.#udpPending -= 1;
          source.udpPending -= 1;
        });
    };
    const answerInPlace: AnswerInPlace = (message, address, port, reply) => {
      const source = admit(message, port, address);
      if (source === undefined) return 0;
      try {
        const length = ready?.(message, address, reply) ?? 0;
        if (length === 0) work(Buffer.from(message), port, address, source);
        return length;
      } catch (error) {
        // Must cost neither the others of the burst their answers nor the agent its life.
        failed(error, address);
        return 0;
      }
    };
    socket.on('message', (message, { address, port }) => {
      const source = admit(message, port, address);
      if (source !== undefined) work(message, port, address, source);
      // Where one came, others wait.
      if (!signal.aborted) burst?.drain(answerInPlace);
    });
  }

  /** Counts a message beyond the rate; true for those that are told to come over TCP. */
  #exceeds(source: Source, address: string): boolean {
    const now = this.#clock.monotonic();
    if (now - source.toldAt >= tellMs) {
      source.toldAt = now;
      this.#options.log.warn({ source: address }, 'asks for more names than one may; slowed down');
    }
    source.excess = (source.excess + 1) % slip;
    return source.excess === 1;
  }

  #serveTcp(server: Server, signal: AbortSignal): void {
    const { maxConnections = 256, maxConnectionsPerSource = 32 } = this.#options;
    server.on('connection', (socket) => {
      const address = (socket.remoteAddress ?? '').replace(/^::ffff:/, '');
      socket.on('error', () => socket.destroy());
      const source = this.#sources.find(address);
      if (
        source === undefined ||
        source.connections >= maxConnectionsPerSource ||
        signal.aborted ||
        (this.#connections >= maxConnections && !this.#makeRoom())
      ) {
        socket.destroy();
        return;
      }
      source.connections += 1;
      this.#connections += 1;
      let open = true;
      const close = (): void => {
        if (!open) return;
        open = false;
        source.connections -= 1;
        this.#connections -= 1;
        this.#idle.delete(socket);
      };
      socket.once('close', close);
      this.#serveConnection(socket, source, address, signal);
    });
  }

  /** Closes the connection that has been idle longest; false when none is. */
  #makeRoom(): boolean {
    for (const socket of this.#idle) {
      this.#idle.delete(socket);
      socket.destroy();
      return true;
    }
    return false;
  }

  #serveConnection(socket: Socket, source: Source, address: string, signal: AbortSignal): void {
    const { answer, log, idleMs = 10_000 } = this.#options;
    const reader = new FrameReader();
    const waiting: Buffer[] = [];
    let pending = 0;
    let ended = false;
    let cancelThrottle: (() => void) | undefined;
    const hangUp = (): void => {
      socket.destroy();
    };
    // By our own clock, and only a complete query counts: dripping bytes must not hold a connection.
    let cancelIdle = this.#clock.schedule(hangUp, idleMs);
    const touch = (): void => {
      cancelIdle();
      cancelIdle = this.#clock.schedule(hangUp, idleMs);
    };
    this.#idle.add(socket);
    signal.addEventListener('abort', hangUp, { once: true });
    socket.once('close', () => {
      cancelIdle();
      cancelThrottle?.();
      signal.removeEventListener('abort', hangUp);
    });
    const work = async (message: Buffer): Promise<void> => {
      try {
        const reply = await answer(message, address, 'tcp', signal);
        if (reply !== undefined && !socket.destroyed) socket.write(frame(reply));
      } catch (error) {
        log.error({ err: asError(error), source: address }, 'no answer');
        socket.destroy();
      }
      pending -= 1;
      next();
    };
    const later = (): void => {
      cancelThrottle = undefined;
      next();
    };
    const next = (): void => {
      // A peer that does not read its answers has to wait for new ones.
      while (pending < maxPipelined && !socket.writableNeedDrain && cancelThrottle === undefined) {
        const message = waiting[0];
        if (message === undefined) break;
        if (!source.bucket.tryTake()) {
          cancelThrottle = this.#clock.schedule(later, throttleMs);
          break;
        }
        waiting.shift();
        pending += 1;
        touch();
        void work(message);
      }
      if (socket.destroyed) return;
      this.#idle.delete(socket);
      if (pending === 0 && waiting.length === 0) this.#idle.add(socket);
      // So does one that asks faster than we answer.
      if (waiting.length > 0 || socket.writableNeedDrain) socket.pause();
      else if (!ended) socket.resume();
      if (ended && pending === 0 && waiting.length === 0) socket.end();
    };
    socket.on('drain', next);
    socket.on('data', (chunk) => {
      const messages = reader.push(chunk);
      if (messages.length === 0) return;
      waiting.push(...messages);
      next();
    });
    socket.on('end', () => {
      ended = true;
      next();
    });
  }
}

/** Resolves when `socket` listens, rejects with its first error. */
function listening(socket: UdpSocket | Server, start: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (): void => {
      socket.off('error', failed);
      resolve();
    };
    const failed = (error: Error): void => {
      socket.off('listening', done);
      reject(error);
    };
    socket.once('error', failed);
    socket.once('listening', done);
    start();
  });
}
