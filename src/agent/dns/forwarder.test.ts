import dnsPacket from 'dns-packet';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { afterEach, describe, expect, it } from 'vitest';
import { eventually } from '../../../test/support/eventually.ts';
import { Forwarder } from './forwarder.ts';
import type { Upstream } from './upstream.ts';

const sockets: UdpSocket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.close();
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
    const socket = createSocket('udp4');
    await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
    sockets.push(socket);
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

  /** As patient as a busy machine asks for. */
  function forwarder(...upstreams: Upstream[]): Forwarder {
    return new Forwarder({ upstreams: async () => upstreams, timeoutMs: 2_000, patienceMs: 1_000 });
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

  const withCode = (message: Buffer, code: number): Buffer => {
    const answer = good(message);
    answer.writeUInt16BE(0x8180 | code, 2);
    return answer;
  };

  it.each([2, 4, 5])(
    'goes on when a resolver fails with code %i, and gives that only when none does better',
    async (code) => {
      const broken = await resolver((message, reply) => {
        reply(withCode(message, code));
      });
      const upstream = await resolver((message, reply) => {
        reply(good(message));
      });
      expect((await forwarder(broken, upstream).forward(query, 'udp'))?.[3]).toBe(0x80);
      expect((await forwarder(broken).forward(query, 'udp'))?.[3]).toBe(0x80 | code);
    },
  );

  it('does not wait for a slow one for long, and asks the quick one first from then on', async () => {
    let asked = 0;
    const slow = await resolver((message, reply) => {
      asked += 1;
      setTimeout(reply, 30_000, good(message)).unref();
    });
    const upstream = await resolver((message, reply) => {
      reply(good(message));
    });
    const both = new Forwarder({
      upstreams: async () => [slow, upstream],
      timeoutMs: 30_000,
      // Longer than this process may stand still: the slow one is asked again when the quick one takes so long.
      patienceMs: 1_000,
    });
    for (let i = 0; i < 3; i++) expect(await both.forward(query, 'udp')).toBeDefined();
    expect(asked).toBe(1);
  });

  it('finds out that the first is back without letting anybody wait for it', async () => {
    let alive = false;
    let [first, second] = [0, 0];
    const flaky = await resolver((message, reply) => {
      if (!alive) return;
      first += 1;
      reply(good(message));
    });
    const upstream = await resolver((message, reply) => {
      second += 1;
      reply(good(message));
    });
    const both = new Forwarder({
      upstreams: async () => [flaky, upstream],
      timeoutMs: 5_000,
      patienceMs: 20,
      retryMs: 50,
    });
    await both.forward(query, 'udp');
    alive = true;
    await eventually('the first is asked again', async () => {
      await both.forward(query, 'udp');
      return first > 0;
    });
    await eventually('the second is left alone', async () => {
      const before = second;
      await both.forward(query, 'udp');
      return second === before;
    });
  });

  it('goes on at once from a network that cannot be reached', async () => {
    const upstream = await resolver((message, reply) => {
      reply(good(message));
    });
    const both = forwarder({ address: '255.255.255.255', port: 53 }, upstream);
    expect(await both.forward(query, 'udp')).toBeDefined();
  });
});
