import { eventually } from '../../test/support/eventually.ts';
import { benchHosts, benchImage, type BenchCluster } from './bench-cluster.ts';
import { RawEngine } from './raw-engine.ts';
import { StartWatch } from './starts.ts';
import { median, rounded } from './statistics.ts';
import type { Swarm } from './swarm.ts';

const instances = 60;
const runs = 3;
const limitMs = 120_000;

/** (a) From the order to 60 containers running on three hosts, in seconds. */
export async function benchStart60(cluster: BenchCluster, swarm: Swarm) {
  const raw: number[] = [];
  const nap: number[] = [];
  const bySwarm: number[] = [];
  const concurrency = await bestConcurrency(cluster);
  // Interleaved, so that a slow minute of the machine hits all three.
  for (let run = 0; run < runs; run++) {
    raw.push(await rawRun(cluster, concurrency));
    nap.push(await napRun(cluster));
    bySwarm.push(await swarmRun(cluster, swarm));
  }
  return {
    nap_s: rounded(median(nap)),
    raw_s: rounded(median(raw)),
    swarm_s: rounded(median(bySwarm)),
    raw_concurrency: concurrency,
  };
}

/** The engines' limit depends on how many calls are under way: the fastest of some is the limit. */
async function bestConcurrency(cluster: BenchCluster): Promise<number> {
  let best = { concurrency: 1, seconds: Number.POSITIVE_INFINITY };
  for (const concurrency of [2, 4, 8]) {
    const seconds = await rawRun(cluster, concurrency);
    if (seconds < best.seconds) best = { concurrency, seconds };
  }
  return best.concurrency;
}

async function rawRun(cluster: BenchCluster, concurrency: number): Promise<number> {
  const engines = benchHosts.map((host) => new RawEngine(cluster.box.socket(host)));
  const seconds = await timed(cluster, `engines alone, ${concurrency} at a time`, () =>
    Promise.all(
      engines.map((engine) =>
        engine.run(benchImage, instances / benchHosts.length, concurrency, 'nap'),
      ),
    ),
  );
  await Promise.all(engines.map((engine) => engine.clear()));
  return seconds;
}

async function napRun(cluster: BenchCluster): Promise<number> {
  const { kubectl } = cluster.control;
  const seconds = await timed(cluster, 'nap', () =>
    kubectl.apply({
      apiVersion: 'nap.dev/v1alpha1',
      kind: 'Project',
      metadata: { name: 'start60', namespace: 'default' },
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
    }),
  );
  await kubectl.wait('project/start60', 'Ready', 60);
  await kubectl.run('delete', 'project', 'start60', '--timeout=120s');
  await eventually(
    'the containers are gone',
    async () => (await cluster.box.containers(benchHosts)).length === 0,
    60_000,
  );
  return seconds;
}

async function swarmRun(cluster: BenchCluster, swarm: Swarm): Promise<number> {
  const seconds = await timed(cluster, 'Swarm', () => swarm.create('start60', instances));
  await swarm.remove('start60');
  return seconds;
}

/** Seconds from the call of `order` to the last start; also tells whoever waits for the bench. */
async function timed(
  cluster: BenchCluster,
  who: string,
  order: () => Promise<unknown>,
): Promise<number> {
  const watch = await StartWatch.open(cluster.box, benchHosts);
  try {
    const from = performance.now();
    const [to] = await Promise.all([watch.reach(instances, limitMs), order()]);
    const seconds = (to - from) / 1000;
    process.stderr.write(`  ${instances} containers by ${who}: ${rounded(seconds)} s\n`);
    return seconds;
  } finally {
    watch.close();
  }
}
