import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { blockOf, formatCidr, overlaps, parseCidr } from '../address/cidr.ts';
import { chooseSubnet, freeSubnets, isCompatible, type HeldSubnet } from './ipam.ts';
import { overlayConfig } from './overlay-config.ts';

const config = overlayConfig({
  Network: '10.77.0.0/20',
  SubnetLen: 24,
  Backend: { Type: 'vxlan' },
});
const me = '10.0.0.1';

function held(subnet: string, address = '10.0.0.9'): HeldSubnet {
  return { subnet: parseCidr(subnet), address };
}

const arbitraryHeld: fc.Arbitrary<HeldSubnet> = fc.record({
  subnet: fc
    .tuple(fc.integer({ min: 0, max: 17 }), fc.constantFrom(22, 24, 24, 24, 26))
    .map(([i, prefix]) => blockOf(config.network.base + i * 256, prefix)),
  address: fc.constantFrom(me, '10.0.0.2', '10.0.0.3'),
});

describe('choosing a subnet', () => {
  it('takes its own record again, even if another one is free', () => {
    const choice = chooseSubnet(
      config,
      [held('10.77.4.0/24', me)],
      me,
      parseCidr('10.77.9.0/24'),
      () => 0,
    );
    expect(choice).toMatchObject({ type: 'reuse', subnet: parseCidr('10.77.4.0/24'), stale: [] });
  });

  it('of several own records takes the one that its device has, and gives up the others', () => {
    const mine = [held('10.77.4.0/24', me), held('10.77.5.0/24', me)];
    const choice = chooseSubnet(config, mine, me, parseCidr('10.77.5.0/24'), () => 0);
    expect(choice).toEqual({
      type: 'reuse',
      subnet: parseCidr('10.77.5.0/24'),
      stale: [parseCidr('10.77.4.0/24')],
    });
  });

  it('takes the former subnet when nobody has it', () => {
    const choice = chooseSubnet(config, [], me, parseCidr('10.77.9.0/24'), () => 0);
    expect(choice).toMatchObject({
      type: 'create',
      subnet: parseCidr('10.77.9.0/24'),
      previous: true,
    });
  });

  it('drops a record of its own that no longer fits the config', () => {
    const choice = chooseSubnet(config, [held('10.99.1.0/24', me)], me, undefined, () => 0);
    expect(choice).toMatchObject({ type: 'create', stale: [parseCidr('10.99.1.0/24')] });
  });

  it('says when all are taken', () => {
    const all = freeSubnets(config, [], Infinity).map((s) => held(formatCidr(s)));
    expect(chooseSubnet(config, all, me, undefined, () => 0)).toEqual({
      type: 'exhausted',
      total: 15,
    });
  });

  it('never gives out what overlaps another host, and always finds what is free', () => {
    fc.assert(
      fc.property(
        fc.array(arbitraryHeld, { maxLength: 20 }),
        fc.option(fc.integer({ min: 0, max: 17 }), { nil: undefined }),
        fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
        (all, before, random) => {
          const previous =
            before === undefined ? undefined : blockOf(config.network.base + before * 256, 24);
          const choice = chooseSubnet(config, all, me, previous, () => random);
          const others = all.filter((h) => h.address !== me);
          if (choice.type === 'exhausted') {
            expect(
              freeSubnets(
                config,
                others.map((h) => h.subnet),
                Infinity,
              ),
            ).toEqual([]);
            return;
          }
          expect(isCompatible(config, choice.subnet)).toBe(true);
          if (choice.type === 'create') {
            expect(others.filter((h) => overlaps(h.subnet, choice.subnet))).toEqual([]);
          }
        },
      ),
    );
  });

  it('spreads hosts that start together', () => {
    const big = overlayConfig({ Network: '10.77.0.0/16', Backend: { Type: 'vxlan' } });
    const chosen = Array.from({ length: 100 }, (_, i) => {
      const choice = chooseSubnet(big, [], me, undefined, () => (i + 0.5) / 100);
      return choice.type === 'create' ? choice.subnet.base : 0;
    });
    expect(new Set(chosen).size).toBe(100);
  });
});
