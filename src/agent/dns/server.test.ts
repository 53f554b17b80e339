import dnsPacket from 'dns-packet';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { eventually } from '../../../test/support/eventually.ts';
import { silentLogger } from '../../telemetry/log.ts';
import { Forwarder, type Upstream } from './forwarder.ts';
import { DnsServer, type DnsServerOptions } from './server.ts';
import { frame, FrameReader } from './tcp-framing.ts';

const cleanups: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A server that repeats each message, unless told otherwise. */
async function serve(options: Partial<DnsServerOptions> = {}): Promise<DnsServer> {
  const server = new DnsServer({
    address: '127.0.0.1',
    port: 0,
    answer: async (message) => message,
    allowed: (source) => source === '127.0.0.1',
    log: silentLogger,
    ...options,
  });
  const stop = new AbortController();
  const running = server.run(stop.signal);
  cleanups.push(async () => {
    stop.abort();
    await running;
  });
  await eventually('the server listens', () => server.port !== undefined);
  return server;
}

function tcp(
  server: DnsServer,
  localAddress = '127.0.0.1',
): { socket: Socket; received: Buffer[]; closed: () => boolean } {
  const socket = connect({ port: server.port!, host: '127.0.0.1', localAddress });
  const received: Buffer[] = [];
  let closed = false;
  const reader = new FrameReader(65_535);
  socket.on('data', (chunk) => received.push(...(reader.push(chunk) ?? [])));
  socket.on('error', () => undefined);
  socket.on('close', () => (closed = true));
  cleanups.push(() => {
    socket.destroy();
  });
  return { socket, received, closed: () => closed };
}

async function udp(address: string): Promise<{ socket: UdpSocket; received: Buffer[] }> {
  const socket = createSocket('udp4');
  const received: Buffer[] = [];
  socket.on('message', (message) => received.push(message));
  await new Promise<void>((resolve) => socket.bind(0, address, resolve));
  cleanups.push(() => {
    socket.close();
  });
  return { socket, received };
}

describe('who may ask', () => {
  it('gets an answer, and nobody else does', async () => {
    const server = await serve();
    const friend = await udp('127.0.0.1');
    const stranger = await udp('127.0.0.9');
    stranger.socket.send(Buffer.from('no'), server.port, '127.0.0.1');
    friend.socket.send(Buffer.from('yes'), server.port, '127.0.0.1');
    await eventually('an answer', () => friend.received.length === 1);
    expect(stranger.received).toEqual([]);
    const caller = tcp(server, '127.0.0.9');
    caller.socket.write(frame(Buffer.from('no')));
    await eventually('the end of the connection', caller.closed);
    expect(caller.received).toEqual([]);
  });
});

describe('one source that asks without end', () => {
  it('does not silence another', async () => {
    const server = await serve({
      allowed: () => true,
      maxUdpPendingPerSource: 2,
      maxUdpPending: 3,
      answer: (message, source) =>
        source === '127.0.0.9' ? new Promise(() => undefined) : Promise.resolve(message),
    });
    const greedy = await udp('127.0.0.9');
    const modest = await udp('127.0.0.1');
    for (let i = 0; i < 50; i++)
      greedy.socket.send(Buffer.from('me'), server.port ?? 0, '127.0.0.1');
    // Its packets stand before ours in the same queue of the same socket.
    modest.socket.send(Buffer.from('please'), server.port ?? 0, '127.0.0.1');
    await eventually('an answer', () => modest.received.length === 1);
  });
});

describe('TCP', () => {
  it('answers many questions of one connection, also after its end was announced', async () => {
    const server = await serve({
      answer: async (message) => {
        await new Promise((resolve) => setTimeout(resolve, 5));
        return message;
      },
    });
    const { socket, received, closed } = tcp(server);
    const questions = Array.from({ length: 100 }, (_, i) => frame(Buffer.from(`q${i}`)));
    socket.end(Buffer.concat(questions));
    await eventually('the end of the connection', closed);
    expect(new Set(received.map(String)).size).toBe(100);
  });

  it('hangs up on a peer that drips bytes without ever asking', async () => {
    const server = await serve({ idleMs: 100 });
    const { socket, closed } = tcp(server);
    const drip = setInterval(() => socket.write(Buffer.from([1])), 20);
    cleanups.push(() => {
      clearInterval(drip);
    });
    socket.write(Buffer.from([2]));
    await eventually('the end of the connection', closed);
  });

  it('hangs up on a peer that announces a giant', async () => {
    const { socket, closed } = tcp(await serve());
    socket.write(Buffer.from([0xff, 0xff, 1]));
    await eventually('the end of the connection', closed);
  });

  it('gives one source only so many connections, and frees them again', async () => {
    const server = await serve({ maxConnectionsPerSource: 2 });
    const [a, b] = [tcp(server), tcp(server)];
    for (const c of [a, b]) c.socket.write(frame(Buffer.from('q')));
    await eventually('both answers', () => a.received.length === 1 && b.received.length === 1);
    const third = tcp(server);
    await eventually('the end of the connection', third.closed);
    a.socket.destroy();
    await eventually('the end of the connection', () => a.closed());
    let served = false;
    const end = performance.now() + 5_000;
    while (!served && performance.now() < end) {
      const next = tcp(server);
      next.socket.write(frame(Buffer.from('q')));
      await eventually('an end or an answer', () => next.closed() || next.received.length === 1);
      served = next.received.length === 1;
    }
    expect(served).toBe(true);
  });
});

describe('an address that is not free', () => {
  it('is bound as soon as it is, and says meanwhile why not', async () => {
    const holder = createSocket('udp4');
    await new Promise<void>((resolve) => holder.bind(0, '127.0.0.1', resolve));
    const { port } = holder.address();
    const server = new DnsServer({
      address: '127.0.0.1',
      port,
      answer: async (message) => message,
      allowed: () => true,
      log: silentLogger,
    });
    const stop = new AbortController();
    const running = server.run(stop.signal);
    await eventually('the problem is told', () => server.problem?.includes('EADDRINUSE') === true);
    await new Promise<void>((resolve) =>
      holder.close(() => {
        resolve();
      }),
    );
    await eventually('the server listens', () => server.port === port);
    expect(server.problem).toBeUndefined();
    stop.abort();
    await running;
  });
});

describe('forwarding', () => {
  const query = dnsPacket.encode({
    type: 'query',
    id: 99,
    questions: [{ type: 'A', name: 'example.org' }],
  });

  /** A resolver that treats each question as `behave` says. */
  async function resolver(
    behave: (query: Buffer, reply: (answer: Buffer) => void) => void,
  ): Promise<Upstream> {
    const { socket } = await udp('127.0.0.1');
    socket.on('message', (message, from) => {
      behave(message, (answer) => {
        socket.send(answer, from.port, from.address);
      });
    });
    return { address: '127.0.0.1', port: socket.address().port };
  }

  const good = (message: Buffer): Buffer => {
    const answer = Buffer.from(message);
    answer.writeUInt16BE(0x8180, 2);
    return answer;
  };

  function forwarder(...upstreams: Upstream[]): Forwarder {
    return new Forwarder({ upstreams: async () => upstreams, timeoutMs: 200 });
  }

  it('asks with an id of its own and answers with the asker’s', async () => {
    const ids = new Set<number>();
    const upstream = await resolver((message, reply) => {
      ids.add(message.readUInt16BE(0));
      reply(good(message));
    });
    const one = forwarder(upstream);
    for (let i = 0; i < 5; i++) {
      const answer = await one.forward(query, 'udp');
      expect(answer?.readUInt16BE(0)).toBe(99);
    }
    expect(ids.size).toBeGreaterThan(1);
  });

  it('goes on to the next resolver, and asks a silent one last from then on', async () => {
    let asked = 0;
    const silent = await resolver(() => {
      asked += 1;
    });
    const upstream = await resolver((message, reply) => {
      reply(good(message));
    });
    const both = forwarder(silent, upstream);
    expect(await both.forward(query, 'udp')).toBeDefined();
    expect(await both.forward(query, 'udp')).toBeDefined();
    expect(asked).toBe(1);
  });

  it('takes no answer to another question, nor one with a guessed id', async () => {
    const liar = await resolver((message, reply) => {
      const wrongId = good(message);
      wrongId.writeUInt16BE((message.readUInt16BE(0) + 1) & 0xffff, 0);
      reply(wrongId);
      const otherName = good(message);
      otherName[13] = 'X'.charCodeAt(0);
      reply(otherName);
    });
    expect(await forwarder(liar).forward(query, 'udp')).toBeUndefined();
  });

  it('says that it cannot when there is no resolver', async () => {
    expect(await forwarder().forward(query, 'udp')).toBeUndefined();
  });

  it('turns queries away when too many wait', async () => {
    const silent = await resolver(() => undefined);
    const narrow = new Forwarder({
      upstreams: async () => [silent],
      timeoutMs: 200,
      maxPending: 1,
    });
    const ended: string[] = [];
    const first = narrow.forward(query, 'udp').then(() => ended.push('waiting'));
    expect(await narrow.forward(query, 'udp')).toBeUndefined();
    ended.push('turned away');
    await first;
    expect(ended).toEqual(['turned away', 'waiting']);
  });
});
