import { createSocket, type Socket } from 'node:dgram';
import { closeSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { eventually } from '../../../test/support/eventually.ts';
import { loadSocketCalls, type SocketCalls } from './socket-calls.ts';
import { burstSize, UdpBursts, type AnswerInPlace, type UdpBurst } from './udp-burst.ts';

const port = 24_353;
const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

async function calls(): Promise<SocketCalls> {
  const found = await loadSocketCalls();
  if (found === undefined) throw new Error('this machine has no such calls');
  return found;
}

function open(with_: SocketCalls): UdpBurst {
  const socket = new UdpBursts(with_).open('127.0.0.1', port);
  cleanups.push(() => {
    closeSync(socket.fd);
  });
  return socket;
}

interface Peer {
  readonly socket: Socket;
  readonly address: string;
  readonly received: string[];
}

async function peer(address: string): Promise<Peer> {
  const socket = createSocket('udp4');
  const received: string[] = [];
  socket.on('message', (message) => received.push(message.toString()));
  await new Promise<void>((resolve) => socket.bind(0, address, resolve));
  cleanups.push(() => {
    socket.close();
  });
  return { socket, address, received };
}

/** Sends one after the other, so that they wait in this order. */
async function send({ socket }: Peer, ...messages: readonly (string | Buffer)[]): Promise<void> {
  for (const message of messages) {
    await new Promise((sent) => {
      socket.send(message, port, '127.0.0.1', sent);
    });
  }
}

/** Says to each who it is and what it has said. */
const echo: AnswerInPlace = (datagram, source, port, reply) =>
  reply.write(`${source}:${port} ${datagram.toString()}`);

/** Takes what waits until it was `count` datagrams: that one is sent is not yet that it waits. @returns how many at a time */
async function drained(
  socket: UdpBurst,
  count: number,
  answer: AnswerInPlace,
): Promise<readonly number[]> {
  const taken: number[] = [];
  let all = 0;
  await eventually(`${count} datagrams`, () => {
    const before = all;
    socket.drain((...datagram) => {
      all++;
      return answer(...datagram);
    });
    taken.push(all - before);
    return all >= count;
  });
  return taken;
}

function numbered(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, i) => String(from + i));
}

describe('datagrams that wait', () => {
  it('are taken so many at a time, and each sender gets the answers to its own', async () => {
    const socket = open(await calls());
    const peers = await Promise.all(['127.0.0.1', '127.0.0.7', '127.1.2.3'].map(peer));
    const each = burstSize;
    for (const [i, one] of peers.entries()) await send(one, ...numbered(i * each, (i + 1) * each));
    const taken = await drained(socket, peers.length * each, echo);
    // All waited when they were taken, but for what a busy kernel had not yet brought.
    expect(Math.max(...taken)).toBe(burstSize);
    expect(await drained(socket, 0, echo)).toEqual([0]);
    for (const [i, { socket, address, received }] of peers.entries()) {
      await eventually('all answers', () => received.length === each);
      const own = `${address}:${socket.address().port}`;
      expect(received).toEqual(numbered(i * each, (i + 1) * each).map((n) => `${own} ${n}`));
    }
  });

  it('may be as large as they come, or empty', async () => {
    const socket = open(await calls());
    const one = await peer('127.0.0.1');
    await send(one, Buffer.alloc(65_507, 'x'), '', 'y');
    const lengths: number[] = [];
    await drained(socket, 3, (datagram) => {
      lengths.push(datagram.length);
      return 0;
    });
    expect(lengths).toEqual([65_507, 0, 1]);
  });

  it('that have no answer yet leave none, and no gap', async () => {
    const socket = open(await calls());
    const one = await peer('127.0.0.1');
    await send(one, 'a', 'later', 'b', 'later', 'c');
    await drained(socket, 5, (datagram, _source, _port, reply) =>
      datagram.toString() === 'later' ? 0 : reply.write(datagram.toString()),
    );
    await send(one, 'last');
    await drained(socket, 1, (datagram, _source, _port, reply) => reply.write(datagram.toString()));
    await eventually('the last answer', () => one.received.includes('last'));
    expect(one.received).toEqual(['a', 'b', 'c', 'last']);
  });
});

describe('an answer that cannot be sent', () => {
  it('for want of room is dropped, rather than sent with what lies beyond its place', async () => {
    const socket = open(await calls());
    const one = await peer('127.0.0.1');
    await send(one, 'too long', 'fits');
    await drained(socket, 2, (datagram, _source, _port, reply) =>
      datagram.toString() === 'fits' ? reply.write('fits') : reply.length + 1,
    );
    await eventually('the other', () => one.received.length > 0);
    expect(one.received).toEqual(['fits']);
  });

  it('holds up no other', async () => {
    const real = await calls();
    let first = true;
    const socket = open({
      ...real,
      sendmmsg: (...args) => {
        if (first) {
          first = false;
          return -1;
        }
        // And of the others one at a time, as when the next cannot be sent.
        return real.sendmmsg(args[0], args[1], 1, args[3]);
      },
    });
    const one = await peer('127.0.0.1');
    await send(one, 'a', 'b', 'c');
    await drained(socket, 3, (datagram, _source, _port, reply) => reply.write(datagram.toString()));
    await eventually('the others', () => one.received.length === 2);
    expect(one.received).toEqual(['b', 'c']);
  });
});

describe('an address', () => {
  it('that is taken, or not of this host, is refused in the words of Node', async () => {
    const bursts = new UdpBursts(await calls());
    open(await calls());
    expect(() => bursts.open('127.0.0.1', port)).toThrow(`bind EADDRINUSE 127.0.0.1:${port}`);
    expect(() => bursts.open('192.0.2.1', port)).toThrow(`bind EADDRNOTAVAIL 192.0.2.1:${port}`);
  });
});
