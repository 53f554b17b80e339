import { routerServiceSpec } from '../../src/controllers/routes/router-service.ts';
import type { Container } from '../../test/support/box.ts';
import { benchHosts, sleeper, type BenchCluster } from './bench-cluster.ts';
import { answerPort, type HttpWay } from './http-way.ts';
import { measureWays } from './measure-ways.ts';
import { throughputPort } from './throughput.ts';

const routed = 'ways.test';
const router = { namespace: 'nap-system', name: 'nap-router' };
/** Made by hack/demo/images. */
const routerImage = 'nap-demo/router:1';

/**
 * (g) The ways to an instance on another host: its own address, its service's virtual IP, the mesh port of a third host, the
 * router of a third host. TCP throughput (but for the router, which passes HTTP only), new connections per second, and latency.
 */
export async function benchWays(cluster: BenchCluster): Promise<Record<string, number>> {
  const { box, control } = cluster;
  try {
    await deploy(cluster);
    const { server, ways } = await look(cluster);
    return await measureWays(box, server, ways);
  } finally {
    const { kubectl } = control;
    const away = ['--ignore-not-found', '--timeout=120s'];
    await kubectl.run('delete', 'project', 'ways', ...away);
    await kubectl.run('delete', 'napsvc', router.name, '-n', router.namespace, ...away);
  }
}

async function deploy({ control: { kubectl } }: BenchCluster): Promise<void> {
  await kubectl.apply([
    {
      apiVersion: 'nap.dev/v1alpha1',
      kind: 'Service',
      metadata: router,
      spec: routerServiceSpec({ image: routerImage }),
    },
    {
      apiVersion: 'nap.dev/v1alpha1',
      kind: 'Project',
      metadata: { name: 'ways', namespace: 'default' },
      spec: {
        services: {
          client: sleeper('h1'),
          server: {
            ...sleeper('h2'),
            publish: 'mesh',
            ports: [answerPort, throughputPort].map((port) => `${port}:${port}`),
            routes: [{ host: routed, port: answerPort }],
          },
        },
      },
    },
  ]);
  await kubectl.wait('project/ways');
  await kubectl.wait(`napsvc/${router.name}`, 'Ready', 60, router.namespace);
}

/** Where the instance is, and how one comes to it. */
async function look({
  box,
  control,
}: BenchCluster): Promise<{ server: Container; ways: ReadonlyMap<string, HttpWay> }> {
  const only = async (service: string): Promise<Container> => {
    const [container] = await box.containers(benchHosts, { project: 'ways', service });
    if (container === undefined) throw new Error(`there is no container of ${service}`);
    return container;
  };
  const [client, server] = [await only('client'), await only('server')];
  const { status } = await control.kubectl.get<{
    status: { virtualIP: string; instances: { ip: string }[] };
  }>('napsvc/ways-server');
  const port = answerPort;
  // Mesh ports and routers are for who is not in the overlay: a host asks another one that has no instance.
  const outside = { from: client.host, address: box.address('h3') };
  const ways = new Map<string, HttpWay>([
    ['direct', { from: client, address: status.instances[0]?.ip ?? '', port }],
    ['vip', { from: client, address: status.virtualIP, port }],
    ['mesh', { ...outside, port }],
    ['router', { ...outside, port: 80, host: routed }],
  ]);
  return { server, ways };
}
