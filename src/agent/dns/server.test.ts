import dnsPacket from 'dns-packet';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { eventually } from '../../../test/support/eventually.ts';
import { silentLogger } from '../../telemetry/log.ts';
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
  const reader = new FrameReader();
  socket.on('data', (chunk) => received.push(...reader.push(chunk)));
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

  it('takes a question of 64 KiB', async () => {
    const { socket, received } = tcp(await serve());
    socket.write(frame(Buffer.alloc(65_535, 7)));
    await eventually('the answer', () => received[0]?.length === 65_535);
  });

  it('is not used up by those who hold connections: the one idle longest makes room', async () => {
    const server = await serve({ allowed: () => true, maxConnections: 3 });
    const held: ReturnType<typeof tcp>[] = [];
    for (const address of ['127.0.0.2', '127.0.0.3', '127.0.0.4']) {
      const one = tcp(server, address);
      one.socket.write(frame(Buffer.from('q')));
      await eventually('the answer', () => one.received.length === 1);
      // A length that is never followed by a message.
      one.socket.write(Buffer.from([1, 0]));
      held.push(one);
    }
    const late = tcp(server);
    late.socket.write(frame(Buffer.from('q')));
    await eventually('the answer', () => late.received.length === 1);
    await eventually('the end of the first', () => held[0]!.closed());
    expect(held.slice(1).map((one) => one.closed())).toEqual([false, false]);
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

describe('messages that come faster than they are taken', () => {
  const id = (message: Buffer): string => message.toString('latin1', 0, 2);

  it.each([
    ['many with one system call', undefined],
    ['one with one system call', Promise.resolve(undefined)],
  ])('are all answered, those that need time too: %s', async (_, bursts) => {
    const byReady = new Set<string>();
    const server = await serve({
      ...(bursts === undefined ? {} : { bursts }),
      answer: async (message) => {
        await new Promise((resolve) => setTimeout(resolve, 20));
        return message;
      },
      ready: (message, source, reply) => {
        // Every other one lies ready.
        if (source !== '127.0.0.1' || (message[1] ?? 0) % 2 === 1) return 0;
        byReady.add(id(message));
        return message.copy(reply);
      },
    });
    const asker = await udp('127.0.0.1');
    const questions = Array.from({ length: 128 }, (_, i) => Buffer.from([1, i, 7, 7]));
    for (const question of questions) asker.socket.send(question, server.port ?? 0, '127.0.0.1');
    await eventually('all answers', () => asker.received.length === questions.length);
    expect(asker.received.sort((a, b) => a.compare(b))).toEqual(questions);
    expect(byReady.size > 0).toBe(bursts === undefined);
  });

  it('are answered also when one of them fails', async () => {
    let failures = 0;
    const server = await serve({
      answer: () => undefined,
      ready: (message, _source, reply) => {
        if (message[0] !== 2) return message.copy(reply);
        failures++;
        throw new Error('out of order');
      },
    });
    const asker = await udp('127.0.0.1');
    await eventually('an answer after a failure', () => {
      for (const first of [1, 2, 3]) {
        asker.socket.send(Buffer.from([first, 0, 7, 7]), server.port ?? 0, '127.0.0.1');
      }
      return failures > 0 && asker.received.some((message) => message[0] === 3);
    });
    expect(asker.received.every((message) => message[0] !== 2)).toBe(true);
  });

  it('are of one whose allowance they use up, and of nobody who may not ask', async () => {
    const server = await serve({
      allowed: (source) => source !== '127.0.0.9',
      queriesPerSecond: 20,
      answer: () => undefined,
      ready: (message, _source, reply) => message.copy(reply),
    });
    const [greedy, stranger, modest] = await Promise.all(
      ['127.0.0.8', '127.0.0.9', '127.0.0.1'].map(udp),
    );
    const port = server.port ?? 0;
    for (let i = 0; i < 300; i++) {
      greedy!.socket.send(Buffer.from('gggggggggggggggg'), port, '127.0.0.1');
      stranger!.socket.send(Buffer.from('ssssssssssssssss'), port, '127.0.0.1');
    }
    // It may be that the very first comes alone, and is not for `ready`.
    await eventually('an answer', () => {
      modest!.socket.send(Buffer.from('mmmmmmmmmmmmmmmm'), port, '127.0.0.1');
      modest!.socket.send(Buffer.from('mmmmmmmmmmmmmmmm'), port, '127.0.0.1');
      return modest!.received.length > 0;
    });
    expect(greedy!.received.length).toBeLessThan(250);
    expect(stranger!.received).toEqual([]);
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

describe('one who asks for too much', () => {
  it('is told now and then to come over TCP, where it has to wait; others notice nothing', async () => {
    const server = await serve({
      allowed: () => true,
      queriesPerSecond: 50,
      answer: (message) => message,
    });
    const question = dnsPacket.encode({
      type: 'query',
      id: 7,
      questions: [{ type: 'A', name: 'db' }],
    });
    const greedy = await udp('127.0.0.9');
    const port = server.port ?? 0;
    for (let i = 0; i < 400; i++) greedy.socket.send(question, port, '127.0.0.1');
    await eventually('a word about TCP', () =>
      greedy.received.some((m) => dnsPacket.decode(m).flag_tc),
    );
    const modest = await udp('127.0.0.1');
    modest.socket.send(question, port, '127.0.0.1');
    await eventually('an answer', () => modest.received.length === 1);
    expect(modest.received[0]).toEqual(question);
    const whole = greedy.received.filter((m) => m.equals(question));
    expect(whole.length).toBeLessThan(greedy.received.length);
    const caller = tcp(server, '127.0.0.9');
    caller.socket.write(Buffer.concat(Array.from({ length: 20 }, () => frame(question))));
    await eventually('all answers', () => caller.received.length === 20);
  });
});
