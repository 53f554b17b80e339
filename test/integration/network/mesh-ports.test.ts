import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually as poll } from '../../support/eventually.ts';
import type { TestHost } from '../../support/netns.ts';
import { Members, type Member } from './members.ts';

/** At which the servers of members listen; the port of the hosts is another. */
const target = 7777;
const port = 7000;

const members = new Members('10.99.3');
let a: Member;
let b: Member;
/** Has nothing that answers. */
let c: Member;
let outside: TestHost;

beforeAll(async () => {
  await members.start();
  a = await members.join(2);
  b = await members.join(2);
  c = await members.join(1);
  outside = await members.network.addHost();
  for (const { containers } of [a, b]) await members.serve(containers[0]!);
  const mesh = (['tcp', 'udp'] as const).map((protocol) => ({ port, protocol, target }));
  await members.putService('web', {
    ports: [
      { port: target, protocol: 'tcp' },
      { port: target, protocol: 'udp' },
    ],
    mesh,
  });
});

afterAll(() => members.stop());

/** Patiently: a datagram that is lost at a change costs ten seconds. */
const eventually = <T>(what: string, probe: () => T | Promise<T>) => poll(what, probe, 60_000);

/** Where connections to the mesh port of `entry` go. */
const calls = (from: Pick<TestHost, 'exec'>, entry: Member, more: object = {}) =>
  members.call(from, entry.host.address, { count: 20, port, ...more });
const serversSeen = async (...args: Parameters<typeof calls>): Promise<string[]> =>
  [...new Set((await calls(...args)).map(({ server }) => server))].sort();

describe('a mesh port', () => {
  it('is refused while no instance is ready', async () => {
    await expect(calls(outside, a, { count: 1 })).rejects.toThrow(/ECONNREFUSED/);
  });

  it.each(['tcp', 'udp'] as const)(
    'answers on a host without an instance, by %s, and the instance sees the client',
    async (protocol) => {
      const only = b.containers[0]!;
      await members.setEndpoint('web', 1, only.ip);
      // And on the instance's own host, whose agent may hear of it later.
      for (const entry of [a, b]) {
        await eventually('it is led to', () => calls(outside, entry, { count: 1, protocol }));
        for (const { server, client } of await calls(outside, entry, { protocol })) {
          expect({ server, client }).toEqual({ server: only.ip, client: outside.address });
        }
      }
    },
  );

  it('tells connections apart that come from one address and port, through three hosts, to one instance', async () => {
    // None that the kernel gives to those who ask for any.
    const localPort = 24_567;
    const { ip } = b.containers[0]!;
    const open = new Set<Member>();
    const hold = async (entry: Member): Promise<void> => {
      open.add(entry);
      await calls(outside, entry, { count: 1, echoes: 100, pauseMs: 100, localPort });
      open.delete(entry);
    };
    // The instance's own host first: it keeps the client's port.
    const held: Promise<void>[] = [];
    const which = ['-p', 'tcp', '--state', 'ESTABLISHED', '--orig-port-src', String(localPort)];
    for (const entry of [b, a]) {
      const call = hold(entry);
      call.catch(() => undefined);
      held.push(call);
      await eventually('it is open', async () => {
        const { stdout } = await b.host.exec('conntrack', ['-L', ...which]);
        return stdout.split('\n').filter((line) => line.startsWith('tcp')).length === held.length;
      });
    }
    const answers = await calls(outside, c, { count: 1, localPort });
    expect(answers).toEqual([{ server: ip, client: outside.address }]);
    expect(open).toEqual(new Set([a, b]));
    await Promise.all(held);
  });

  it.each(['tcp', 'udp'] as const)(
    'spreads over the instances of all hosts, by %s',
    async (protocol) => {
      const both = [a.containers[0]!.ip, b.containers[0]!.ip].sort();
      await members.setEndpoint('web', 2, a.containers[0]!.ip);
      await eventually(
        'both are led to',
        async () =>
          (await serversSeen(outside, a, { protocol })).length === 2 &&
          (await serversSeen(outside, b, { protocol })).length === 2,
      );
      // From the hosts themselves, from other hosts, from containers through their own host and through others.
      for (const from of [a.host, b.host, a.containers[1]!, b.containers[1]!, a.containers[0]!]) {
        expect(await serversSeen(from, a, { count: 40, protocol })).toEqual(both);
      }
    },
  );

  it('moves large answers and keeps open connections when the instance leaves the pool', async () => {
    const open = calls(outside, a, { count: 1, echoes: 20, pauseMs: 100 });
    open.catch(() => undefined);
    await members.setEndpoint('web', 1, undefined);
    await eventually(
      'the other one is led to alone',
      async () => (await serversSeen(outside, a)).join() === a.containers[0]!.ip,
    );
    expect(await open).toHaveLength(1);
  });

  it('leads UDP clients that never pause to another instance', async () => {
    await members.setEndpoint('web', 1, b.containers[0]!.ip);
    await members.setEndpoint('web', 2, undefined);
    await eventually(
      'it moved',
      async () =>
        (await serversSeen(outside, a, { protocol: 'udp' })).join() === b.containers[0]!.ip,
    );
    const { answers, stop } = members.converse(outside, a.host.address, port);
    await eventually('the only one answers', () => answers().at(-1) === b.containers[0]!.ip);
    await members.setEndpoint('web', 2, a.containers[0]!.ip);
    await members.setEndpoint('web', 1, undefined);
    await eventually('the other one answers', () => answers().at(-1) === a.containers[0]!.ip);
    stop();
  });

  it('is left to a process of the host that listens there, which is shown', async () => {
    const busy = await members.listen(b.host, port);
    await b.manager.audit();
    b.manager.requestAudit();
    await eventually('it is told', () =>
      b.manager.problems().find((text) => text.includes(`${port}/tcp (default/shop/web)`)),
    );
    await eventually(
      'the process has its port',
      async () => (await serversSeen(outside, b, { count: 5 })).join() === b.host.address,
    );
    expect(await serversSeen(outside, a)).toEqual([a.containers[0]!.ip]);
    const ended = once(busy, 'exit');
    busy.kill('SIGKILL');
    await ended;
    b.manager.requestAudit();
    await eventually(
      'the instance is led to',
      async () => (await serversSeen(outside, b, { count: 5 })).join() === a.containers[0]!.ip,
    );
  });

  it('is closed with its service', async () => {
    await members.removeService('web');
    await eventually('it is refused', () =>
      calls(outside, a, { count: 1 }).then(
        () => false,
        (error: unknown) => String(error).includes('ECONNREFUSED'),
      ),
    );
  });
});
