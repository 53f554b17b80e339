import { ElementApplier } from '../../src/agent/host/element-applier.ts';
import { hostExec } from '../../src/agent/host/exec.ts';
import { parseCidr } from '../../src/network/address/cidr.ts';
import { ElementLedger } from '../../src/network/nftables/nft-elements.ts';
import { virtualIpSets } from '../../src/network/virtual-ip/virtual-ip-rules.ts';
import { VirtualIps } from '../../src/network/virtual-ip/virtual-ips.ts';
import { median, rounded } from './statistics.ts';

/** (g) Time of a rule update by the number of services, ms. */
export async function benchRuleUpdates() {
  return {
    update_10_ms: await updateTime(10),
    update_1k_ms: await updateTime(1_000),
    update_10k_ms: await updateTime(10_000),
  };
}

/** Median time, ms, of a change of one endpoint of one among `services` with ten endpoints each, with the real nft. */
async function updateTime(services: number): Promise<number> {
  const root = hostExec();
  const name = `bench-vip-${services}`;
  await root('ip', ['netns', 'add', name]);
  try {
    const exec = hostExec(['nsenter', `--net=/var/run/netns/${name}`]);
    const ledger = new ElementLedger(virtualIpSets);
    const applier = new ElementApplier(exec, ledger, () => false);
    const ips = new VirtualIps(ledger, parseCidr('10.77.1.0/24'));
    for (let s = 0; s < services; s++) {
      const virtualIP = `10.78.${Math.floor(s / 250)}.${(s % 250) + 1}`;
      ips.setService(`s${s}`, { virtualIP, affinity: false, preferLocal: false });
      for (let e = 0; e < 10; e++) {
        ips.setEndpoint(
          `s${s}`,
          String(e),
          `10.77.${e * 25 + Math.floor((s / 250) % 25)}.${s % 250}`,
        );
      }
    }
    ips.update();
    await applier.flush();
    const times: number[] = [];
    for (let i = 0; i < 40; i++) {
      const id = `s${(i * 7) % services}`;
      const startedAt = performance.now();
      ips.setEndpoint(id, '3', undefined);
      ips.update();
      await applier.flush();
      times.push(performance.now() - startedAt);
      ips.setEndpoint(id, '3', `10.77.251.${i}`);
      ips.update();
      await applier.flush();
    }
    return rounded(median(times));
  } finally {
    await root('ip', ['netns', 'del', name]);
  }
}
