import { describe, expect, it } from 'vitest';
import type { ServiceIdentity } from '../../api/v1alpha1/names.ts';
import { parseCidr, parseIpv4 } from '../address/cidr.ts';
import { ipv6Of, parseIpv6Prefix } from '../address/dual-stack.ts';
import { isolationIpv6Chains, isolationIpv6Sets, withTwins } from './isolation-ipv6.ts';
import { isolationSets, senderElements } from './isolation-rules.ts';
import { Isolation } from './isolation.ts';
import { batchScript, ElementLedger, parseElements } from '../nftables/nft-elements.ts';
import { expectedTags } from '../nftables/ruleset.ts';
import { overlayIpv6Chains } from '../nftables/ruleset-ipv6.ts';

const prefix = parseIpv6Prefix('fd00:77::/64');
const input = {
  network: parseCidr('10.77.0.0/16'),
  subnet: parseCidr('10.77.1.0/24'),
  device: 'nap.1',
  bridge: 'nap0',
};
const at = (project: string, service: string): ServiceIdentity => ({
  namespace: 'default',
  project,
  service,
});

/** What would be written, as `set key data`. */
function written(ledger: ElementLedger): string[] {
  ledger.adopt(new Map());
  const changes = ledger.take()?.changes ?? [];
  return changes
    .filter(({ after }) => after !== undefined)
    .map(({ set, key, after }) => `${set} ${key} ${after ?? ''}`)
    .sort();
}

describe('isolation in IPv6', () => {
  it('has the twin of each element, and nothing else', () => {
    const [ipv4, ipv6] = [new ElementLedger(isolationSets), new ElementLedger(isolationIpv6Sets)];
    const both = withTwins(ipv4, ipv6, prefix);
    const isolation = new Isolation(both);
    isolation.setService(at('shop', 'db'), { mode: 'open', links: [], routed: false });
    isolation.setService(at('shop', 'web'), { mode: 'private', links: [], routed: false });
    for (const [address, service] of [
      ['10.77.1.2', 'db'],
      ['10.77.1.3', 'web'],
      ['10.77.1.4', 'web'],
    ] as const) {
      isolation.setSource(address, at('shop', service));
      isolation.setLocal(address, at('shop', service));
    }
    isolation.setSource('10.77.2.2', at('shop', 'web'));
    isolation.setLocal('10.77.1.4', undefined);
    isolation.update();
    const peer = { subnet: parseCidr('10.77.2.0/24'), mac: '02:00:00:00:00:02' };
    for (const [set, key] of senderElements([peer])) both.put(set, key);
    const expected = written(ipv4).map((line) =>
      line.replace(/10\.77\.\d+\.\d+/, (address) => ipv6Of(prefix, parseIpv4(address))),
    );
    expect(expected.length).toBeGreaterThan(5);
    expect(written(ipv6)).toEqual(expected.sort());
  });

  it('leaves to IPv4 what comes directly', () => {
    const [ipv4, ipv6] = [new ElementLedger(isolationSets), new ElementLedger(isolationIpv6Sets)];
    const both = withTwins(ipv4, ipv6, prefix);
    for (const [set, key] of senderElements([], new Map([['10.77.2.0', '02:00:00:00:00:02']]))) {
      both.put(set, key);
      both.remove(set, key);
      both.put(set, key);
    }
    expect(written(ipv4)).toHaveLength(1);
    expect(written(ipv6)).toEqual([]);
  });

  it('is written to a table of its own, and read as it is printed', () => {
    const ledger = new ElementLedger(isolationIpv6Sets);
    expect(ledger.family).toBe('ip6');
    ledger.put('iso-allowed', 'fd00:77::a4d:102 . 0x00000001');
    ledger.adopt(new Map());
    const script = batchScript(ledger.take()!, ledger.sets);
    expect(script).toContain('add set ip6 nap iso-allowed { type ipv6_addr . mark; }\n');
    expect(script).toContain('add element ip6 nap iso-allowed { fd00:77::a4d:102 . 0x00000001 }\n');
    const listing =
      '\tset iso-allowed {\n\t\ttype ipv6_addr . mark\n\t\telements = { fd00:77::a4d:102 . 0x00000001 }\n\t}\n' +
      '\tmap iso-groups {\n\t\ttype ipv6_addr : mark\n\t\telements = { fd00:77::a4d:102 : 0x00000001,\n\t\t\t     fd00:77::a4d:103 : 0x00000002 }\n\t}\n';
    expect(parseElements(listing)).toEqual(
      new Map([
        ['iso-allowed', new Map([['fd00:77::a4d:102 . 0x00000001', '']])],
        [
          'iso-groups',
          new Map([
            ['fd00:77::a4d:102', '0x00000001'],
            ['fd00:77::a4d:103', '0x00000002'],
          ]),
        ],
      ]),
    );
  });

  it('has masks that fit the size of a host’s subnet', () => {
    const rules = (subnet: string): string =>
      isolationIpv6Chains({ ...input, subnet: parseCidr(subnet) }, prefix)
        .flatMap((chain) => chain.rules)
        .join('\n');
    expect(rules('10.77.1.0/24')).toContain('& ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00 != @');
    expect(rules('10.77.1.0/24')).toContain('ip6 saddr & ::fe == ::');
    expect(rules('10.77.16.0/20')).toContain('& ffff:ffff:ffff:ffff:ffff:ffff:ffff:f000 != @');
    expect(rules('10.77.16.0/20')).toContain('ip6 saddr & ::ffe == ::');
  });

  it('has chains of its own names', () => {
    const chains = [...overlayIpv6Chains(input, prefix), ...isolationIpv6Chains(input, prefix)];
    expect(expectedTags(chains).size).toBe(chains.length);
    for (const { name, family } of chains) {
      expect(name).toMatch(/6-/);
      expect(family).toBe('ip6');
    }
  });
});
