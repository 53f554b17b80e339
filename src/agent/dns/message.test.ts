import dnsPacket from 'dns-packet';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ZoneRecord } from '../../network/names/zone-answer.ts';
import { bareReply, encodeReply } from './message.ts';
import { decodeQuery, type Query } from './query.ts';
import { frame, FrameReader } from './tcp-framing.ts';
import { rcode } from './wire.ts';

function query(name: string, options: { type?: 'A' | 'SRV'; udpBytes?: number } = {}): Buffer {
  return dnsPacket.encode({
    type: 'query',
    id: 4711,
    flags: dnsPacket.RECURSION_DESIRED,
    questions: [{ type: options.type ?? 'A', name }],
    ...(options.udpBytes === undefined
      ? {}
      : {
          additionals: [
            {
              type: 'OPT',
              name: '.',
              udpPayloadSize: options.udpBytes,
              extendedRcode: 0,
              ednsVersion: 0,
              flags: 0,
              flag_do: false,
              options: [],
            },
          ],
        }),
  });
}

function decoded(message: Buffer): Query {
  const result = decodeQuery(message);
  if ('malformed' in result) throw new Error('malformed');
  return result;
}

function addresses(count: number, name: string): ZoneRecord[] {
  return Array.from({ length: count }, (_, i) => ({
    type: 'A',
    name,
    ttl: 2,
    address: `10.77.${i >> 8}.${i & 255}`,
  }));
}

describe('reading', () => {
  it('takes name, type and EDNS size from a query', () => {
    expect(decoded(query('WeB.example', { udpBytes: 4096 }))).toMatchObject({
      id: 4711,
      name: 'WeB.example',
      type: 'A',
      class: 'IN',
      recursionDesired: true,
      edns: { version: 0, udpBytes: 4096 },
    });
  });

  it('never throws, and never answers an answer, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
        const message = Buffer.from(bytes);
        const result = decodeQuery(message);
        if (message.length < 12 || (message[2] ?? 0) >= 0x80) {
          expect(result).toEqual({ malformed: true, id: undefined });
        }
      }),
      { numRuns: 3000 },
    );
  });

  it('never throws on queries with a few bytes changed, and what it reads can be answered', () => {
    const valid = query('db.guestbook.default.nap.local', { udpBytes: 1232 });
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(valid.length - 1), fc.integer({ min: 0, max: 255 })), {
          minLength: 1,
          maxLength: 4,
        }),
        fc.nat(valid.length),
        (changes, cut) => {
          const message = Buffer.from(valid);
          for (const [at, byte] of changes) message[at] = byte;
          const result = decodeQuery(cut < 20 ? message.subarray(0, cut + 20) : message);
          if ('malformed' in result) return;
          const reply = { ...bareReply(0), answers: addresses(3, result.name) };
          expect(encodeReply(result, reply, 'udp').length).toBeLessThanOrEqual(1232);
        },
      ),
      { numRuns: 3000 },
    );
  });

  it('refuses names whose pointers go in circles', () => {
    const message = query('ab');
    message[12] = 0xc0;
    message[13] = 12;
    expect(decodeQuery(message)).toEqual({ malformed: true, id: 4711 });
  });
});

describe('writing', () => {
  it('gives what another implementation reads', () => {
    const records: ZoneRecord[] = [
      { type: 'A', name: 'Db', ttl: 2, address: '10.77.1.2' },
      {
        type: 'SRV',
        name: 'Db',
        ttl: 2,
        priority: 0,
        weight: 0,
        port: 80,
        target: '1.db.p.ns.nap.local',
      },
      { type: 'PTR', name: 'Db', ttl: 2, target: '1.db.p.ns.nap.local' },
    ];
    const soa: ZoneRecord = {
      type: 'SOA',
      name: 'nap.local',
      ttl: 1,
      primary: 'ns.nap.local',
      mailbox: 'hostmaster.nap.local',
      serial: 9,
      minimum: 1,
    };
    const reply = { ...bareReply(0), authoritative: true, answers: records, authorities: [soa] };
    const packet = dnsPacket.decode(encodeReply(decoded(query('Db')), reply, 'udp'));
    expect(packet).toMatchObject({ id: 4711, type: 'response', flag_aa: true, flag_tc: false });
    expect(packet.questions).toMatchObject([{ name: 'Db', type: 'A' }]);
    expect(packet.answers).toMatchObject([
      { type: 'A', name: 'Db', data: '10.77.1.2', ttl: 2 },
      { type: 'SRV', data: { port: 80, target: '1.db.p.ns.nap.local' } },
      { type: 'PTR', data: '1.db.p.ns.nap.local' },
    ]);
    expect(packet.authorities).toMatchObject([{ type: 'SOA', data: { serial: 9, minimum: 1 } }]);
  });

  it.each([
    [undefined, 512, 29],
    [1232, 1232, 73],
    [65535, 1232, 73],
    [100, 512, 28],
  ])(
    'keeps to the size of an asker with EDNS %j and says that there is more',
    (udpBytes, limit, least) => {
      const name = 'web.guestbook';
      const asked = decoded(query(name, udpBytes === undefined ? {} : { udpBytes }));
      const message = encodeReply(asked, { ...bareReply(0), answers: addresses(300, name) }, 'udp');
      expect(message.length).toBeLessThanOrEqual(limit);
      const packet = dnsPacket.decode(message);
      expect(packet.flag_tc).toBe(true);
      expect(packet.answers?.length).toBeGreaterThanOrEqual(least);
    },
  );

  it('leaves nothing out over TCP', () => {
    const message = encodeReply(
      decoded(query('db')),
      { ...bareReply(0), answers: addresses(2000, 'db') },
      'tcp',
    );
    expect(dnsPacket.decode(message)).toMatchObject({ flag_tc: false });
    expect(dnsPacket.decode(message).answers).toHaveLength(2000);
  });

  it('carries extended response codes in the EDNS record', () => {
    const message = encodeReply(
      decoded(query('db', { udpBytes: 1232 })),
      bareReply(rcode.badVersion),
      'udp',
    );
    expect(message[3]! & 15).toBe(0);
    expect(dnsPacket.decode(message).additionals).toMatchObject([
      { type: 'OPT', extendedRcode: 1 },
    ]);
  });
});

describe('TCP framing', () => {
  it('finds the messages however the stream is cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 20 }),
        (messages, cuts) => {
          const stream = Buffer.concat(messages.map((m) => frame(Buffer.from(m))));
          const reader = new FrameReader();
          const found: Buffer[] = [];
          for (let at = 0, i = 0; at < stream.length; i++) {
            const size = cuts[i % cuts.length] ?? 1;
            found.push(...reader.push(stream.subarray(at, at + size)));
            at += size;
          }
          expect(found.map((m) => [...m])).toEqual(messages.map((m) => [...m]));
        },
      ),
    );
  });

  it('takes a message as long as two bytes can say', () => {
    const reader = new FrameReader();
    const message = Buffer.alloc(65_535, 7);
    const stream = frame(message);
    const found: Buffer[] = [];
    for (let at = 0; at < stream.length; at += 1000) {
      found.push(...reader.push(stream.subarray(at, at + 1000)));
    }
    expect(found).toEqual([message]);
  });
});
