import { createServer, connect, type AddressInfo, type Server, type Socket } from 'node:net';

/** One proxied connection: what the client opened and what we opened towards the target. */
interface Pair {
  readonly client: Socket;
  readonly upstream: Socket;
  /** Chunks that arrived while stalled or delayed, per direction, in order. */
  readonly held: { to: Socket; chunk: Buffer }[];
}

/**
 * A TCP proxy on 127.0.0.1 that misbehaves on command: cuts, refuses, stalls, delays. A stalled
 * connection is half-open as seen from both ends: established, but no byte moves.
 */
export class TcpProxy {
  readonly #server: Server;
  readonly #targetHost: string;
  readonly #targetPort: number;
  readonly #pairs = new Set<Pair>();
  #refusing = false;
  /** Whether bytes towards the target and towards the client wait. */
  #stalledRequests = false;
  #stalledAnswers = false;
  /** Connections that stay stalled until `resume()`, though the proxy itself is not any more. */
  readonly #frozen = new Set<Pair>();
  #delayMs = 0;
  #bytes = 0;
  #limit = Number.POSITIVE_INFINITY;
  #connections = 0;

  private constructor(server: Server, targetHost: string, targetPort: number) {
    this.#server = server;
    this.#targetHost = targetHost;
    this.#targetPort = targetPort;
  }

  static async start(targetHost: string, targetPort: number): Promise<TcpProxy> {
    const server = createServer({ pauseOnConnect: true });
    const proxy = new TcpProxy(server, targetHost, targetPort);
    server.on('connection', (client) => {
      proxy.#accept(client);
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', resolve);
    });
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Live connections. */
  get live(): number {
    return this.#pairs.size;
  }

  /** Connections accepted since the start. */
  get connections(): number {
    return this.#connections;
  }

  /** Bytes moved from the target to clients since the start. */
  get bytesToClients(): number {
    return this.#bytes;
  }

  /** Resets (RST) every live connection. New ones are accepted unless `refuse()` was called. */
  cut(): void {
    for (const pair of [...this.#pairs]) this.#drop(pair);
  }

  /** New connections are reset at once, as if nothing listened. */
  refuse(): void {
    this.#refusing = true;
  }

  /** Undoes `refuse()`. */
  accept(): void {
    this.#refusing = false;
  }

  /** No byte moves any more in either direction, on old connections and new ones. */
  stall(): void {
    this.#stalledRequests = true;
    this.#stalledAnswers = true;
  }

  /** Requests pass, answers wait. */
  stallAnswers(): void {
    this.#stalledAnswers = true;
  }

  /** The connections of this moment stall; new ones work. */
  stallOld(): void {
    for (const pair of this.#pairs) this.#frozen.add(pair);
    this.#stalledRequests = false;
    this.#stalledAnswers = false;
  }

  /** Delivers the `count` oldest held chunks of each stalled connection; it stays stalled. */
  trickle(count: number): void {
    for (const pair of this.#pairs) {
      for (const { to, chunk } of pair.held.splice(0, count)) if (!to.destroyed) to.write(chunk);
    }
  }

  /** Undoes every kind of stall: what was held back is delivered. */
  resume(): void {
    this.#stalledRequests = false;
    this.#stalledAnswers = false;
    this.#frozen.clear();
    for (const pair of this.#pairs) flush(pair);
  }

  /** Every chunk from now on arrives `ms` later, in order. */
  delay(ms: number): void {
    this.#delayMs = ms;
  }

  /**
   * Cuts all connections as soon as `count` more bytes went to clients; the rest of them never arrives.
   * One shot; `Infinity` takes it back.
   */
  limitBytes(count: number): void {
    this.#limit = this.#bytes + count;
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise<void>((resolve) =>
      this.#server.close(() => {
        resolve();
      }),
    );
  }

  #accept(client: Socket): void {
    this.#connections++;
    if (this.#refusing) {
      client.resetAndDestroy();
      return;
    }
    const upstream = connect(this.#targetPort, this.#targetHost);
    const pair: Pair = { client, upstream, held: [] };
    this.#pairs.add(pair);
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      from.setNoDelay(true);
      from.on('data', (chunk) => {
        this.#move(pair, to, chunk);
      });
      // A peer that goes away takes the other side with it, but not through a stalled line.
      from.on('error', () => {
        if (!this.#holds(pair, to)) this.#drop(pair);
      });
      from.on('close', () => {
        if (!this.#holds(pair, to)) this.#drop(pair);
      });
    }
    client.resume();
  }

  #move(pair: Pair, to: Socket, chunk: Buffer): void {
    if (this.#holds(pair, to)) {
      pair.held.push({ to, chunk });
      return;
    }
    if (this.#delayMs > 0) {
      setTimeout(() => {
        if (this.#holds(pair, to)) pair.held.push({ to, chunk });
        else this.#write(pair, to, chunk);
      }, this.#delayMs);
      return;
    }
    this.#write(pair, to, chunk);
  }

  #holds(pair: Pair, to: Socket): boolean {
    if (this.#frozen.has(pair)) return true;
    return to === pair.client ? this.#stalledAnswers : this.#stalledRequests;
  }

  #write(pair: Pair, to: Socket, chunk: Buffer): void {
    if (to.destroyed) return;
    if (to === pair.client) {
      const room = this.#limit - this.#bytes;
      if (chunk.length >= room) {
        this.#limit = Number.POSITIVE_INFINITY;
        this.#bytes += room;
        // RST discards what is still in the send buffer, so let the last bytes out first.
        to.write(chunk.subarray(0, room), () => {
          this.cut();
        });
        return;
      }
      this.#bytes += chunk.length;
    }
    to.write(chunk);
  }

  #drop(pair: Pair): void {
    if (!this.#pairs.delete(pair)) return;
    this.#frozen.delete(pair);
    pair.client.resetAndDestroy();
    pair.upstream.resetAndDestroy();
  }
}

/** What is late arrives even if its sender has gone meanwhile, as from a router's buffer. */
function flush(pair: Pair): void {
  for (const { to, chunk } of pair.held.splice(0)) if (!to.destroyed) to.write(chunk);
  if (pair.client.destroyed) pair.upstream.end();
  if (pair.upstream.destroyed) pair.client.end();
}
