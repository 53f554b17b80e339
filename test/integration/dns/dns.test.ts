import dnsPacket from 'dns-packet';
import { randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { DnsService } from '../../../src/agent/dns/dns-service.ts';
import { hostExec } from '../../../src/agent/host/exec.ts';
import { MemoryStore } from '../../../src/registry/memory/store.ts';
import {
  endpointRecords,
  serviceRecords,
  type InstanceKey,
  type ServiceRecord,
} from '../../../src/registry/records/index.ts';
import { silentLogger } from '../../../src/telemetry/log.ts';
import { eventually } from '../../support/eventually.ts';

const store = new MemoryStore();
const stop = new AbortController();
const exec = hostExec();
/** Where the host is. Addresses of the loopback stand for containers' */
const overlay = { network: '10.77.0.0/16', subnet: '127.0.1.0/24', address: '192.0.2.9' };
const askers = new Map<string, InstanceKey>([
  ['127.0.0.2', { namespace: 'default', project: 'guestbook', service: 'web', ordinal: '1' }],
  ['127.0.0.3', { namespace: 'default', project: 'shop', service: 'web', ordinal: '1' }],
]);
let running: Promise<void>;
let dns: DnsService;
let upstream: Socket;
/** What the upstream resolver was asked. */
const leaked: string[] = [];

async function dig(...args: string[]): Promise<string> {
  const common = ['@127.0.0.1', '-p', String(dns.port), '+tries=1', '+timeout=3'];
  return (await exec('dig', [...common, ...args])).stdout.trim();
}

function putService(
  namespace: string,
  project: string,
  service: string,
  record: Partial<ServiceRecord> = {},
): Promise<unknown> {
  const value = serviceRecords.encode({ uid: 'u', ports: [], links: [], ...record });
  const key = serviceRecords.path({ namespace, project, service });
  return store.commit([], [{ type: 'put', key, value }]);
}

function putEndpoint(
  namespace: string,
  project: string,
  service: string,
  ordinal: number,
  address: string,
  port = 80,
): Promise<unknown> {
  const key = endpointRecords.path({ namespace, project, service, ordinal: String(ordinal) });
  const ports = [{ port, protocol: 'tcp' as const }];
  const value = endpointRecords.encode({ host: 'h', ipv4_addr: address, port, ports });
  return store.commit([], [{ type: 'put', key, value }]);
}

beforeAll(async () => {
  // The host's resolver: answers every question with 192.0.2.1.
  upstream = createSocket('udp4');
  upstream.on('message', (query, from) => {
    leaked.push(query.toString('latin1'));
    const end = query.indexOf(0, 12) + 5;
    const answer = Buffer.concat([
      query.subarray(0, end),
      Buffer.from('c00c000100010000003c0004c0000201', 'hex'),
    ]);
    answer.writeUInt16BE(0x8180, 2);
    [1, 1, 0, 0].forEach((count, i) => answer.writeUInt16BE(count, 4 + 2 * i));
    upstream.send(answer, from.port, from.address);
  });
  await new Promise<void>((resolve) => upstream.bind(0, '127.0.0.1', resolve));
  dns = new DnsService({
    store,
    log: silentLogger,
    overlay: () => overlay,
    readResolvConf: async () => '',
    upstreams: async () => [{ address: '127.0.0.1', port: upstream.address().port }],
    port: 0,
  });
  const local = { localInstance: (address: string) => askers.get(address) };
  running = dns.run('127.0.0.1', local, stop.signal);
  await putService('default', 'guestbook', 'web', {
    isolation: 'open',
    ports: [{ port: 80, protocol: 'tcp' }],
    links: [{ service: 'redis-master', alias: 'db' }],
  });
  await putService('default', 'guestbook', 'redis-master', { isolation: 'open' });
  await putService('default', 'guestbook', 'idle');
  await putService('default', 'shop', 'web');
  await putService('default', '_', 'cache', { isolation: 'open' });
  await putEndpoint('default', 'guestbook', 'web', 1, '10.77.1.2');
  await putEndpoint('default', 'guestbook', 'web', 2, '10.77.2.2');
  await putEndpoint('default', 'guestbook', 'redis-master', 1, '10.77.3.2', 6379);
  await putEndpoint('default', 'shop', 'web', 1, '10.77.4.2');
  await putEndpoint('default', '_', 'cache', 1, '10.77.5.2');
  await eventually('the name server serves', async () => dns.port !== undefined && dns.view.synced);
  await eventually(
    'the name is answered',
    async () => (await dig('+short', 'cache.default.nap.local')) === '10.77.5.2',
  );
});

afterAll(async () => {
  stop.abort();
  await running;
  upstream.close();
});

describe('names', () => {
  it.each([
    ['a service of my project', '127.0.0.2', 'web', ['10.77.1.2', '10.77.2.2']],
    ['the same name elsewhere is another service', '127.0.0.3', 'web', ['10.77.4.2']],
    ['an alias of my links', '127.0.0.2', 'db', ['10.77.3.2']],
    ['one instance', '127.0.0.2', 'web-2', ['10.77.2.2']],
    ['one instance, with a dot', '127.0.0.2', 'web.2', ['10.77.2.2']],
    ['an instance by its hostname', '127.0.0.2', 'guestbook-web-2', ['10.77.2.2']],
    ['any letters', '127.0.0.2', 'WeB-2', ['10.77.2.2']],
    ['a full name', '127.0.0.3', 'redis-master.guestbook.default.nap.local', ['10.77.3.2']],
    ['a full name for a stranger', '127.0.0.9', 'web.shop.default.nap.local', ['10.77.4.2']],
    ['a full instance name', '127.0.0.3', '2.web.guestbook.default.nap.local', ['10.77.2.2']],
    ['a standalone service', '127.0.0.2', 'cache.default.nap.local', ['10.77.5.2']],
    ['a foreign name', '127.0.0.2', 'example.org', ['192.0.2.1']],
  ])('%s', async (_, asker, name, addresses) => {
    const answer = await dig('-b', asker, '+short', name);
    expect(answer.split('\n').sort()).toEqual(addresses);
  });

  it('of whom one may not speak to are not told', async () => {
    const answer = await dig('-b', '127.0.0.2', 'web.shop.default.nap.local');
    expect(header(answer).status).toBe('NXDOMAIN');
    expect(leaked.some((query) => query.includes('shop'))).toBe(false);
  });
});

/** The header's status and the flags of a dig answer. */
function header(output: string): { status: string; flags: string } {
  return {
    status: /status: (\w+)/.exec(output)?.[1] ?? '',
    flags: /flags: ([\w ]+)/.exec(output)?.[1] ?? '',
  };
}

describe('answers that are none', () => {
  it('tell a name without address from no name', async () => {
    const idle = await dig('-b', '127.0.0.2', 'idle');
    expect(header(idle)).toMatchObject({ status: 'NOERROR' });
    expect(idle).toContain('SOA');
    expect(header(await dig('-b', '127.0.0.2', 'web', 'AAAA')).status).toBe('NOERROR');
    expect(header(await dig('-b', '127.0.0.2', 'nothing')).status).toBe('NXDOMAIN');
    expect(header(await dig('x.default.nap.local')).status).toBe('NXDOMAIN');
  });

  it('never send names of the project to the outside', async () => {
    leaked.length = 0;
    await dig('-b', '127.0.0.2', 'nothing');
    await dig('-b', '127.0.0.2', 'web-9');
    await dig('nothing.default.nap.local');
    await dig('-x', '10.77.9.9');
    expect(leaked).toEqual([]);
  });

  it.each([
    ['another class', ['-c', 'CH', 'version.bind', 'TXT'], 'REFUSED'],
    ['a zone transfer', ['nap.local', 'AXFR'], 'failed'],
    ['an unknown EDNS version', ['+edns=7', '+noednsneg', 'web.shop.default.nap.local'], 'BADVERS'],
    ['another opcode', ['+opcode=notify', 'nap.local'], 'NOTIMP'],
  ])('refuse %s', async (_, args, word) => {
    expect(await dig(...args).catch((error: unknown) => String(error))).toContain(word);
  });
});

describe('large answers', () => {
  beforeAll(async () => {
    await putService('default', 'guestbook', 'many');
    for (let i = 0; i < 200; i++)
      await putEndpoint('default', 'guestbook', 'many', i + 1, `10.77.100.${i}`);
  });

  it('are cut over UDP, and whole over TCP', async () => {
    const cut = await dig('-b', '127.0.0.2', '+ignore', '+noedns', 'many');
    expect(header(cut).flags).toContain('tc');
    const whole = await dig('-b', '127.0.0.2', '+short', 'many');
    expect(new Set(whole.split('\n')).size).toBe(200);
  });

  it('begin with another address each time', async () => {
    const firsts = new Set<string>();
    for (let i = 0; i < 8; i++) {
      const answer = await dig('-b', '127.0.0.2', '+short', '+ignore', 'many');
      firsts.add(answer.split('\n')[0] ?? '');
    }
    expect(firsts.size).toBeGreaterThan(1);
  });
});

describe('SRV and PTR', () => {
  it('lead to port and instance, and back', async () => {
    expect(await dig('-b', '127.0.0.2', '+short', '_6379._tcp.db', 'SRV')).toBe(
      '0 0 6379 1.redis-master.guestbook.default.nap.local.',
    );
    expect(await dig('+short', '-x', '10.77.3.2')).toBe(
      '1.redis-master.guestbook.default.nap.local.',
    );
  });
});

describe('names of the outside', () => {
  it('are asked for once, and then kept', async () => {
    leaked.length = 0;
    for (let i = 0; i < 3; i++) {
      // With EDNS and a cookie, which makes each query another.
      expect(await dig('-b', '127.0.0.2', '+short', 'kept.example')).toBe('192.0.2.1');
      expect(await dig('-b', '127.0.0.3', '+short', 'KEPT.example')).toBe('192.0.2.1');
    }
    expect(leaked).toHaveLength(1);
  });

  it('answer ANY with little', async () => {
    leaked.length = 0;
    expect(await dig('+notcp', 'any.example', 'ANY')).toContain('"RFC8482"');
    expect(leaked).toEqual([]);
  });
});

describe('TCP', () => {
  it('carries many questions on one connection', async () => {
    const names = ['web', 'db', 'redis-master', 'web-2', 'nothing'];
    const answer = await dig('-b', '127.0.0.2', '+tcp', '+keepopen', ...names);
    expect(answer.match(/status: NOERROR/g)).toHaveLength(4);
    expect(answer.match(/status: NXDOMAIN/g)).toHaveLength(1);
  });

  it('serves others while some hold connections and drip bytes', async () => {
    const held = Array.from({ length: 300 }, (_, i) => {
      const socket = connect({
        port: dns.port ?? 0,
        host: '127.0.0.1',
        localAddress: `127.0.2.${i % 20}`,
      });
      socket.on('error', () => undefined);
      socket.write(Buffer.from([0, 40, 1]));
      return socket;
    });
    await Promise.all(
      held.map((s) => new Promise((resolve) => s.once('connect', resolve).once('close', resolve))),
    );
    const drip = setInterval(() => {
      for (const socket of held) if (socket.writable) socket.write(Buffer.from([1]));
    }, 200);
    try {
      for (const more of [['+tcp'], []]) {
        await eventually(
          'an answer',
          async () =>
            (await dig('-b', '127.0.0.2', '+short', 'web-2', ...more).catch(() => '')) ===
            '10.77.2.2',
          30_000,
        );
      }
    } finally {
      clearInterval(drip);
      for (const socket of held) socket.destroy();
    }
  });
});

/** One UDP question, asked by hand: cheaper than starting dig. */
async function ask(socket: Socket, name: string): Promise<readonly string[]> {
  const query = dnsPacket.encode({ type: 'query', id: 7, questions: [{ type: 'A', name }] });
  const answer = new Promise<Buffer>((resolve) => socket.once('message', resolve));
  socket.send(query, dns.port, '127.0.0.1');
  return (dnsPacket.decode(await answer).answers ?? []).flatMap((a) =>
    a.type === 'A' ? [a.data] : [],
  );
}

async function askerSocket(address: string): Promise<Socket> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(0, address, resolve));
  return socket;
}

describe('many names and many changes', () => {
  it('are seen within 200 ms, with 10,000 services known', async () => {
    const puts = Array.from({ length: 10_000 }, (_, i) => {
      const name = { namespace: 'load', project: `p${i % 100}`, service: `s${i}` };
      const address = `10.77.${(i >> 8) & 255}.${i & 255}`;
      return [
        {
          type: 'put' as const,
          key: serviceRecords.path(name),
          value: serviceRecords.encode({ uid: 'u', ports: [], links: [], isolation: 'open' }),
        },
        {
          type: 'put' as const,
          key: endpointRecords.path({ ...name, ordinal: '1' }),
          value: endpointRecords.encode({ host: 'h', ipv4_addr: address, ports: [] }),
        },
      ];
    }).flat();
    for (let i = 0; i < puts.length; i += 100) await store.commit([], puts.slice(i, i + 100));
    const socket = await askerSocket('127.0.0.2');
    await eventually(
      'the last name is answered',
      async () => (await ask(socket, 's9999.p99.load.nap.local')).length === 1,
    );
    for (let i = 0; i < 10_000; i += 7) {
      expect(await ask(socket, `s${i}.p${i % 100}.load.nap.local`)).toEqual([
        `10.77.${(i >> 8) & 255}.${i & 255}`,
      ]);
    }
    const delays: number[] = [];
    for (let i = 0; i < 100; i++) {
      const address = `10.77.200.${i}`;
      const start = performance.now();
      await putEndpoint('default', 'guestbook', 'web', 1, address);
      while (!(await ask(socket, 'web')).includes(address)) {
        if (performance.now() - start > 5_000) throw new Error('the change is never seen');
      }
      delays.push(performance.now() - start);
    }
    socket.close();
    // Told, not looked up again when the answer is old (60 s). Most of them: the machine may have other work at times.
    expect(delays.toSorted((a, b) => a - b)[50]).toBeLessThan(1_000);
  });
});

describe('faults', () => {
  it('of packets do no harm', async () => {
    const socket = await askerSocket('127.0.0.2');
    const valid = dnsPacket.encode({
      type: 'query',
      id: 1,
      questions: [{ type: 'A', name: 'web' }],
    });
    for (let i = 0; i < 2_000; i++) {
      const packet = i % 2 === 0 ? randomBytes(1 + (i % 600)) : Buffer.from(valid);
      if (i % 2 === 1) packet[i % packet.length] = i & 255;
      socket.send(packet, dns.port, '127.0.0.1');
    }
    socket.close();
    for (const garbage of [
      Buffer.from([0]),
      randomBytes(70_000),
      Buffer.from('0003414243', 'hex'),
    ]) {
      const connection = connect(dns.port!, '127.0.0.1');
      connection.on('error', () => undefined);
      connection.write(garbage);
      connection.destroySoon();
    }
    await eventually(
      'the name is answered',
      async () => (await dig('+short', 'cache.default.nap.local')) === '10.77.5.2',
    );
    expect(await dig('+tcp', '+short', 'cache.default.nap.local')).toBe('10.77.5.2');
  });

  it('of records leave a name as it was', async () => {
    const key = endpointRecords.path({
      namespace: 'default',
      project: 'shop',
      service: 'web',
      ordinal: '1',
    });
    for (const value of [
      'oops',
      '{"host":"h","ipv4_addr":"1.2.3","ports":[]}',
      '{"host":"h","ipv4_addr":"10.77.4.3","ipv6_addr":"fd00::1::2","ports":[]}',
    ]) {
      await store.commit([], [{ type: 'put', key, value }]);
      await eventually('the problem is told', async () => dns.view.problems().has(key));
      expect(await dig('+short', 'web.shop.default.nap.local')).toBe('10.77.4.2');
    }
    await store.commit([], [{ type: 'put', key: '/services/too/short', value: '{}' }]);
    await putEndpoint('default', 'shop', 'web', 1, '10.77.4.9');
    await eventually(
      'the next answer',
      async () => (await dig('+short', 'web.shop.default.nap.local')) === '10.77.4.9',
    );
    expect([...dns.view.problems().keys()]).toEqual(['/services/too/short']);
  });

  it('of the store change nothing, and what it missed is made up for', async () => {
    store.disconnect();
    expect(await dig('-b', '127.0.0.2', '+short', 'db')).toBe('10.77.3.2');
    store.reconnect();
    await putEndpoint('default', 'guestbook', 'redis-master', 1, '10.77.3.9', 6379);
    await eventually(
      'the name is answered',
      async () => (await dig('-b', '127.0.0.2', '+short', 'db')) === '10.77.3.9',
    );
  });

  it('of time do not matter: an asker that becomes known a moment after its question is answered', async () => {
    const late = '127.0.1.2';
    // Who asks from outside of the overlay is the host itself.
    overlay.network = '127.0.1.0/24';
    const lookUps = vi.spyOn(askers, 'get');
    const answer = dig('-b', late, '+short', 'db');
    await eventually('it is asked', () => lookUps.mock.calls.some(([source]) => source === late));
    askers.set(late, { namespace: 'default', project: 'guestbook', service: 'web', ordinal: '2' });
    expect(await answer).toBe('10.77.3.9');
  });
});
