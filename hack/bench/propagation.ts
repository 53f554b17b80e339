import { createInterface } from 'node:readline';
import { endpointRecords } from '../../src/registry/records/index.ts';
import { benchHosts, sleeper, type BenchCluster } from './bench-cluster.ts';
import { answerHttp, answerPort } from './http-way.ts';
import { startInside, stopInside, type Inside } from './inside.ts';
import { quantile, rounded } from './statistics.ts';

const changes = 100;

/** (g) From the write of the only endpoint record of a service until the last of three hosts has connected to it, ms. */
export async function benchPropagation(cluster: BenchCluster) {
  const { box, control } = cluster;
  const { kubectl } = control;
  await kubectl.apply({
    apiVersion: 'nap.dev/v1alpha1',
    kind: 'Project',
    metadata: { name: 'change', namespace: 'default' },
    // The endpoint of `probe` is written here; what it leads to is the instance of `server`.
    spec: { services: { server: sleeper('h2'), probe: { ...sleeper('h2'), replicas: 0 } } },
  });
  try {
    await kubectl.wait('project/change');
    const [server] = await box.containers(benchHosts, { project: 'change', service: 'server' });
    if (server === undefined) throw new Error('there is no container');
    const { status } = await kubectl.get<{ status: { instances: { ip: string }[] } }>(
      'napsvc/change-server',
    );
    const stop = await answerHttp(box, server);
    try {
      const times = await propagation(cluster, status.instances[0]?.ip ?? '');
      return {
        change_p50_ms: rounded(quantile(times, 0.5)),
        change_p99_ms: rounded(quantile(times, 0.99)),
      };
    } finally {
      stop();
    }
  } finally {
    await kubectl.run('delete', 'project', 'change', '--timeout=120s');
  }
}

async function propagation(cluster: BenchCluster, target: string): Promise<number[]> {
  const store = await cluster.openStore();
  const { kubectl } = cluster.control;
  const { status } = await kubectl.get<{ status: { virtualIP: string } }>('napsvc/change-probe');
  const probes = await Promise.all(
    benchHosts.map(async (host) => {
      const args = ['connect-probe.ts', status.virtualIP, String(answerPort)] as const;
      return new Probe(host, await startInside(cluster.box, host, ...args));
    }),
  );
  const key = endpointRecords.path({
    ...{ namespace: 'default', project: 'change', service: 'probe', ordinal: '1' },
  });
  const value = endpointRecords.encode({ host: 'h2', ipv4_addr: target, ports: [] });
  const times: number[] = [];
  try {
    for (let i = 0; i < changes; i++) {
      // They are refused already when the record comes.
      await Promise.all(probes.map((each) => each.reached('refused')));
      const from = Number(process.hrtime.bigint()) / 1e6;
      await store.commit([], [{ type: 'put', key, value }]);
      const seen = await Promise.all(probes.map((each) => each.reached('connected')));
      times.push(Math.max(...seen) - from);
      await store.commit([], [{ type: 'delete', key }]);
    }
  } finally {
    for (const each of probes) each.stop();
    await store.close();
  }
  return times;
}

/** What connections from a host meet with; see connect-probe.ts. */
class Probe {
  readonly #host: string;
  readonly #program: Inside;
  readonly #waiting = new Set<() => void>();
  #state = { what: 'silent', at: 0 };

  constructor(host: string, program: Inside) {
    this.#host = host;
    this.#program = program;
    createInterface({ input: program.stdout }).on('line', (line) => {
      const [what = '', at] = line.split(' ');
      this.#state = { what, at: Number(at) };
      for (const wake of [...this.#waiting]) wake();
    });
  }

  /** The monotonic time, ms, at which the outcome became `what`, at once if it is that already. */
  reached(what: 'refused' | 'connected'): Promise<number> {
    return new Promise((resolve, reject) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(look);
      };
      const look = (): void => {
        if (this.#state.what !== what) return;
        done();
        resolve(this.#state.at);
      };
      const timer = setTimeout(() => {
        done();
        reject(new Error(`connections from ${this.#host} are ${this.#state.what}, not ${what}`));
      }, 30_000);
      this.#waiting.add(look);
      look();
    });
  }

  stop(): void {
    stopInside(this.#program);
  }
}
