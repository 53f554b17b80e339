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

/** Instances of the service that is being updated while the host is cut off. */
const updated = 12;

/** (b) From cutting a host off to its replacements running elsewhere, in seconds. */
export async function benchFailover(cluster: BenchCluster, swarm: Swarm) {
  const nap: number[] = [];
  const bySwarm: number[] = [];
  for (let run = 0; run < runs; run++) {
    nap.push(await napRun(cluster));
    bySwarm.push(await swarmRun(cluster, swarm));
  }
  const duringUpdate: number[] = [];
  for (let run = 0; run < runs; run++) duringUpdate.push(await napRun(cluster, true));
  const operators: number[] = [];
  for (let run = 0; run < runs; run++) operators.push(await operatorRun(cluster));
  return {
    nap_s: rounded(median(nap)),
    swarm_s: rounded(median(bySwarm)),
    nap_update_s: rounded(median(duringUpdate)),
    nap_operator_s: rounded(median(operators)),
  };
}

/** The leading operator's own host is cut off; another operator has been standing by. */
async function operatorRun(cluster: BenchCluster): Promise<number> {
  const { box, control } = cluster;
  await control.leadFrom(box, victim);
  // A standby that has only just begun to watch gives hosts the benefit of the doubt.
  await new Promise((resolve) => setTimeout(resolve, 8_000));
  try {
    return await napRun(cluster);
  } finally {
    await box.sh(victim, ['pkill', '-f', 'nap.js operator']);
    for (const operator of control.operators) await operator.start();
  }
}

function project(version: string, withUpdate: boolean) {
  const idle = {
    image: benchImage,
    command: ['sleep', '1000000'],
    replicas: instances,
    stopGracePeriod: '0s',
  };
  return {
    apiVersion: 'nap.dev/v1alpha1',
    kind: 'Project',
    metadata: { name: 'failover', namespace: 'default' },
    spec: {
      services: {
        idle,
        ...(withUpdate
          ? { updated: { ...idle, replicas: updated, environment: { VERSION: version } } }
          : {}),
      },
    },
  };
}

async function napRun(cluster: BenchCluster, withUpdate = false): Promise<number> {
  const { kubectl } = cluster.control;
  await kubectl.apply(project('1', withUpdate));
  await kubectl.wait('project/failover', 'Ready', 120);
  const lost = await cluster.box.containers([victim], { project: 'failover', service: 'idle' });
  if (withUpdate) {
    const watch = await StartWatch.open(cluster.box, benchHosts, 'nap.dev/service=updated');
    await kubectl.apply(project('2', true));
    // It is under way, and goes on for half a minute: one by one, each observed for 2 s.
    await watch.reach(2, limitMs);
    watch.close();
  }
  const seconds = await cutAndCount(cluster, lost.length, 'nap.dev/service=idle');
  await kubectl.wait(`host/${victim}`, 'Ready', 60);
  await kubectl.wait('project/failover', 'Ready', 120);
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
async function cutAndCount(cluster: BenchCluster, lost: number, label?: string): Promise<number> {
  if (lost === 0) throw new Error(`nothing runs on ${victim}: there is nothing to measure`);
  const watch = await StartWatch.open(cluster.box, others, label);
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
