import { createInterface, type Interface } from 'node:readline';
import { endpointRecords } from '../../src/registry/records/index.ts';
import { benchHosts, type BenchCluster } from './bench-cluster.ts';
import { startInside, stopInside, type Inside } from './inside.ts';
import { quantile, rounded } from './statistics.ts';

const changes = 200;

/** (d) From the write of an endpoint record to the last of three hosts resolving it, in milliseconds. */
export async function benchResolve(cluster: BenchCluster) {
  const store = await cluster.openStore();
  const probes = await Promise.all(benchHosts.map((host) => Probe.start(cluster, host)));
  const times: number[] = [];
  try {
    for (let i = 0; i < changes; i++) {
      const key = { namespace: 'default', project: 'bench', service: 'resolve', ordinal: '1' };
      const address = `10.77.250.${(i % 250) + 1}`;
      const seen = Promise.all(
        probes.map((each) => each.resolved('resolve.bench.default.nap.local', address)),
      );
      // The probes are asking already when the record changes.
      await new Promise((resolve) => setTimeout(resolve, 20));
      const value = endpointRecords.encode({ host: 'h1', ipv4_addr: address, ports: [] });
      const from = Number(process.hrtime.bigint()) / 1e6;
      await store.commit([], [{ type: 'put', key: endpointRecords.path(key), value }]);
      times.push(Math.max(...(await seen)) - from);
    }
  } finally {
    for (const each of probes) each.stop();
    await store.commit([], [{ type: 'delete', key: '/services/default/bench/resolve/1' }]);
    await store.close();
  }
  return { p50_ms: rounded(quantile(times, 0.5)), p99_ms: rounded(quantile(times, 0.99)) };
}

/** A probe in a host's network. */
class Probe {
  readonly #child: Inside;
  readonly #lines: Interface;

  private constructor(child: Inside) {
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout });
  }

  static async start(cluster: BenchCluster, host: string): Promise<Probe> {
    const gateway = (
      await cluster.box.docker(
        host,
        'network',
        'inspect',
        'nap',
        '-f',
        '{{(index .IPAM.Config 0).Gateway}}',
      )
    ).trim();
    return new Probe(await startInside(cluster.box, host, 'resolve-probe.ts', gateway));
  }

  /** The monotonic time, ms, at which `name` first had `address`. */
  resolved(name: string, address: string): Promise<number> {
    const line = new Promise<number>((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new Error(`${name} did not become ${address} within 20 s`));
      }, 20_000);
      this.#lines.once('line', (text) => {
        clearTimeout(timer);
        resolve(Number(text));
      });
    });
    this.#child.stdin.write(`${name} ${address}\n`);
    return line;
  }

  stop(): void {
    stopInside(this.#child);
  }
}
