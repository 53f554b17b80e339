/**
 * Measures nap on a cluster in a box against the raw limits of the same machine and against Swarm mode on the same engines, in
 * one run. Prints a table and writes .nap/bench.json. A part that cannot run says why and does not stop the others.
 *
 *   tsx hack/bench/main.ts [PART...]      parts: see `parts` below
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { benchAgents } from './agents.ts';
import { BenchCluster } from './bench-cluster.ts';
import { benchDns } from './dns.ts';
import { benchFailover } from './failover.ts';
import { benchIdle } from './idle.ts';
import { benchOverlay } from './overlay.ts';
import { benchPropagation } from './propagation.ts';
import { benchResolve } from './resolve.ts';
import { benchRuleUpdates } from './rule-updates.ts';
import { benchScheduler } from './scheduler.ts';
import { benchStart60 } from './start60.ts';
import { benchZeroDrop } from './zero-drop.ts';
import { Swarm } from './swarm.ts';
import { benchSwarmMesh, lacksForSwarmMesh } from './swarm-mesh.ts';
import { table, type Results } from './table.ts';
import { benchWays } from './ways.ts';

const cluster = new BenchCluster();
const swarm = new Swarm(cluster.box);
let swarmIsUp = false;

async function withSwarm<T>(measure: () => Promise<T>): Promise<T> {
  if (!swarmIsUp) await swarm.up();
  swarmIsUp = true;
  return measure();
}

/** In this order: Swarm's engines carry more when idle, so what is idle is measured before there is a Swarm. */
const parts: Record<string, () => unknown> = {
  scheduler: () => benchScheduler(),
  dns: () => benchDns(),
  agents: () => benchAgents(),
  ruleUpdates: () => benchRuleUpdates(),
  idle: () => benchIdle(cluster),
  resolve: () => benchResolve(cluster),
  overlay: () => benchOverlay(cluster),
  zeroDrop: () => benchZeroDrop(cluster),
  traffic: () => benchWays(cluster),
  propagation: () => benchPropagation(cluster),
  start60: () => withSwarm(() => benchStart60(cluster, swarm)),
  failover: () => withSwarm(() => benchFailover(cluster, swarm)),
  swarmMesh: async () => {
    const lack = await lacksForSwarmMesh();
    if (lack !== undefined) return { not_here: lack };
    return withSwarm(() => benchSwarmMesh(cluster, swarm));
  },
};

const chosen = process.argv.slice(2);
const unknown = chosen.filter((part) => !(part in parts));
if (unknown.length > 0) {
  process.stderr.write(
    `there is no part ${unknown.join(', ')}; there are: ${Object.keys(parts).join(', ')}\n`,
  );
  process.exit(2);
}

const withoutHosts: ReadonlySet<string> = new Set(['scheduler', 'dns', 'agents', 'ruleUpdates']);

/** Whether all parts chosen run without hosts. */
function needNoCluster(parts: readonly string[]): boolean {
  return parts.length > 0 && parts.every((part) => withoutHosts.has(part));
}

const results: Results = {};
const withCluster = !needNoCluster(chosen);
try {
  if (withCluster) await cluster.up();
  for (const [name, measure] of Object.entries(parts)) {
    if (chosen.length > 0 && !chosen.includes(name)) continue;
    process.stderr.write(`measuring ${name} …\n`);
    try {
      results[name] = (await measure()) as Record<string, number | string>;
    } catch (error) {
      results[name] = { could_not_run: error instanceof Error ? error.message : String(error) };
    }
  }
} finally {
  // Without hosts of its own, it would take away those of a run that goes on elsewhere.
  if (withCluster) {
    await swarm.down();
    await cluster.down();
  }
}
await mkdir('.nap', { recursive: true });
await writeFile('.nap/bench.json', JSON.stringify(results, null, 2) + '\n');
process.stdout.write(table(results));
process.exit(Object.values(results).some((part) => 'could_not_run' in part) ? 1 : 0);
