/**
 * Prints the median time, ms, of a change of one endpoint of one among so many services with ten endpoints each, made by the network
 * that this program is in as an agent makes it.
 *
 *   rule-update-probe.ts SERVICES
 */
import { ElementApplier } from '../../src/agent/host/element-applier.ts';
import { hostExec } from '../../src/agent/host/exec.ts';
import { nftInProcess } from '../../src/agent/host/nft-library.ts';
import { parseCidr } from '../../src/network/address/cidr.ts';
import { ElementLedger } from '../../src/network/nftables/nft-elements.ts';
import { virtualIpSets } from '../../src/network/virtual-ip/virtual-ip-rules.ts';
import { VirtualIps } from '../../src/network/virtual-ip/virtual-ips.ts';
import { silentLogger } from '../../src/telemetry/log.ts';
import { median } from './statistics.ts';

const services = Number(process.argv[2]);
const ledger = new ElementLedger(virtualIpSets);
const applier = new ElementApplier(
  nftInProcess(hostExec(), { log: silentLogger }),
  ledger,
  () => false,
);
const ips = new VirtualIps(ledger, parseCidr('10.77.1.0/24'));
for (let s = 0; s < services; s++) {
  const virtualIP = `10.78.${Math.floor(s / 250)}.${(s % 250) + 1}`;
  ips.setService(`s${s}`, { virtualIP, affinity: false, preferLocal: false });
  for (let e = 0; e < 10; e++) {
    ips.setEndpoint(`s${s}`, String(e), `10.77.${e * 25 + Math.floor((s / 250) % 25)}.${s % 250}`);
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
process.stdout.write(`${median(times)}\n`);
process.exit();
