import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../../../test/support/virtual-clock.ts';
import { parseCidr } from '../../network/address/cidr.ts';
import { parseIpv6Prefix } from '../../network/address/dual-stack.ts';
import { closedIpv6Chain, isolationIpv6Chains } from '../../network/isolation/isolation-ipv6.ts';
import { ruleTag, type Chain } from '../../network/nftables/ruleset.ts';
import { silentLogger } from '../../telemetry/log.ts';
import type { Exec } from './exec.ts';
import { IsolationKeeper } from './isolation-keeper.ts';

const rules = {
  network: parseCidr('10.77.0.0/16'),
  subnet: parseCidr('10.77.1.0/24'),
  device: 'nap.1',
  bridge: 'nap0',
};
const prefix = parseIpv6Prefix('fd00:77::/64');

/** Scripts that `closeIpv6` gives nft where an earlier agent has left these chains. */
async function written(left: readonly Chain[], ipv6 = true): Promise<readonly string[]> {
  const scripts: string[] = [];
  const nftables = left.flatMap((chain) => {
    const { name, family = 'ip', base } = chain;
    const at = { family, table: 'nap' };
    return [
      { chain: { ...at, name, type: base?.type, hook: base?.hook, prio: base?.priority } },
      ...chain.rules.map((_, i) => ({
        rule: { ...at, chain: name, comment: ruleTag(chain, i) },
      })),
    ];
  });
  const exec: Exec = (_, __, options) => {
    if (options?.input !== undefined) scripts.push(options.input);
    return Promise.resolve({ stdout: JSON.stringify({ nftables }), stderr: '' });
  };
  const keeper = new IsolationKeeper({
    exec,
    services: { synced: false, complete: false, subscribe: () => () => undefined },
    addresses: {
      feed: { synced: false, complete: false, subscribe: () => () => undefined },
      book: {
        known: false,
        addresses: () => new Set<string>(),
        holderOf: () => undefined,
        onChange: () => () => undefined,
      },
    },
    rules: { ...rules, ...(ipv6 && { ipv6: prefix }) },
    clock: new VirtualClock(),
    log: silentLogger,
    auditIntervalMs: 30_000,
    onProblem: () => undefined,
    onRepairs: () => undefined,
  });
  await keeper.closeIpv6();
  return scripts;
}

describe('IsolationKeeper.closeIpv6', () => {
  it('lets nobody in where there are no rules', async () => {
    expect(await written([])).toEqual([
      expect.stringMatching(/add rule ip6 nap isolation6-forward drop/),
    ]);
    expect(await written([], false)).toEqual([]);
  });

  it('leaves rules for the same addresses in force', async () => {
    expect(await written(isolationIpv6Chains(rules, prefix))).toEqual([]);
    expect(await written([closedIpv6Chain(rules, prefix)])).toEqual([]);
  });

  it.each([
    ['another subnet', { ...rules, subnet: parseCidr('10.77.2.0/24') }, prefix],
    ['another prefix', rules, parseIpv6Prefix('fd00:78::/64')],
  ])('takes rules for %s, which would let everybody in, for none', async (_, input, other) => {
    expect(await written(isolationIpv6Chains(input, other))).toHaveLength(1);
    expect(await written([closedIpv6Chain(input, other)])).toHaveLength(1);
  });
});
