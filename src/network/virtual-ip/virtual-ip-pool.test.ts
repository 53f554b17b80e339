import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseCidr } from '../address/cidr.ts';
import { VirtualIpPool } from './virtual-ip-pool.ts';

const small = parseCidr('10.78.0.0/28');
const owners = Array.from({ length: 20 }, (_, i) => `default/shop/s${i}`);

describe('VirtualIpPool', () => {
  it('never gives two services one address, and a service always the same', () => {
    const owner = fc.constantFrom(...owners);
    const action = fc.oneof(
      fc.record({ type: fc.constant('assign' as const), owner }),
      fc.record({ type: fc.constant('release' as const), owner }),
      fc.record({
        type: fc.constant('adopt' as const),
        owner,
        address: fc.constantFrom('10.78.0.1', '10.78.0.7', '10.79.0.1', '192.0.2.1', 'x'),
      }),
    );
    fc.assert(
      fc.property(fc.array(action, { maxLength: 80 }), (actions) => {
        const pool = new VirtualIpPool(small, [parseCidr('10.79.0.0/28')]);
        const held = new Map<string, string>();
        for (const each of actions) {
          if (each.type === 'release') {
            expect(pool.release(each.owner)).toBe(held.delete(each.owner));
            continue;
          }
          const before = held.get(each.owner);
          const address =
            each.type === 'assign'
              ? pool.assign(each.owner)
              : pool.adopt(each.owner, each.address)
                ? each.address
                : before;
          if (before !== undefined) expect(address).toBe(before);
          if (address !== undefined) held.set(each.owner, address);
        }
        expect(new Set(held.values()).size).toBe(held.size);
        for (const [name, address] of held) expect(pool.addressOf(name)).toBe(address);
      }),
    );
  });

  it('gives out all addresses but the first and the last, then none until one is free', () => {
    const pool = new VirtualIpPool(small);
    const given = owners.map((owner) => pool.assign(owner)).filter((a) => a !== undefined);
    expect(new Set(given).size).toBe(14);
    expect(given).not.toContain('10.78.0.0');
    expect(given).not.toContain('10.78.0.15');
    pool.release(owners[3] ?? '');
    expect(pool.assign(owners[19] ?? '')).toBeDefined();
  });

  it('gives a service that comes again the address that it had, if nobody has it', () => {
    const pool = new VirtualIpPool(parseCidr('10.78.0.0/16'));
    const address = pool.assign('default/shop/web');
    pool.release('default/shop/web');
    expect(new VirtualIpPool(parseCidr('10.78.0.0/16')).assign('default/shop/web')).toBe(address);
  });

  it('lets services keep addresses of a former range, and knows which of those are in use', () => {
    const former = [parseCidr('10.79.0.0/16'), parseCidr('10.80.0.0/16')];
    const pool = new VirtualIpPool(small, former);
    expect(pool.adopt('a', '10.79.3.4')).toBe(true);
    expect(pool.assign('a')).toBe('10.79.3.4');
    expect(pool.inUse()).toEqual([former[0]]);
    expect(pool.adopt('b', '10.81.0.1')).toBe(false);
  });
});
