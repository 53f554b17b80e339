import { eventually } from '../../test/support/eventually.ts';
import { benchHosts, benchImage, type BenchCluster } from './bench-cluster.ts';
import { StartWatch } from './starts.ts';
import { median, rounded } from './statistics.ts';
import type { Swarm } from './swarm.ts';

const instances = 6;
const runs = 3;
const limitMs = 120_000;
/** Swarm's manager is on h1: the host that is cut off only works. */
const victim = 'h3';
const others = benchHosts.filter((host) => host !== victim);

/** (b) From cutting a host off to its replacements running elsewhere, in seconds. */
export async function benchFailover(cluster: BenchCluster, swarm: Swarm) {
  const nap: number[] = [];
  const bySwarm: number[] = [];
  for (let run = 0; run < runs; run++) {
    nap.push(await napRun(cluster));
    bySwarm.push(await swarmRun(cluster, swarm));
  }
  return { nap_s: rounded(median(nap)), swarm_s: rounded(median(bySwarm)) };
}

async function napRun(cluster: BenchCluster): Promise<number> {
  const { kubectl } = cluster.control;
  await kubectl.apply({
    apiVersion: 'nap.dev/v1alpha1',
    kind: 'Project',
    metadata: { name: 'failover', namespace: 'default' },
    spec: {
      services: {
        idle: {
          image: benchImage,
          command: ['sleep', '1000000'],
          replicas: instances,
          stopGracePeriod: '0s',
        },
      },
    },
  });
  await kubectl.wait('project/failover', 'Ready', 60);
  const seconds = await cutAndCount(
    cluster,
    (await cluster.box.containers([victim], { project: 'failover' })).length,
  );
  await kubectl.wait(`host/${victim}`, 'Ready', 60);
  await kubectl.wait('project/failover', 'Ready', 60);
  await kubectl.run('delete', 'project', 'failover', '--timeout=60s');
  return seconds;
}

async function swarmRun(cluster: BenchCluster, swarm: Swarm): Promise<number> {
  const watch = await StartWatch.open(cluster.box, benchHosts);
  await swarm.create('failover', instances);
  await watch.reach(instances, limitMs);
  watch.close();
  await eventually(
    'all tasks are known',
    async () => (await swarm.hostsOf('failover')).length === instances,
    10_000,
  );
  const lost = (await swarm.hostsOf('failover')).filter((host) => host === victim).length;
  const seconds = await cutAndCount(cluster, lost);
  await eventually('the host is back', () => swarm.ready(), 60_000);
  await swarm.remove('failover');
  return seconds;
}

/** Cuts the victim off and takes the time until `lost` containers were started on the other hosts. */
async function cutAndCount(cluster: BenchCluster, lost: number): Promise<number> {
  if (lost === 0) throw new Error(`nothing runs on ${victim}: there is nothing to measure`);
  const watch = await StartWatch.open(cluster.box, others);
  try {
    const from = performance.now();
    await cluster.box.cut(victim);
    const to = await watch.reach(lost, limitMs);
    return (to - from) / 1000;
  } finally {
    watch.close();
    await cluster.box.heal(victim);
  }
}
