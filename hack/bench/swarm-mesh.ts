import { existsSync } from 'node:fs';
import { run } from '../../test/support/command.ts';
import type { BenchCluster } from './bench-cluster.ts';
import { answerPort } from './http-way.ts';
import { measureWays } from './measure-ways.ts';
import type { Swarm } from './swarm.ts';
import { throughputPort } from './throughput.ts';

/** Is there from the moment when the kernel has IPVS, as a module or built in. */
const ipvsTable = '/proc/net/ip_vs';

/** What this machine's kernel lacks of Swarm's routing mesh, which balances by IPVS; undefined: nothing. */
export async function lacksForSwarmMesh(): Promise<string | undefined> {
  // As Docker does: a module is loaded when it is needed. There may be no modprobe, and no module.
  await run(['modprobe', 'ip_vs']).catch(() => undefined);
  if (existsSync(ipvsTable)) return undefined;
  return `the kernel has no IPVS: there is no ${ipvsTable}, and "modprobe ip_vs" does not bring it`;
}

/** Swarm's routing mesh, as nap's (ways.ts): an instance on h2, asked by h1 through h3. */
export async function benchSwarmMesh(cluster: BenchCluster, swarm: Swarm) {
  const { box } = cluster;
  const [client, host, entry] = ['h1', 'h2', box.address('h3')] as const;
  const server = await swarm.publish('mesh', host, [answerPort, throughputPort]);
  try {
    const way = { from: client, address: entry, port: answerPort };
    return await measureWays(box, server, new Map([['mesh', way]]));
  } finally {
    await swarm.remove('mesh');
  }
}
