import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AcmeOrderRecord } from '../../registry/records/acme.ts';
import type { ObtainedCertificate } from '../routes/resolve.ts';
import type { CertificateWish } from '../routes/route-table.ts';
import {
  afterFailure,
  dueAt,
  mostAtOnce,
  planCertificates,
  type CertificateFacts,
} from './plan.ts';

const directory = 'https://a.test/dir';
const day = 86_400_000;
const now = Date.parse('2026-06-01T00:00:00Z');

function wish(host: string, more: Partial<CertificateWish> = {}): CertificateWish {
  const service = 'default/shop/web';
  return { host, service, secret: `acme.${host}`, unreadable: false, foreign: false, ...more };
}

/** Of 90 days, of which some have passed. */
function certificate(age: number, from = directory): ObtainedCertificate {
  const notBefore = now - age * day;
  return { notBefore, notAfter: notBefore + 90 * day, directory: from };
}

function order(more: Partial<AcmeOrderRecord> = {}): AcmeOrderRecord {
  return { directory, failures: 0, outages: 0, ...more };
}

function plan(wishes: CertificateWish[], more: Partial<CertificateFacts> = {}) {
  return planCertificates({
    ...{ nowMs: now, directory, wishes, orders: new Map(), challenges: new Map() },
    ...{ running: new Set(), pausedUntilMs: 0, routers: true, ...more },
  });
}

const hostsOf = (wishes: readonly CertificateWish[]): string[] => wishes.map(({ host }) => host);

describe('which certificates are obtained', () => {
  it('are those that are not there, and those whose life has run for two thirds', () => {
    expect(hostsOf(plan([wish('a.test')]).start)).toEqual(['a.test']);
    const fresh = plan([wish('a.test', { certificate: certificate(59) })]);
    expect(fresh).toMatchObject({ start: [], nextAtMs: now + day });
    const old = plan([wish('a.test', { certificate: certificate(60) })]);
    expect(hostsOf(old.start)).toEqual(['a.test']);
  });

  it('are those of another authority; those of other people never', () => {
    const other = certificate(1, 'https://b.test/dir');
    expect(plan([wish('a.test', { certificate: other })]).start).toHaveLength(1);
    const { notBefore, notAfter } = certificate(89);
    const mine = wish('a.test', { certificate: { notBefore, notAfter } });
    expect(plan([mine])).toMatchObject({ start: [] });
    expect(plan([mine]).nextAtMs).toBeUndefined();
    expect(plan([wish('a.test', { foreign: true })]).start).toEqual([]);
    expect(plan([wish('a.test', { unreadable: true })]).start).toEqual([]);
  });

  it('wait for a router, for the time that was set, and for an authority that is left alone', () => {
    expect(plan([wish('a.test')], { routers: false }).start).toEqual([]);
    const later = new Date(now + 5_000).toISOString();
    const orders = new Map([['a.test', order({ failures: 3, retryAt: later })]]);
    expect(plan([wish('a.test')], { orders })).toMatchObject({ start: [], nextAtMs: now + 5_000 });
    // What another authority said does not count here.
    const moved = new Map([['a.test', order({ directory: 'https://b.test/', retryAt: later })]]);
    expect(plan([wish('a.test')], { orders: moved }).start).toHaveLength(1);
    const paused = { pausedUntilMs: now + 7_000 };
    expect(plan([wish('a.test')], paused)).toMatchObject({ start: [], nextAtMs: now + 7_000 });
  });

  it('are a few at a time: orders that were begun, then hosts that have nothing, then by what ends first', () => {
    const wishes = [
      wish('old.test', { certificate: certificate(80) }),
      wish('older.test', { certificate: certificate(85) }),
      wish('z.test'),
      wish('begun.test', { certificate: certificate(70) }),
      wish('y.test'),
    ];
    const orders = new Map([['begun.test', order({ order: 'https://a.test/order/1' })]]);
    const all = ['begun.test', 'y.test', 'z.test', 'older.test', 'old.test'];
    expect(hostsOf(plan(wishes, { orders }).start)).toEqual(all.slice(0, mostAtOnce));
    const running = new Set(['y.test', 'begun.test']);
    expect(hostsOf(plan(wishes, { orders, running }).start)).toEqual(['z.test', 'older.test']);
  });

  it('leave nothing behind: neither orders nor challenges that nobody asks for', () => {
    const challenges = new Map([
      ['t1', 'gone.test'],
      ['t2', 'a.test'],
      ['t3', 'done.test'],
    ]);
    const orders = new Map(['gone.test', 'a.test', 'done.test'].map((host) => [host, order()]));
    const wishes = [wish('a.test'), wish('done.test', { certificate: certificate(1) })];
    const running = new Set(['gone.test']);
    const first = plan(wishes, { challenges, orders, running });
    // What is worked on still writes; it is stopped first.
    expect(first).toMatchObject({ stop: ['gone.test'], forgetOrders: ['done.test'] });
    expect(first.forgetChallenges).toEqual(['t3']);
    const then = plan(wishes, { challenges, orders });
    expect(then.forgetOrders.toSorted()).toEqual(['done.test', 'gone.test']);
    expect(then.forgetChallenges).toEqual(['t1', 't3']);
  });

  const facts = fc.record({
    wishes: fc.uniqueArray(
      fc.record({
        n: fc.nat(20),
        age: fc.option(fc.nat(100)),
        flaw: fc.constantFrom('', 'foreign', 'unreadable'),
      }),
      { selector: ({ n }) => n },
    ),
    orders: fc.array(fc.record({ n: fc.nat(25), waitMs: fc.integer({ min: -9, max: 99 }) })),
    running: fc.uniqueArray(fc.nat(25), { maxLength: 6 }),
    pause: fc.integer({ min: -9, max: 99 }),
    routers: fc.boolean(),
  });

  it('are never too many, never twice, never too soon; and the time that is named is the one', () => {
    fc.assert(
      fc.property(facts, ({ wishes, orders, running, pause, routers }) => {
        const host = (n: number): string => `h${n}.test`;
        const wished = wishes.map(({ n, age, flaw }) =>
          wish(host(n), {
            ...(age === null ? {} : { certificate: certificate(age) }),
            ...{ foreign: flaw === 'foreign', unreadable: flaw === 'unreadable' },
          }),
        );
        const known = new Map(
          orders.map(({ n, waitMs }) => [
            host(n),
            order({ retryAt: new Date(now + waitMs).toISOString() }),
          ]),
        );
        const busy = new Set(running.map(host));
        const more = { orders: known, running: busy, pausedUntilMs: now + pause, routers };
        const result = plan(wished, more);
        expect(busy.size + result.start.length).toBeLessThanOrEqual(
          Math.max(mostAtOnce, busy.size),
        );
        for (const { host: each, certificate: has, foreign, unreadable } of result.start) {
          expect(routers && pause <= 0 && !busy.has(each) && !foreign && !unreadable).toBe(true);
          expect(dueAt(has, directory)).toBeLessThanOrEqual(now);
          expect(Date.parse(known.get(each)?.retryAt ?? '') > now).toBe(false);
        }
        if (result.nextAtMs === undefined) return;
        expect(result.nextAtMs).toBeGreaterThan(now);
        // A moment before, nothing else would be begun than now.
        const before = plan(wished, { ...more, nowMs: result.nextAtMs - 1 });
        expect(hostsOf(before.start)).toEqual(hostsOf(result.start));
      }),
      { numRuns: 300 },
    );
  });
});

describe('a try that failed', () => {
  const at = (nowMs: number, url?: string) => ({ directory, order: url, nowMs });
  const wait = (record: AcmeOrderRecord, nowMs: number): number =>
    Date.parse(record.retryAt ?? '') - nowMs;

  it('is repeated ever more rarely when it was refused, with another order: at most five times in the first hour', () => {
    let record: AcmeOrderRecord | undefined;
    let time = now;
    const tries: number[] = [];
    const failure = { kind: 'refused', message: 'no' } as const;
    for (let n = 0; n < 20; n++) {
      tries.push(time);
      record = afterFailure(record, failure, at(time, 'https://a.test/order/1'), 0);
      expect(record).toMatchObject({ failures: n + 1, problem: 'no' });
      expect(record.order).toBeUndefined();
      time = Date.parse(record.retryAt ?? '');
    }
    expect(tries.filter((each) => each - now < 3_600_000)).toHaveLength(5);
    expect(wait(record!, tries.at(-1)!)).toBe(6 * 3_600_000);
  });

  it('keeps its order when nobody answered, and is repeated within minutes, or when the authority says', () => {
    const away = { kind: 'away', message: 'nobody there' } as const;
    let record: AcmeOrderRecord | undefined = order({ failures: 2 });
    for (let n = 1; n <= 12; n++) {
      record = afterFailure(record, away, at(now, 'https://a.test/order/1'), 0.5);
      expect(record).toMatchObject({ failures: 2, outages: n, order: 'https://a.test/order/1' });
    }
    expect(wait(record, now)).toBe(630_000);
    const limited = afterFailure(record, { ...away, retryAfterMs: 7_200_000 }, at(now), 0.5);
    expect(wait(limited, now)).toBe(7_200_000);
    expect(afterFailure(limited, { kind: 'refused', message: '' }, at(now), 0).outages).toBe(0);
  });
});
