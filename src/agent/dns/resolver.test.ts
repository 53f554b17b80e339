import dnsPacket from 'dns-packet';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../../../test/support/virtual-clock.ts';
import { parseCidr } from '../../network/address/cidr.ts';
import { parseIpv6Prefix } from '../../network/address/dual-stack.ts';
import { Zone, type ServiceName, type ZoneEndpoint } from '../../network/names/zone.ts';
import type { AnswerContext } from '../../network/names/zone-answer.ts';
import { Resolver } from './resolver.ts';

const web: ServiceName = { namespace: 'default', project: 'p', service: 'web' };
const db: ServiceName = { namespace: 'default', project: 'p', service: 'db' };

type Packet = dnsPacket.DecodedPacket & { readonly rcode?: string };

/** A resolver with a zone of two services, whose upstream answers as `upstream` says. */
function setUp(upstream: (query: Packet, bytes: Buffer) => Buffer | undefined = () => undefined) {
  const clock = new VirtualClock();
  const zone = new Zone();
  const view = { zone, serial: 1, synced: true };
  const network = parseCidr('10.77.0.0/16');
  const subnet = parseCidr('10.77.1.0/24');
  const passedOn: string[] = [];
  let mayForward = true;
  let ipv6: AnswerContext['ipv6'];
  const resolver = new Resolver({
    view,
    forwarder: {
      forward: async (message) => {
        const query = dnsPacket.decode(message);
        passedOn.push(query.questions?.[0]?.name ?? '');
        return upstream(query, message);
      },
    },
    localInstance: (address) => (address === '10.77.1.2' ? web : undefined),
    network: () => network,
    ipv6: () => ipv6,
    subnet: () => subnet,
    mayForward: () => mayForward,
    clock,
  });
  const change = (edit: () => void): void => {
    edit();
    view.serial += 1;
  };
  const endpoint = (
    service: ServiceName,
    ordinal: string,
    address: string,
    over: Partial<ZoneEndpoint> = {},
  ): void => {
    change(() => {
      const ports = [{ port: 80, protocol: 'tcp' as const }];
      zone.setEndpoint(service, ordinal, { address, ports, ...over });
    });
  };
  endpoint(web, '1', '10.77.1.2');
  endpoint(db, '1', '10.77.2.2');
  return {
    clock,
    passedOn,
    endpoint,
    resolver,
    refuseForwarding: () => (mayForward = false),
    ready: (name: string, options: AskOptions = {}): Buffer | undefined => {
      const reply = Buffer.alloc(2_048);
      const { source = '10.77.1.2' } = options;
      const length = resolver.answerReady(query(name, options), source, reply);
      return length === 0 ? undefined : reply.subarray(0, length);
    },
    setIpv6: (is: AnswerContext['ipv6']) => (ipv6 = is),
    ask: async (name: string, options: AskOptions = {}): Promise<Packet> => {
      const { source = '10.77.1.2', transport = 'udp' } = options;
      const reply = await resolver.answer(query(name, options), source, transport);
      if (reply === undefined) throw new Error('no answer');
      return dnsPacket.decode(reply);
    },
  };
}

interface AskOptions {
  readonly type?: string;
  readonly source?: string;
  readonly transport?: 'udp' | 'tcp';
  readonly id?: number;
  readonly udpBytes?: number;
}

function query(name: string, { type = 'A', id = 7, udpBytes }: AskOptions = {}): Buffer {
  const opt = {
    type: 'OPT' as const,
    name: '.' as const,
    udpPayloadSize: udpBytes ?? 0,
    extendedRcode: 0,
    ednsVersion: 0,
    flags: 0,
    flag_do: false,
    options: [],
  };
  return dnsPacket.encode({
    type: 'query',
    id,
    flags: dnsPacket.RECURSION_DESIRED,
    questions: [{ type: type as 'A', name }],
    ...(udpBytes === undefined ? {} : { additionals: [opt] }),
  });
}

/** What an upstream says: so many addresses, or with 0 that there is none. */
function says(addresses: number, ttl: number, negative?: { ttl: number; minimum: number }) {
  return ({ id = 0, questions = [] }: Packet): Buffer => {
    const name = questions[0]?.name ?? '';
    return dnsPacket.encode({
      type: 'response',
      id,
      flags: 0x0180 | (addresses === 0 ? 3 : 0),
      questions,
      answers: Array.from({ length: addresses }, (_, i) => ({
        type: 'A' as const,
        name,
        ttl,
        data: `192.0.2.${i + 1}`,
      })),
      authorities:
        negative === undefined
          ? []
          : [
              {
                type: 'SOA',
                name: 'example',
                ttl: negative.ttl,
                data: {
                  mname: 'ns.example',
                  rname: 'x.example',
                  serial: 1,
                  refresh: 1,
                  retry: 1,
                  expire: 1,
                  minimum: negative.minimum,
                },
              },
            ],
    });
  };
}

const addressesOf = (packet: Packet): readonly unknown[] =>
  (packet.answers ?? []).map((answer) => ('data' in answer ? answer.data : undefined));

describe('answers that are kept', () => {
  it('are one’s own with id and letters, and follow the zone at once', async () => {
    const { ask, endpoint } = setUp();
    for (const [id, name] of [
      [1, 'db'],
      [2, 'db'],
      [3, 'dB'],
    ] as const) {
      const reply = await ask(name, { id });
      expect(reply).toMatchObject({ id, questions: [{ name }], answers: [{ name }] });
      expect(addressesOf(reply)).toEqual(['10.77.2.2']);
    }
    endpoint(db, '1', '10.77.2.9');
    expect(addressesOf(await ask('db'))).toEqual(['10.77.2.9']);
  });

  it('differ by who asks', async () => {
    const { ask } = setUp();
    expect(addressesOf(await ask('db'))).toEqual(['10.77.2.2']);
    expect(await ask('db', { source: '10.77.9.9' })).toMatchObject({ rcode: 'NXDOMAIN' });
    expect(addressesOf(await ask('db'))).toEqual(['10.77.2.2']);
  });

  it('follow the overlay when it begins to carry IPv6, and when it ends', async () => {
    const { ask, endpoint, setIpv6 } = setUp();
    endpoint(db, '1', '10.77.2.2', { ipv6: 'fd00:77::a4d:202' });
    const long = (): Promise<Packet> => ask('db', { type: 'AAAA' });
    for (let i = 0; i < 2; i++) expect(addressesOf(await long())).toEqual([]);
    setIpv6({ prefix: parseIpv6Prefix('fd00:77::/64') });
    for (let i = 0; i < 2; i++) expect(addressesOf(await long())).toEqual(['fd00:77::a4d:202']);
    expect(addressesOf(await ask('db'))).toEqual(['10.77.2.2']);
    setIpv6(undefined);
    expect(addressesOf(await long())).toEqual([]);
  });

  it('begin with each of several addresses', async () => {
    const { ask, endpoint } = setUp();
    for (let i = 2; i <= 4; i++) endpoint(db, String(i), `10.77.${i}.2`);
    const firsts = new Set<unknown>();
    for (let i = 0; i < 64; i++) firsts.add(addressesOf(await ask('db'))[0]);
    expect(firsts.size).toBeGreaterThan(1);
  });
});

describe('answers of the host’s resolvers', () => {
  it('are kept for their time to live, which shrinks, with the asker’s letters and id', async () => {
    const { ask, clock, passedOn } = setUp(says(2, 60));
    expect((await ask('a.example', { id: 1 })).answers?.[0]).toMatchObject({ ttl: 60 });
    await clock.advance(20_500);
    for (let i = 0; i < 2; i++) {
      const reply = await ask('A.Example', { id: 9 });
      expect(reply).toMatchObject({ id: 9, questions: [{ name: 'A.Example' }] });
      expect(reply.answers).toMatchObject([{ ttl: 40 }, { ttl: 40 }]);
    }
    await clock.advance(500);
    expect((await ask('A.Example')).answers?.[0]).toMatchObject({ ttl: 39 });
    expect(passedOn).toEqual(['a.example']);
    await clock.advance(39_000);
    await ask('a.example');
    expect(passedOn).toHaveLength(2);
  });

  it.each([
    [{ ttl: 30, minimum: 10 }, 10],
    [{ ttl: 10, minimum: 30 }, 10],
    [{ ttl: 99_999, minimum: 99_999 }, 300],
    [undefined, 0],
  ])('that there is none are kept as the SOA %j allows: %i s', async (soa, seconds) => {
    const { ask, clock, passedOn } = setUp(says(0, 0, soa));
    expect(await ask('no.example')).toMatchObject({ rcode: 'NXDOMAIN' });
    await clock.advance(seconds * 1_000 - 1);
    expect(await ask('no.example')).toMatchObject({ rcode: 'NXDOMAIN' });
    expect(passedOn).toHaveLength(seconds === 0 ? 2 : 1);
    await clock.advance(1);
    await ask('no.example');
    expect(passedOn).toHaveLength(seconds === 0 ? 3 : 2);
  });

  it('are cut to what the asker takes, also from the cache', async () => {
    const { ask } = setUp(says(40, 60));
    for (let i = 0; i < 2; i++) {
      expect(await ask('a.example')).toMatchObject({ flag_tc: true, answers: [] });
      const whole = await ask('a.example', { transport: 'tcp' });
      expect(whole.flag_tc).toBe(false);
      expect(whole.answers).toHaveLength(40);
      const large = await ask('a.example', { udpBytes: 1232 });
      expect(large.answers).toHaveLength(40);
      expect(large.additionals).toMatchObject([{ type: 'OPT', udpPayloadSize: 1232 }]);
    }
  });

  it('are asked for once for all who ask at the same time', async () => {
    const { ask, passedOn } = setUp(says(1, 0));
    const replies = await Promise.all([1, 2, 3].map((id) => ask('a.example', { id })));
    expect(replies.map(({ id }) => id)).toEqual([1, 2, 3]);
    expect(passedOn).toHaveLength(1);
  });

  it('are not asked for beyond the asker’s rate; what is kept is given all the same', async () => {
    const { ask, refuseForwarding } = setUp(says(1, 60));
    await ask('a.example');
    refuseForwarding();
    expect(addressesOf(await ask('a.example'))).toEqual(['192.0.2.1']);
    expect(await ask('b.example')).toMatchObject({ rcode: 'REFUSED' });
  });

  it('are SERVFAIL when there are none', async () => {
    expect(await setUp().ask('a.example')).toMatchObject({ rcode: 'SERVFAIL' });
  });
});

describe('an answer that lies ready', () => {
  const own = 'db.p.default.nap.local';

  it.each([own, 'a.example', 'none.p.default.nap.local'])(
    'is the one that was given before, with the id of the new question: %s',
    async (name) => {
      const { resolver, ready, ask } = setUp(says(1, 60));
      expect(ready(name)).toBeUndefined();
      await ask(name);
      // What others have answered lies ready when it was given out of the cache.
      await ask(name);
      const again = await resolver.answer(query(name, { id: 4_711 }), '10.77.1.2', 'udp');
      expect(ready(name, { id: 4_711 })).toEqual(again);
    },
  );

  it('is gone as soon as anything changes, or its time is up', async () => {
    const { clock, ready, ask, endpoint } = setUp(says(1, 5));
    for (const name of [own, 'a.example', 'a.example']) await ask(name);
    await clock.advance(6_000);
    expect(ready('a.example')).toBeUndefined();
    expect(ready(own)).toBeDefined();
    endpoint(db, '1', '10.77.2.3');
    expect(ready(own)).toBeUndefined();
  });

  it('is for one who would be answered the same', async () => {
    const { ready, ask } = setUp();
    await ask('db');
    expect(ready('db')).toBeDefined();
    for (const source of ['10.77.1.9', '10.77.2.9', '127.0.0.1']) {
      expect(ready('db', { source })).toBeUndefined();
    }
  });

  it('is none where it has no room, and comes in all orders', async () => {
    const { resolver, ready, ask, endpoint } = setUp();
    for (let i = 2; i < 6; i++) endpoint(db, String(i), `10.77.2.${i}`);
    for (let i = 0; i < 20; i++) await ask(own);
    expect(resolver.answerReady(query(own), '10.77.1.2', Buffer.alloc(20))).toBe(0);
    const orders = Array.from({ length: 20 }, () => ready(own)?.toString('hex'));
    expect(orders).not.toContain(undefined);
    expect(new Set(orders).size).toBeGreaterThan(1);
  });
});

describe('ANY', () => {
  it('is answered with little, and never passed on', async () => {
    const { ask, endpoint, passedOn } = setUp(says(50, 60));
    for (let i = 2; i < 30; i++) endpoint(db, String(i), `10.77.2.${i}`);
    expect((await ask('db', { type: 'ANY' })).answers).toHaveLength(1);
    expect(await ask('a.example', { type: 'ANY' })).toMatchObject({
      answers: [{ type: 'HINFO', data: { cpu: 'RFC8482' } }],
    });
    expect(passedOn).toEqual([]);
  });
});

describe('hostile messages', () => {
  const upstreamBytes = fc.uint8Array({ maxLength: 200 });

  it('and hostile upstreams never make it throw, or answer with more than what was asked', async () => {
    const valid = [
      query('db'),
      query('a.example', { udpBytes: 1232 }),
      query('_80._tcp.web', { type: 'SRV' }),
      query('2.2.77.10.in-addr.arpa', { type: 'PTR' }),
      query(`${'x'.repeat(63)}.`.repeat(3) + 'y'.repeat(61), { udpBytes: 4096 }),
    ];
    const mutated = fc
      .tuple(
        fc.constantFrom(...valid),
        fc.array(fc.tuple(fc.nat(511), fc.nat(255)), { maxLength: 6 }),
        fc.nat(300),
      )
      .map(([base, changes, length]) => {
        const message = Buffer.from(base);
        for (const [at, byte] of changes) message[at % message.length] = byte;
        return length < 20 ? message.subarray(0, length) : message;
      });
    const random = fc.uint8Array({ maxLength: 600 }).map((bytes) => Buffer.from(bytes));
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(mutated, random),
        fc.constantFrom('10.77.1.2', '10.77.9.9'),
        upstreamBytes,
        fc.boolean(),
        async (message, source, garbage, echo) => {
          const { resolver } = setUp((_, bytes) => {
            const end = bytes.indexOf(0, 12) + 5;
            const answer = Buffer.from(echo ? [...bytes.subarray(0, end), ...garbage] : garbage);
            for (let i = 6; echo && i < 12; i++) answer[i] = garbage[i] ?? 0;
            return answer.length < 12 ? undefined : answer;
          });
          const twice = [0, 1].map(() => resolver.answer(message, source, 'udp'));
          for (const pending of twice) {
            const reply = await pending;
            if (reply === undefined) {
              expect(message.length < 12 || (message[2] ?? 0) >= 0x80).toBe(true);
              continue;
            }
            expect(reply.readUInt16BE(0)).toBe(message.readUInt16BE(0));
            expect(reply.length).toBeLessThanOrEqual(1232);
          }
          const reply = Buffer.alloc(1232);
          const length = resolver.answerReady(message, source, reply);
          if (length > 0) expect(reply.subarray(0, length)).toEqual(await twice[1]);
        },
      ),
      { numRuns: 2_000 },
    );
  });

  it.each([
    ['many questions', Buffer.concat([counts(200, 0, 0, 0), Buffer.alloc(1_000)])],
    ['no question', counts(0, 0, 0, 0)],
    ['records that are not there', Buffer.concat([counts(1, 0, 0, 9), query('db').subarray(12)])],
    [
      'a name that points at itself',
      Buffer.concat([counts(1, 0, 0, 0), Buffer.from('c00c00010001', 'hex')]),
    ],
    [
      'a name of more than 255 bytes',
      Buffer.concat([
        counts(1, 0, 0, 0),
        ...Array.from({ length: 6 }, () => Buffer.from(`\x3f${'x'.repeat(63)}`)),
        Buffer.from('0000010001', 'hex'),
      ]),
    ],
  ])('with %s get FORMERR', async (_, message) => {
    const reply = await setUp().resolver.answer(message, '10.77.1.2', 'udp');
    expect(reply && dnsPacket.decode(reply)).toMatchObject({ rcode: 'FORMERR' });
  });
});

/** A header of a query with these numbers of records. */
function counts(...numbers: readonly [number, number, number, number]): Buffer {
  const header = Buffer.alloc(12);
  numbers.forEach((count, i) => header.writeUInt16BE(count, 4 + 2 * i));
  return header;
}

describe('a dot inside of a label', () => {
  it('separates nothing', async () => {
    const { resolver } = setUp();
    const message = query('webx1', { id: 3 });
    message[message.indexOf('x')] = '.'.charCodeAt(0);
    const reply = await resolver.answer(message, '10.77.1.2', 'udp');
    expect(reply?.subarray(12, message.length)).toEqual(message.subarray(12));
    expect((reply?.[3] ?? 0) & 15).not.toBe(0);
  });
});

describe('whom nap does not run', () => {
  const full = 'db.p.default.nap.local';

  it('gets names of its own after a while, and is not answered what an instance or the host was', async () => {
    const { clock, ask } = setUp();
    expect(addressesOf(await ask(full, { source: '10.77.1.2' }))).toEqual(['10.77.2.2']);
    // The host itself, from its two addresses in the overlay and from elsewhere.
    for (const source of ['10.77.1.0', '10.77.1.1', '127.0.0.1', '10.99.0.1']) {
      expect(addressesOf(await ask(full, { source }))).toEqual(['10.77.2.2']);
    }
    const answer = ask(full, { source: '10.77.1.9' });
    await clock.advance(600);
    expect((await answer).rcode).toBe('NXDOMAIN');
    // Of another host: it will not become known here.
    expect((await ask(full, { source: '10.77.2.9' })).rcode).toBe('NXDOMAIN');
    expect(addressesOf(await ask(full, { source: '10.77.1.2' }))).toEqual(['10.77.2.2']);
  });
});
