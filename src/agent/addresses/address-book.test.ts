import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseCidr } from '../../network/address/cidr.ts';
import type { OwnedContainer } from '../ownership.ts';
import { AddressBook } from './address-book.ts';

const web = { namespace: 'default', project: 'shop', service: 'web' };
const db = { namespace: 'default', project: 'shop', service: 'db' };

function container(
  id: string,
  address: string,
  state: OwnedContainer['state'] = 'running',
  service = web,
): OwnedContainer {
  return {
    ...{ id, state, pid: 7, key: { ...service, ordinal: '1' } },
    addresses: state === 'running' ? { nap: address } : {},
    assigned: { nap: address },
  } as unknown as OwnedContainer;
}

function book(subnet = '10.77.1.0/29') {
  let now = 0;
  const result = new AddressBook('nap', () => now);
  result.subnet = parseCidr(subnet);
  result.complete();
  return { book: result, pass: (ms: number) => void (now += ms) };
}

describe('AddressBook', () => {
  it('gives out from the upper end, each address once, but not the host’s own', () => {
    const { book: one } = book();
    const given = [1, 2, 3, 4, 5].map(() => one.reserve(web));
    expect(given).toEqual(['10.77.1.6', '10.77.1.5', '10.77.1.4', '10.77.1.3', '10.77.1.2']);
    // The engine has to find one then, or to say that there is none.
    expect(one.reserve(web)).toBeUndefined();
    one.release('10.77.1.4');
    expect(one.reserve(web)).toBe('10.77.1.4');
  });

  it('gives out none before all containers of the host are known, nor without a subnet', () => {
    const unknown = new AddressBook('nap', () => 0);
    unknown.subnet = parseCidr('10.77.1.0/24');
    expect(unknown.reserve(web)).toBeUndefined();
    const nowhere = new AddressBook('nap', () => 0);
    nowhere.complete();
    expect(nowhere.reserve(web)).toBeUndefined();
  });

  it('takes up again as late as may be what has become free', () => {
    const { book: one } = book();
    const first = one.reserve(web)!;
    one.release(first);
    expect([1, 2, 3, 4].map(() => one.reserve(web))).not.toContain(first);
    expect(one.reserve(web)).toBe(first);
  });

  it('leaves one that the engine has refused alone for a while', () => {
    const { book: one, pass } = book('10.77.1.0/30');
    one.refuse('10.77.1.2');
    expect(one.reserve(web)).toBeUndefined();
    pass(600_000);
    expect(one.reserve(web)).toBe('10.77.1.2');
  });

  it('gives the address of a job that has ended last, and then it is the new one’s', () => {
    const { book: one } = book('10.77.1.0/29');
    one.update('shop/db/1', [container('old', '10.77.1.6', 'exited', db)]);
    expect(one.holderOf('10.77.1.6')?.owner).toEqual(db);
    for (let n = 0; n < 4; n++) expect(one.reserve(web)).not.toBe('10.77.1.6');
    expect(one.reserve(web)).toBe('10.77.1.6');
    expect(one.holderOf('10.77.1.6')?.owner).toEqual(web);
  });

  it('tells of each address whose holder changes, and only of those', () => {
    const { book: one } = book();
    const told: (string | undefined)[] = [];
    one.onChange((address) => told.push(address));
    one.update('a', [container('c1', '10.77.1.5')]);
    one.update('a', [container('c1', '10.77.1.5')]);
    expect(told.splice(0)).toEqual(['10.77.1.5']);
    one.update('a', [container('c1', '10.77.1.4')]);
    expect(told.splice(0).sort()).toEqual(['10.77.1.4', '10.77.1.5']);
    one.update('a', []);
    expect(told).toEqual(['10.77.1.4']);
    expect(one.addresses().size).toBe(0);
  });

  it('never gives out what somebody has, whatever has happened', () => {
    const last = fc.integer({ min: 2, max: 14 });
    const event = fc.oneof(
      fc.record({ type: fc.constant('reserve' as const) }),
      fc.record({ type: fc.constant('release' as const), last }),
      fc.record({
        type: fc.constant('runs' as const),
        last,
        instance: fc.constantFrom('a', 'b', 'c'),
        state: fc.constantFrom('running' as const, 'created' as const, 'exited' as const),
      }),
      fc.record({ type: fc.constant('gone' as const), instance: fc.constantFrom('a', 'b', 'c') }),
    );
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (events) => {
        const { book: one } = book('10.77.1.0/28');
        const reserved = new Set<string>();
        const living = new Map<string, string>();
        for (const each of events) {
          if (each.type === 'reserve') {
            const address = one.reserve(web);
            const taken = new Set([...reserved, ...living.values()]);
            if (address === undefined) expect(taken.size).toBe(13);
            else {
              expect(taken).not.toContain(address);
              reserved.add(address);
            }
          } else if (each.type === 'release') {
            one.release(`10.77.1.${each.last}`);
            reserved.delete(`10.77.1.${each.last}`);
          } else if (each.type === 'gone') {
            one.update(each.instance, []);
            living.delete(each.instance);
          } else {
            const address = `10.77.1.${each.last}`;
            one.update(each.instance, [container(`c-${each.instance}`, address, each.state)]);
            if (each.state === 'exited') living.delete(each.instance);
            else living.set(each.instance, address);
          }
        }
      }),
    );
  });
});
