import { eventually } from '../../test/support/eventually.ts';
import { loadWebImage, otherWebImage, webImage } from '../../test/support/web/image.ts';
import { Load } from '../../test/support/web/load.ts';
import { benchHosts, type BenchCluster } from './bench-cluster.ts';

const port = 8088;
const limitMs = 180_000;

/** (g) Requests that fail while a service under constant load is rolled, and scaled 6 → 2 → 6. */
export async function benchZeroDrop(cluster: BenchCluster) {
  const { box, control } = cluster;
  const { kubectl } = control;
  await loadWebImage(benchHosts.map((host) => box.socket(host)));
  const apply = async (image: string, replicas: number): Promise<void> => {
    const web = {
      image,
      replicas,
      ports: [`${String(port)}:80`],
      publish: 'mesh',
      healthCheck: { http: { port: 80, path: '/' }, interval: '1s' },
      stopGracePeriod: '20s',
      drainTimeout: '4s',
      update: { order: 'start-first', parallelism: 3, monitor: '1s' },
    };
    await kubectl.apply({
      apiVersion: 'nap.dev/v1alpha1',
      kind: 'Project',
      metadata: { name: 'zero', namespace: 'default' },
      spec: { services: { web } },
    });
    await eventually(
      `${String(replicas)} run ${image}`,
      async () => {
        const list = await box.containers(benchHosts, { project: 'zero' });
        return (
          list.length === replicas && list.every((each) => each.running && each.image === image)
        );
      },
      limitMs,
      250,
    );
    await kubectl.wait('project/zero', 'Ready', limitMs / 1000);
  };
  await apply(webImage, 6);
  const { status } = await kubectl.get<{ status: { virtualIP: string } }>('napsvc/zero-web');
  const loads = [
    new Load(`http://${status.virtualIP}`, await box.prefix('h1')),
    new Load(`http://${box.address('h2')}:${String(port)}`),
  ];
  await apply(otherWebImage, 6);
  await apply(otherWebImage, 2);
  await apply(otherWebImage, 6);
  const reports = await Promise.all(loads.map((load) => load.stop()));
  await kubectl.run('delete', 'project', 'zero', '--timeout=120s');
  const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
  return {
    requests: sum(reports.flatMap(({ requests }) => Object.values(requests))),
    failures: sum(reports.map(({ failures }) => failures.length)),
  };
}
