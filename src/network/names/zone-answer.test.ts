import { describe, expect, it } from 'vitest';
import { parseCidr } from '../address/cidr.ts';
import { parseIpv6Prefix } from '../address/dual-stack.ts';
import { serviceDomain, Zone } from './zone.ts';
import { answerQuestion, type AnswerContext } from './zone-answer.ts';

const asker = { namespace: 'default', project: 'p', service: 'web' };
const context: AnswerContext = {
  asker,
  network: parseCidr('10.77.0.0/16'),
  serial: 7,
  random: () => 0.99,
};

const zone = new Zone();
zone.setService({ ...asker, service: 'idle' }, { ports: [], links: [] });
for (const n of [1, 2, 3]) {
  zone.setEndpoint({ ...asker, service: 'db' }, String(n), {
    address: `10.77.${n}.2`,
    ports: [
      { port: 5432, protocol: 'tcp' },
      { port: 53, protocol: 'udp' },
    ],
  });
}

const six = { ipv6: { prefix: parseIpv6Prefix('fd00:77::/64') } };
const records = { ports: [], links: [] };
zone.setService({ ...asker, service: 'both' }, records);
for (const [n, ipv6] of [
  ['1', 'fd00:77::a4d:901'],
  ['2', undefined],
] as const) {
  zone.setEndpoint({ ...asker, service: 'both' }, n, {
    address: `10.77.9.${n}`,
    ...(ipv6 !== undefined && { ipv6 }),
    ports: [{ port: 80, protocol: 'tcp' }],
  });
}

/** The name under ip6.arpa of an address given as its 32 digits. */
const arpa = (digits: string): string => `${digits.split('').reverse().join('.')}.ip6.arpa`;
const arpaOf1 = arpa('fd00007700000000000000000a4d0901');

function ask(name: string, type: string, changes: Partial<AnswerContext> = {}) {
  const answer = answerQuestion(zone, { name, type }, { ...context, ...changes });
  if (answer === 'foreign') throw new Error('foreign');
  return answer;
}

describe('answers', () => {
  it('repeat the letters of the question', () => {
    expect(ask('dB', 'A').answers.map((a) => a.name)).toEqual(['dB', 'dB', 'dB']);
  });

  it('come in another order each time', () => {
    const numbers = [0.1, 0.1, 0.9, 0.9];
    let i = 0;
    const firsts = new Set(
      Array.from({ length: 20 }, () => {
        const first = ask('db', 'A', { random: () => numbers[i++ % numbers.length] ?? 0 })
          .answers[0];
        return first?.type === 'A' ? first.address : '';
      }),
    );
    expect(firsts.size).toBeGreaterThan(1);
  });

  it('to AAAA are empty but not "no such name", for that would hide the A records', () => {
    const answer = ask('db', 'AAAA');
    expect(answer).toMatchObject({ absent: false, answers: [] });
    expect(answer.authorities).toMatchObject([{ type: 'SOA', minimum: 1, serial: 7 }]);
  });

  it('for a service without ready instances are empty: the name exists', () => {
    expect(ask('idle', 'A')).toMatchObject({ absent: false, answers: [] });
    expect(ask('nothing', 'A').absent).toBe(true);
  });

  it('to SRV name port and instance, with addresses', () => {
    const answer = ask('_5432._tcp.db', 'SRV');
    expect(answer.answers).toContainEqual({
      type: 'SRV',
      name: '_5432._tcp.db',
      ttl: 2,
      priority: 0,
      weight: 0,
      port: 5432,
      target: '2.db.p.default.nap.local',
    });
    expect(answer.answers).toHaveLength(3);
    expect(answer.additionals.map((a) => a.name)).toContain('2.db.p.default.nap.local');
    expect(ask('db', 'SRV').answers).toHaveLength(6);
    expect(ask('_5432._udp.db', 'SRV')).toMatchObject({ absent: false, answers: [] });
  });

  it('turn addresses of the overlay into names, and leave other addresses to others', () => {
    expect(ask('2.3.77.10.in-addr.arpa', 'PTR').answers).toMatchObject([
      { type: 'PTR', target: '3.db.p.default.nap.local' },
    ]);
    expect(ask('9.9.77.10.in-addr.arpa', 'PTR').absent).toBe(true);
    const other = { name: '8.8.8.8.in-addr.arpa', type: 'PTR' };
    expect(answerQuestion(zone, other, context)).toBe('foreign');
  });

  it('for a virtual IP are that alone, whether or not an instance is ready, and its name', () => {
    zone.setService(
      { ...asker, service: 'shared' },
      { ports: [], links: [], virtualIP: '10.78.0.9' },
    );
    expect(ask('shared', 'A').answers).toMatchObject([{ type: 'A', address: '10.78.0.9' }]);
    expect(ask('shared', 'AAAA')).toMatchObject({ absent: false, answers: [] });
    expect(ask('9.0.78.10.in-addr.arpa', 'PTR').answers).toMatchObject([
      { type: 'PTR', target: serviceDomain({ ...asker, service: 'shared' }) },
    ]);
  });
});

describe('answers of IPv6', () => {
  it('are the addresses of those instances that have one', () => {
    expect(ask('both', 'AAAA', six).answers).toEqual([
      { type: 'AAAA', name: 'both', ttl: 2, address: 'fd00:77::a4d:901' },
    ]);
    expect(ask('both-1', 'AAAA', six).answers).toHaveLength(1);
    expect(ask('tasks.both', 'AAAA', six).answers).toHaveLength(1);
    expect(ask('both', 'A', six).answers.map(({ type }) => type)).toEqual(['A', 'A']);
    expect(ask('both', 'ANY', six).answers.map(({ type }) => type)).toEqual(['A', 'A', 'AAAA']);
    for (const name of ['both-2', 'both-3', 'db']) {
      expect(ask(name, 'AAAA', six)).toMatchObject({
        ...{ absent: false, answers: [] },
        authorities: [{ type: 'SOA' }],
      });
    }
    expect(ask('nothing', 'AAAA', six).absent).toBe(true);
  });

  it('for a virtual IP are none, and for its instances theirs', () => {
    const name = { ...asker, service: 'fronted' };
    zone.setService(name, { ...records, virtualIP: '10.78.0.8' });
    zone.setEndpoint(name, '1', { address: '10.77.8.1', ipv6: 'fd00:77::a4d:801', ports: [] });
    expect(ask('fronted', 'AAAA', six)).toMatchObject({ absent: false, answers: [] });
    expect(ask('tasks.fronted', 'AAAA', six).answers).toHaveLength(1);
    expect(ask('fronted-1', 'AAAA', six).answers).toHaveLength(1);
    expect(ask(arpa('fd00007700000000000000000a4e0008'), 'PTR', six).absent).toBe(true);
  });

  it('stand beside SRV, after those of IPv4', () => {
    const { additionals } = ask('_80._tcp.both', 'SRV', six);
    expect(additionals.map(({ type }) => type)).toEqual(['A', 'A', 'AAAA']);
    expect(additionals.at(-1)?.name).toBe('1.both.p.default.nap.local');
  });

  it('lead back from ip6.arpa, to whom the asker may know', () => {
    expect(ask(arpaOf1, 'PTR', six).answers).toMatchObject([
      { type: 'PTR', target: '1.both.p.default.nap.local' },
    ]);
    expect(ask(arpaOf1.toUpperCase(), 'PTR', six).answers).toMatchObject([
      { name: arpaOf1.toUpperCase() },
    ]);
    expect(ask(arpaOf1, 'A', six)).toMatchObject({ absent: false, answers: [] });
    expect(ask(arpaOf1, 'PTR', { ...six, asker: 'stranger' }).absent).toBe(true);
    // Of an address whose instance has none in IPv6.
    expect(ask(arpa('fd00007700000000000000000a4d0902'), 'PTR', six).absent).toBe(true);
  });

  it('leave other addresses to others, and what they have not is no name of ours', () => {
    const others = arpa('20010db8000000000000000000000001');
    for (const name of [others, arpaOf1.slice(2), `0.${arpaOf1}`, 'ip6.arpa', `x${arpaOf1}`]) {
      expect(answerQuestion(zone, { name, type: 'PTR' }, { ...context, ...six })).toBe('foreign');
    }
  });

  it('before the overlay is known, are what records say', () => {
    const unknown = { ipv6: {} };
    expect(ask('both', 'AAAA', unknown).answers).toHaveLength(1);
    expect(ask(arpaOf1, 'PTR', unknown).answers).toHaveLength(1);
    const other = { name: arpa('fd00007700000000000000000a4d0999'), type: 'PTR' };
    expect(answerQuestion(zone, other, { ...context, ...unknown })).toBe('foreign');
  });

  it('are none where the overlay carries IPv4 only, whatever records say', () => {
    expect(ask('both', 'AAAA')).toMatchObject({ absent: false, answers: [] });
    expect(ask('both', 'ANY').answers.map(({ type }) => type)).toEqual(['A', 'A']);
    expect(ask('_80._tcp.both', 'SRV').additionals.map(({ type }) => type)).toEqual(['A', 'A']);
    expect(answerQuestion(zone, { name: arpaOf1, type: 'PTR' }, context)).toBe('foreign');
  });
});
