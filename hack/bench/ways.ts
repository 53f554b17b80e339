import { routerServiceSpec } from '../../src/controllers/routes/router-service.ts';
import { benchHosts, sleeper, type BenchCluster } from './bench-cluster.ts';
import {
  answerHttp,
  answerPort,
  answersBy,
  httpFigures,
  measureHttp,
  type HttpReport,
  type HttpWay,
} from './http-way.ts';
import { median, rounded } from './statistics.ts';
import { throughput, throughputPort } from './throughput.ts';

const runs = 5;
const routed = 'ways.test';
/** Made by hack/demo/images. */
const routerImage = 'nap-demo/router:1';

/**
 * (g) The ways to an instance on another host: its own address, its service's virtual IP, the mesh port of a third host, the router
 * of a third host. TCP throughput (the router passes HTTP only), new connections per second, and latency.
 */
export async function benchWays(cluster: BenchCluster) {
  const { box, control } = cluster;
  const { kubectl } = control;
  const router = { namespace: 'nap-system', name: 'nap-router' };
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
            ports: [answerPort, throughputPort].map((each) => `${each}:${each}`),
            routes: [{ host: routed, port: answerPort }],
          },
        },
      },
    },
  ]);
  try {
    await kubectl.wait('project/ways');
    await kubectl.wait(`napsvc/${router.name}`, 'Ready', 60, router.namespace);
    const only = async (service: string) => {
      const [container] = await box.containers(benchHosts, { project: 'ways', service });
      if (container === undefined) throw new Error(`there is no container of ${service}`);
      return container;
    };
    const [client, server] = [await only('client'), await only('server')];
    const { status } = await kubectl.get<{
      status: { virtualIP: string; instances: { ip: string }[] };
    }>('napsvc/ways-server');
    const port = answerPort;
    // Mesh ports and routers are asked from outside of the overlay, by a host that has no instance.
    const outside = { from: client.host, address: box.address('h3') };
    const ways = new Map<string, HttpWay>([
      ['direct', { from: client, address: status.instances[0]?.ip ?? '', port }],
      ['vip', { from: client, address: status.virtualIP, port }],
      ['mesh', { ...outside, port }],
      ['router', { ...outside, port: 80, host: routed }],
    ]);
    const traffic = new Map<string, number[]>();
    const reports = new Map<string, HttpReport[]>();
    const add = <T>(to: Map<string, T[]>, way: string, value: T): void => {
      to.set(way, [...(to.get(way) ?? []), value]);
    };
    const stop = await answerHttp(box, server);
    try {
      for (const way of ways.values()) await answersBy(box, way);
      for (let run = 0; run < runs; run++) {
        for (const [name, way] of ways) {
          if (name !== 'router') {
            add(traffic, name, await throughput(box, way.from, server, way.address));
          }
          add(reports, name, await measureHttp(box, way));
        }
      }
    } finally {
      stop();
    }
    const gbps = [...traffic].map(([way, each]) => [`${way}_gbps`, rounded(median(each))]);
    return Object.assign(
      Object.fromEntries(gbps) as Record<string, number>,
      ...[...reports].map(([way, each]) => httpFigures(way, each)),
    ) as Record<string, number>;
  } finally {
    await kubectl.run('delete', 'project', 'ways', '--timeout=120s');
    await kubectl.run(
      ...['delete', 'napsvc', router.name, '-n', router.namespace, '--timeout=120s'],
    );
  }
}
