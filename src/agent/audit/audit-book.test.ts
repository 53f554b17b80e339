import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../../../test/support/virtual-clock.ts';
import { AuditBook } from './audit-book.ts';
import { findings, tableFindings } from './finding.ts';

function book() {
  const clock = new VirtualClock(0);
  const audits = new AuditBook(clock);
  let changes = 0;
  audits.onChange(() => {
    changes += 1;
  });
  return { clock, audits, changes: () => changes };
}

describe('the book of audits', () => {
  it('counts by kind, for ever, and begins with 0 for each', async () => {
    const { audits, clock } = book();
    expect(audits.counts.get('route')).toBe(0);
    audits.repaired([{ kind: 'route', what: 'routes restored', count: 3 }]);
    audits.repaired(findings('chain', ['a restored', 'b restored']));
    await clock.advance(3_600_000);
    expect(audits.counts.get('route')).toBe(3);
    expect(audits.counts.get('chain')).toBe(2);
  });

  it('tells each thing once, until a minute after its last time', async () => {
    const { audits, clock, changes } = book();
    for (let i = 0; i < 100; i++) {
      audits.repaired(findings('device', ['nap.1 made']));
      await clock.advance(1_000);
    }
    expect(audits.recent()).toEqual(['nap.1 made']);
    expect(changes()).toBe(1);
    await clock.advance(58_000);
    expect(audits.recent()).toEqual(['nap.1 made']);
    await clock.advance(2_000);
    expect(audits.recent()).toEqual([]);
    expect(changes()).toBe(2);
  });

  it('forgets things one by one', async () => {
    const { audits, clock } = book();
    audits.repaired(findings('device', ['first']));
    await clock.advance(30_000);
    audits.repaired(findings('sysctl', ['second']));
    await clock.advance(40_000);
    expect(audits.recent()).toEqual(['second']);
  });

  it('asks all who audit, until they have gone', () => {
    const { audits } = book();
    const asked: string[] = [];
    const leave = audits.onRequest(() => asked.push('a'));
    audits.onRequest(() => asked.push('b'));
    audits.request();
    leave();
    audits.request();
    expect(asked).toEqual(['a', 'b', 'b']);
  });
});

describe('differing tables', () => {
  it('are one finding for each table, with the number of entries', () => {
    expect(
      tableFindings([
        { type: 'set-route', destination: '10.77.2.0/24', via: '10.77.2.0' },
        { type: 'delete-route', destination: '10.77.3.0/24' },
        { type: 'set-forwarding', mac: '02:00:00:00:00:01', address: '192.0.2.1' },
      ]),
    ).toEqual([
      { kind: 'route', count: 2, what: 'routes of the overlay restored' },
      { kind: 'forwarding', count: 1, what: 'forwarding entries of the overlay restored' },
    ]);
  });
});
