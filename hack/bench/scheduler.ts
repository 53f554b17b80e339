import { availableParallelism } from 'node:os';
import { pathToFileURL } from 'node:url';
import { ClusterState, schedule, type InstanceRequest } from '../../src/scheduler/index.ts';
import { median } from './statistics.ts';

const hostCount = 1000;
const mebibyte = 1024 ** 2;

/** 1,000 hosts in ten regions; every tenth is cordoned. */
function cluster(): ClusterState {
  const state = new ClusterState();
  for (let i = 0; i < hostCount; i += 1) {
    state.setHost({
      name: `host-${String(i)}`,
      machineID: `machine-${String(i)}`,
      labels: { region: `region-${String(i % 10)}`, disk: i % 2 === 0 ? 'ssd' : 'hdd' },
      capacity: { cpuMillis: 64_000, memoryBytes: 256 * 1024 * mebibyte },
      ready: true,
      unschedulable: i % 10 === 9,
    });
  }
  return state;
}

/**
 * Instances of services with `perService` instances each: a third spread, a third packed, a third random; every
 * fourth service asks for labels, every fifth publishes a port, all reserve something.
 */
function requests(count: number, perService: number): InstanceRequest[] {
  const all: InstanceRequest[] = [];
  for (let i = 0; i < count; i += 1) {
    const service = Math.floor(i / perService);
    all.push({
      id: `i${String(i)}`,
      service: `default/app/s${String(service)}`,
      reservation: { cpuMillis: 50 * (1 + (service % 4)), memoryBytes: 64 * mebibyte },
      ports: service % 5 === 0 ? [{ port: 1024 + (service % 60_000), protocol: 'tcp' }] : [],
      rules: {
        strategy: (['spread', 'binpack', 'random'] as const)[service % 3] ?? 'spread',
        ...(service % 4 === 0 && {
          machineMetadata: { region: `region-${String(service % 9)},region-8` },
        }),
      },
    });
  }
  return all;
}

function seconds(count: number, perService: number): number {
  const state = cluster();
  const batch = requests(count, perService);
  const start = performance.now();
  const decisions = schedule(state, batch);
  const taken = (performance.now() - start) / 1000;
  const placed = decisions.filter((decision) => decision.host !== undefined).length;
  if (placed < count * 0.9) {
    throw new Error(
      `only ${String(placed)} of ${String(count)} placed: this measures the wrong thing`,
    );
  }
  return taken;
}

export interface SchedulerBench {
  /** Seconds to place 10,000 and 100,000 instances on 1,000 hosts; 100 instances a service. Medians. */
  readonly n10k_s: number;
  readonly n100k_s: number;
  /** The same with one instance a service: nothing to share between instances. */
  readonly singles10k_s: number;
  readonly singles100k_s: number;
}

/** Times the scheduler alone, in memory. Takes a few seconds. */
export function benchScheduler(runs = 5): SchedulerBench {
  const measure = (count: number, perService: number) =>
    median(Array.from({ length: runs }, () => seconds(count, perService)));
  measure(10_000, 100); // lets the compiler warm up
  return {
    n10k_s: measure(10_000, 100),
    n100k_s: measure(100_000, 100),
    singles10k_s: measure(10_000, 1),
    singles100k_s: measure(100_000, 1),
  };
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  console.log(JSON.stringify({ cpus: availableParallelism(), ...benchScheduler() }, undefined, 2));
}
