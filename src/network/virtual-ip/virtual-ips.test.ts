import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseCidr } from '../address/cidr.ts';
import { ElementLedger } from '../nftables/nft-elements.ts';
import { meshSets } from './mesh-rules.ts';
import { endpointMap, hairpinSet, spreadMap, virtualIpSets } from './virtual-ip-rules.ts';
import { affinitySlots, affinityTable, VirtualIps, type BalancedService } from './virtual-ips.ts';

const subnet = parseCidr('10.77.1.0/24');

/** The ledger and builder of one host, and what a connection would find. */
class Host {
  readonly ledger = new ElementLedger([...virtualIpSets, ...meshSets]);
  readonly ips = new VirtualIps(this.ledger, subnet);
  writes = 0;

  constructor() {
    this.ledger.adopt(new Map());
  }

  flush(): readonly string[] {
    const departures = this.ips.update();
    const batch = this.ledger.take();
    if (batch !== undefined) this.ledger.settle(batch);
    this.writes = batch?.changes.length ?? 0;
    return departures.map(({ front, address }) => `${front} ${address}`).sort();
  }

  /** Where connections go; with affinity, by slot. */
  endpoints(virtualIP: string): readonly string[] {
    const [, kind, count] =
      /^goto (spread|hash)-(\d+)$/.exec(this.ledger.get(spreadMap, virtualIP) ?? '') ?? [];
    if (kind === undefined) return [];
    const slots = Array.from(
      { length: Number(count) },
      (_, slot) => this.ledger.get(endpointMap, `${virtualIP} . ${slot}`) ?? 'nothing',
    );
    expect(this.ledger.get(endpointMap, `${virtualIP} . ${count}`)).toBeUndefined();
    return kind === 'spread' ? slots.sort() : slots;
  }
}

function service(virtualIP: string, more: Partial<BalancedService> = {}): BalancedService {
  return { virtualIP, affinity: false, preferLocal: false, ...more };
}

describe('VirtualIps', () => {
  it('spreads over the endpoints that there are, each once', () => {
    const host = new Host();
    host.ips.setService('web', service('10.78.0.1'));
    for (const n of [1, 2, 3]) host.ips.setEndpoint('web', String(n), `10.77.${n}.2`);
    host.flush();
    expect(host.endpoints('10.78.0.1')).toEqual(['10.77.1.2', '10.77.2.2', '10.77.3.2']);
    host.ips.setEndpoint('web', '1', undefined);
    expect(host.flush()).toEqual(['10.78.0.1 10.77.1.2']);
    expect(host.endpoints('10.78.0.1')).toEqual(['10.77.2.2', '10.77.3.2']);
  });

  it('has nothing for a service without endpoints, so that it is refused', () => {
    const host = new Host();
    host.ips.setService('web', service('10.78.0.1'));
    host.ips.setEndpoint('web', '1', '10.77.1.2');
    host.flush();
    host.ips.setEndpoint('web', '1', undefined);
    host.flush();
    expect(host.ledger.get(spreadMap, '10.78.0.1')).toBeUndefined();
    expect(host.ledger.get(endpointMap, '10.78.0.1 . 0')).toBeUndefined();
  });

  it('changes a few elements for one endpoint, however many there are', () => {
    const host = new Host();
    for (let s = 0; s < 100; s++) {
      host.ips.setService(`s${s}`, service(`10.78.0.${s}`));
      for (let e = 0; e < 50; e++) host.ips.setEndpoint(`s${s}`, String(e), `10.77.${e}.${s}`);
    }
    host.flush();
    host.ips.setEndpoint('s7', '13', undefined);
    host.flush();
    // The last slot moves into the gap, and the choice is of one less.
    expect(host.writes).toBe(3);
    host.ips.setEndpoint('s7', '13', '10.77.99.7');
    host.flush();
    expect(host.writes).toBe(2);
  });

  it('prefers endpoints of this host where that is asked for, and takes others when there is none', () => {
    const host = new Host();
    host.ips.setService('web', service('10.78.0.1', { preferLocal: true }));
    host.ips.setEndpoint('web', '1', '10.77.1.2');
    host.ips.setEndpoint('web', '2', '10.77.2.2');
    host.flush();
    expect(host.endpoints('10.78.0.1')).toEqual(['10.77.1.2']);
    host.ips.setEndpoint('web', '1', undefined);
    host.flush();
    expect(host.endpoints('10.78.0.1')).toEqual(['10.77.2.2']);
  });

  it('knows its own endpoints, which may reach themselves', () => {
    const host = new Host();
    host.ips.setService('web', service('10.78.0.1'));
    host.ips.setEndpoint('web', '1', '10.77.1.2');
    host.ips.setEndpoint('web', '2', '10.77.2.2');
    host.flush();
    expect(host.ledger.get(hairpinSet, '10.77.1.2 . 10.77.1.2')).toBe('');
    expect(host.ledger.get(hairpinSet, '10.77.2.2 . 10.77.2.2')).toBeUndefined();
    host.ips.setEndpoint('web', '1', undefined);
    host.flush();
    expect(host.ledger.get(hairpinSet, '10.77.1.2 . 10.77.1.2')).toBeUndefined();
  });

  it('gives a virtual IP that two claim to the first by name, and to the other one when that is gone', () => {
    const host = new Host();
    host.ips.setService('b', service('10.78.0.1'));
    host.ips.setEndpoint('b', '1', '10.77.2.2');
    host.flush();
    host.ips.setService('a', service('10.78.0.1'));
    host.ips.setEndpoint('a', '1', '10.77.3.2');
    host.flush();
    expect(host.endpoints('10.78.0.1')).toEqual(['10.77.3.2']);
    host.ips.setService('a', undefined);
    host.flush();
    expect(host.endpoints('10.78.0.1')).toEqual(['10.77.2.2']);
  });
});

describe('affinity', () => {
  const addresses = Array.from({ length: 8 }, (_, i) => `10.77.${i}.2`);

  it('gives each endpoint about its share, and depends on no order', () => {
    const table = affinityTable(addresses);
    expect(affinityTable(addresses.toReversed())).toEqual(table);
    for (const address of addresses) {
      const share = table.filter((each) => each === address).length;
      expect(share).toBeGreaterThan(affinitySlots / addresses.length / 2);
      expect(share).toBeLessThan((affinitySlots / addresses.length) * 2);
    }
  });

  it('moves only the clients of an endpoint that goes', () => {
    const host = new Host();
    host.ips.setService('web', service('10.78.0.1', { affinity: true }));
    addresses.forEach((address, i) => {
      host.ips.setEndpoint('web', String(i), address);
    });
    host.flush();
    const before = host.endpoints('10.78.0.1');
    expect(before).toHaveLength(affinitySlots);
    host.ips.setEndpoint('web', '3', undefined);
    host.flush();
    const after = host.endpoints('10.78.0.1');
    before.forEach((address, slot) => {
      if (address === '10.77.3.2') expect(after[slot]).not.toBe('10.77.3.2');
      else expect(after[slot]).toBe(address);
    });
    expect(host.writes).toBe(before.filter((address) => address === '10.77.3.2').length);
  });
});

describe('changes, in any order and in any batches,', () => {
  const id = fc.constantFrom('a', 'b', 'c');
  const virtualIP = fc.constantFrom('10.78.0.1', '10.78.0.2');
  const change = fc.oneof(
    fc.record({
      type: fc.constant('service' as const),
      id,
      service: fc.option(
        fc.record({ virtualIP, affinity: fc.boolean(), preferLocal: fc.boolean() }),
        { nil: undefined },
      ),
    }),
    fc.record({
      type: fc.constant('endpoint' as const),
      id,
      seat: fc.constantFrom('1', '2', '3'),
      address: fc.option(fc.constantFrom('10.77.1.2', '10.77.1.3', '10.77.2.2', '10.77.2.3'), {
        nil: undefined,
      }),
    }),
    fc.constant({ type: 'flush' as const }),
  );

  it('give what building from nothing gives', () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 60 }), (changes) => {
        const host = new Host();
        const services = new Map<string, BalancedService | undefined>();
        const endpoints = new Map<string, string | undefined>();
        for (const each of changes) {
          if (each.type === 'flush') host.flush();
          else if (each.type === 'service') {
            host.ips.setService(each.id, each.service);
            services.set(each.id, each.service);
          } else {
            host.ips.setEndpoint(each.id, each.seat, each.address);
            endpoints.set(`${each.id} ${each.seat}`, each.address);
          }
        }
        host.flush();
        const fresh = new Host();
        for (const [key, address] of endpoints) {
          const [owner = '', seat = ''] = key.split(' ');
          fresh.ips.setEndpoint(owner, seat, address);
        }
        for (const [owner, each] of services) fresh.ips.setService(owner, each);
        fresh.flush();
        for (const ip of ['10.78.0.1', '10.78.0.2']) {
          expect(host.endpoints(ip)).toEqual(fresh.endpoints(ip));
          for (const address of ['10.77.1.2', '10.77.2.2']) {
            expect(host.ips.leadsTo(ip, address)).toBe(host.endpoints(ip).includes(address));
          }
        }
        for (const own of ['10.77.1.2', '10.77.1.3']) {
          const pair = `${own} . ${own}`;
          expect(host.ledger.get(hairpinSet, pair)).toBe(fresh.ledger.get(hairpinSet, pair));
        }
        expect(host.ledger.take()).toBeUndefined();
      }),
    );
  });
});
