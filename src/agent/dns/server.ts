import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { Backoff } from '../../runtime/backoff.ts';
import { sleep, systemClock, type Clock } from '../../runtime/clock.ts';
import { asError } from '../../runtime/errors.ts';
import type { Logger } from '../../telemetry/log.ts';
import { FrameReader, frame } from './tcp-framing.ts';

/** Answers one message; undefined = say nothing. Must not throw. */
export type AnswerMessage = (
  message: Buffer,
  source: string,
  transport: 'udp' | 'tcp',
  signal: AbortSignal,
) => Promise<Buffer | undefined>;

export interface DnsServerOptions {
  /** Where to listen: the overlay's gateway address of this host. */
  readonly address: string;
  /** Default 53. With 0 any free one; see `port`. */
  readonly port?: number;
  readonly answer: AnswerMessage;
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
  /** TCP connections in all, default 256, and of one source, default 32. */
  readonly maxConnections?: number;
  readonly maxConnectionsPerSource?: number;
  /** A connection without a complete query for so long is closed. Default 10,000 ms (RFC 7766 wants seconds). */
  readonly idleMs?: number;
}

/** Messages of one connection that are worked on at once; then reading waits. */
const maxPipelined = 16;
/** Longest query over TCP. */
const maxQueryBytes = 4_096;

/**
 * A DNS server on one address, UDP and TCP. The address may not exist yet, or go away and come back (Docker makes and removes
 * the bridge): it binds as soon as it can, for ever.
 */
export class DnsServer {
  readonly #options: DnsServerOptions;
  readonly #clock: Clock;
  #port: number | undefined;
  #failure: string | undefined = 'has not started';
  readonly #perSource = new Map<string, number>();
  readonly #udpPerSource = new Map<string, number>();
  #udpPending = 0;

  constructor(options: DnsServerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /** Where it listens, while it does. */
  get port(): number | undefined {
    return this.#port;
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
      const end = (): void => {
        session.abort();
      };
      signal.addEventListener('abort', end, { once: true });
      try {
        await this.#session(session, () => {
          backoff = backoff.reset();
          this.#failure = undefined;
          log.info({ address, port: this.#port }, 'answering names');
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

  /** Binds and serves until the session aborts; throws when a socket cannot be bound or fails. */
  async #session(session: AbortController, bound: () => void): Promise<void> {
    const { address } = this.#options;
    const { signal } = session;
    const udp = createSocket({ type: 'udp4', recvBufferSize: 1024 * 1024 });
    const tcp = createServer({ noDelay: true, allowHalfOpen: true });
    let failed: Error | undefined;
    const fail = (error: Error): void => {
      failed ??= error;
      session.abort();
    };
    try {
      await listening(udp, () => {
        udp.bind(this.#options.port ?? 53, address);
      });
      const { port } = udp.address();
      await listening(tcp, () => {
        tcp.listen(port, address);
      });
      udp.on('error', fail);
      tcp.on('error', fail);
      this.#port = (tcp.address() as AddressInfo).port;
      this.#serveUdp(udp, signal);
      this.#serveTcp(tcp, signal);
      bound();
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

  #serveUdp(socket: UdpSocket, signal: AbortSignal): void {
    const { allowed, answer, log } = this.#options;
    const serve = async (message: Buffer, source: string, port: number): Promise<void> => {
      const reply = await answer(message, source, 'udp', signal);
      if (reply === undefined || signal.aborted) return;
      socket.send(reply, port, source, (error) => {
        if (error !== null) log.debug({ err: error, source }, 'answer not sent');
      });
    };
    const { maxUdpPending = 2_000, maxUdpPendingPerSource = 200 } = this.#options;
    socket.on('message', (message, from) => {
      const { address } = from;
      if (!allowed(address) || from.port === 0 || this.#udpPending >= maxUdpPending) return;
      if ((this.#udpPerSource.get(address) ?? 0) >= maxUdpPendingPerSource) return;
      this.#udpPending += count(this.#udpPerSource, address, 1);
      serve(message, address, from.port)
        .catch((error: unknown) => {
          log.error({ err: asError(error), source: address }, 'no answer');
        })
        .finally(() => {
          this.#udpPending += count(this.#udpPerSource, address, -1);
        });
    });
  }

  #serveTcp(server: Server, signal: AbortSignal): void {
    const { allowed, maxConnectionsPerSource = 32 } = this.#options;
    server.maxConnections = this.#options.maxConnections ?? 256;
    server.on('connection', (socket) => {
      const source = (socket.remoteAddress ?? '').replace(/^::ffff:/, '');
      const open = this.#perSource.get(source) ?? 0;
      socket.on('error', () => socket.destroy());
      if (!allowed(source) || open >= maxConnectionsPerSource || signal.aborted) {
        socket.destroy();
        return;
      }
      count(this.#perSource, source, 1);
      socket.once('close', () => {
        count(this.#perSource, source, -1);
      });
      this.#serveConnection(socket, source, signal);
    });
  }

  #serveConnection(socket: Socket, source: string, signal: AbortSignal): void {
    const { answer, log, idleMs = 10_000 } = this.#options;
    const reader = new FrameReader(maxQueryBytes);
    const waiting: Buffer[] = [];
    let pending = 0;
    let ended = false;
    const hangUp = (): void => {
      socket.destroy();
    };
    // By our own clock, and only a complete query counts: dripping bytes must not hold a connection.
    let cancelIdle = this.#clock.schedule(hangUp, idleMs);
    const touch = (): void => {
      cancelIdle();
      cancelIdle = this.#clock.schedule(hangUp, idleMs);
    };
    signal.addEventListener('abort', hangUp, { once: true });
    socket.once('close', () => {
      cancelIdle();
      signal.removeEventListener('abort', hangUp);
    });
    const next = (): void => {
      while (pending < maxPipelined) {
        const message = waiting.shift();
        if (message === undefined) break;
        pending += 1;
        touch();
        answer(message, source, 'tcp', signal)
          .then((reply) => {
            if (reply !== undefined && !socket.destroyed) socket.write(frame(reply));
          })
          .catch((error: unknown) => {
            log.error({ err: asError(error), source }, 'no answer');
            socket.destroy();
          })
          .finally(() => {
            pending -= 1;
            next();
          });
      }
      // A peer that does not read its answers, or asks faster than we answer, has to wait.
      if (waiting.length > 0 || socket.writableNeedDrain) socket.pause();
      else if (!ended) socket.resume();
      if (ended && pending === 0 && waiting.length === 0) socket.end();
    };
    socket.on('drain', next);
    socket.on('data', (chunk) => {
      const messages = reader.push(chunk);
      if (messages === undefined) {
        hangUp();
        return;
      }
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

/** Adds to a source's number, which is forgotten when it is 0; gives `change`. */
function count(numbers: Map<string, number>, source: string, change: 1 | -1): number {
  const next = (numbers.get(source) ?? 0) + change;
  if (next === 0) numbers.delete(source);
  else numbers.set(source, next);
  return change;
}
