import { describe, expect, it } from 'vitest';
import { parseCidr } from './cidr.ts';
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
