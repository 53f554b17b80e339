import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { execPath } from 'node:process';
import { z } from 'zod';
import { ElementApplier } from '../../src/agent/host/element-applier.ts';
import { hostExec } from '../../src/agent/host/exec.ts';
import { parseCidr } from '../../src/network/address/cidr.ts';
import { ElementLedger } from '../../src/network/nftables/nft-elements.ts';
import { virtualIpSets } from '../../src/network/virtual-ip/virtual-ip-rules.ts';
import { VirtualIps } from '../../src/network/virtual-ip/virtual-ips.ts';
import { endpointRecords } from '../../src/registry/records/index.ts';
import { CommandError } from '../../test/support/command.ts';
import type { Container } from '../../test/support/box.ts';
import { eventually } from '../../test/support/eventually.ts';
import { benchHosts, benchImage, type BenchCluster } from './bench-cluster.ts';
import { median, quantile, rounded } from './statistics.ts';

const runs = 5;
const secondsEach = 3;
const changes = 100;
const port = 7000;
const iperfPort = 5201;

/** A container, or a host. */
type Place = Container | string;

const iperf = z.object({
  end: z.object({ sum_received: z.object({ bits_per_second: z.number() }) }),
});

/**
 * (g) Virtual IPs and mesh ports: throughput and new connections per second against the instance's own address, time of a rule
 * update by the number of services, and from the write of an endpoint record to the last of three hosts leading there.
 */
export async function benchVip(cluster: BenchCluster) {
  const updates = {
    update_10_ms: await updateTime(10),
    update_1k_ms: await updateTime(1_000),
    update_10k_ms: await updateTime(10_000),
  };
  const { kubectl } = cluster.control;
  const sleeper = { image: benchImage, entrypoint: ['sleep', '1000000'], stopSignal: 'SIGKILL' };
  const on = (machineID: string) => ({ placement: { machineMetadata: { host: machineID } } });
  await kubectl.run('label', 'host', 'h1', 'host=h1', '--overwrite');
  await kubectl.run('label', 'host', 'h2', 'host=h2', '--overwrite');
  await kubectl.apply([
    {
      apiVersion: 'nap.dev/v1alpha1',
      kind: 'Project',
      metadata: { name: 'vip', namespace: 'default' },
      spec: {
        services: {
          client: { ...sleeper, ...on('h1') },
          server: {
            ...{ ...sleeper, ...on('h2'), publish: 'mesh' },
            ports: [port, iperfPort].map((each) => `${each}:${each}`),
          },
          probe: { ...sleeper, replicas: 0 },
        },
      },
    },
  ]);
  try {
    await kubectl.wait('project/vip');
    const [client] = await cluster.box.containers(benchHosts, {
      project: 'vip',
      service: 'client',
    });
    const [server] = await cluster.box.containers(benchHosts, {
      project: 'vip',
      service: 'server',
    });
    if (client === undefined || server === undefined) throw new Error('no containers');
    const { status } = await kubectl.get<{
      status: { virtualIP: string; instances: { ip: string }[] };
    }>('napsvc/vip-server');
    const direct = status.instances[0]?.ip ?? '';
    // From outside of the overlay there is no direct way: mesh ports are asked from a host, by another one without an instance.
    const ways = [
      { way: 'direct', from: client, address: direct },
      { way: 'vip', from: client, address: status.virtualIP },
      { way: 'mesh', from: client.host, address: cluster.box.address('h3') },
    ] as const;
    const traffic = { direct: [] as number[], vip: [] as number[], mesh: [] as number[] };
    const connections = { direct: [] as number[], vip: [] as number[], mesh: [] as number[] };
    const stop = acceptor(cluster, server);
    try {
      for (let run = 0; run < runs; run++) {
        for (const { way, from, address } of ways) {
          traffic[way].push(await throughput(cluster, from, server, address));
          connections[way].push(await connectionRate(cluster, from, address));
        }
      }
      const times = await propagation(cluster, direct);
      return {
        direct_gbps: rounded(median(traffic.direct)),
        vip_gbps: rounded(median(traffic.vip)),
        mesh_gbps: rounded(median(traffic.mesh)),
        direct_cps: rounded(median(connections.direct)),
        vip_cps: rounded(median(connections.vip)),
        mesh_cps: rounded(median(connections.mesh)),
        ...updates,
        change_p50_ms: rounded(quantile(times, 0.5)),
        change_p99_ms: rounded(quantile(times, 0.99)),
      };
    } finally {
      stop();
    }
  } finally {
    await kubectl.run('delete', 'project', 'vip', '--timeout=120s');
  }
}

/** Median time, ms, of a change of one endpoint of one among `services` with ten endpoints each, with the real nft. */
async function updateTime(services: number): Promise<number> {
  const root = hostExec();
  const name = `bench-vip-${services}`;
  await root('ip', ['netns', 'add', name]);
  try {
    const exec = hostExec(['nsenter', `--net=/var/run/netns/${name}`]);
    const ledger = new ElementLedger(virtualIpSets);
    const applier = new ElementApplier(exec, ledger, () => false);
    const ips = new VirtualIps(ledger, parseCidr('10.77.1.0/24'));
    for (let s = 0; s < services; s++) {
      const virtualIP = `10.78.${Math.floor(s / 250)}.${(s % 250) + 1}`;
      ips.setService(`s${s}`, { virtualIP, affinity: false, preferLocal: false });
      for (let e = 0; e < 10; e++) {
        ips.setEndpoint(
          `s${s}`,
          String(e),
          `10.77.${e * 25 + Math.floor((s / 250) % 25)}.${s % 250}`,
        );
      }
    }
    ips.update();
    await applier.flush();
    const times: number[] = [];
    for (let i = 0; i < 40; i++) {
      const id = `s${(i * 7) % services}`;
      const startedAt = performance.now();
      ips.setEndpoint(id, '3', undefined);
      ips.update();
      await applier.flush();
      times.push(performance.now() - startedAt);
      ips.setEndpoint(id, '3', `10.77.251.${i}`);
      ips.update();
      await applier.flush();
    }
    return rounded(median(times));
  } finally {
    await root('ip', ['netns', 'del', name]);
  }
}

/** In the network of `place`. */
function inNetwork(cluster: BenchCluster, place: Place, command: readonly string[]) {
  return typeof place === 'string'
    ? cluster.box.sh(place, command)
    : cluster.box.inNetworkOf(place, command);
}

async function throughput(
  cluster: BenchCluster,
  client: Place,
  server: Container,
  address: string,
): Promise<number> {
  await cluster.box.inNetworkOf(server, ['iperf3', '-s', '-1', '-D']);
  const outcome = await eventually(
    'iperf3 answers',
    async () => {
      const command = ['iperf3', '-J', '-c', address, '-t', String(secondsEach)];
      const result = await inNetwork(cluster, client, command);
      return result.code === 0 ? result : undefined;
    },
    20_000,
  );
  return iperf.parse(JSON.parse(outcome.stdout)).end.sum_received.bits_per_second / 1e9;
}

/** Accepts and closes, until told to stop. */
function acceptor(cluster: BenchCluster, server: Container): () => void {
  const code = `require('net').createServer((s) => s.on('error', () => 0).resume()).listen(${port}, '0.0.0.0', 4096)`;
  const marker = 'nap-bench-accepts';
  void cluster.box.inNetworkOf(server, [execPath, '-e', code, marker]).catch(() => undefined);
  return () => {
    void cluster.box.sh(server.host, ['pkill', '-KILL', '-f', marker]);
  };
}

/** New connections per second, 16 at a time. */
async function connectionRate(
  cluster: BenchCluster,
  client: Place,
  address: string,
): Promise<number> {
  const code = `
    const end = performance.now() + ${secondsEach} * 1000;
    let made = 0;
    const next = () => {
      if (performance.now() >= end) return;
      const s = require('net').connect(${port}, process.argv[1]);
      s.on('connect', () => { made++; s.resetAndDestroy(); next(); }).on('error', () => setTimeout(next, 10));
    };
    for (let i = 0; i < 16; i++) next();
    setTimeout(() => { console.log(made / ${secondsEach}); process.exit(); }, ${secondsEach} * 1000);`;
  return eventually(
    'connections are made',
    async () => {
      const outcome = await inNetwork(cluster, client, [execPath, '-e', code, address]);
      if (outcome.code !== 0) throw new CommandError(['node'], outcome);
      const rate = Number(outcome.stdout);
      return rate > 0 ? rate : undefined;
    },
    60_000,
  );
}

/** Milliseconds from the write of the only endpoint of a service until the last host has connected to it. */
async function propagation(cluster: BenchCluster, target: string): Promise<number[]> {
  const store = await cluster.openStore();
  const { kubectl } = cluster.control;
  const { virtualIP } = (await kubectl.get<{ status: { virtualIP: string } }>('napsvc/vip-probe'))
    .status;
  const probes = benchHosts.map((host) => probe(cluster, host, virtualIP));
  const key = endpointRecords.path({
    ...{ namespace: 'default', project: 'vip', service: 'probe', ordinal: '1' },
  });
  const value = endpointRecords.encode({ host: 'h2', ipv4_addr: target, ports: [] });
  const times: number[] = [];
  try {
    for (let i = 0; i < changes; i++) {
      const seen = Promise.all(probes.map((each) => each.connected()));
      // They are refused already when the record comes.
      await Promise.all(probes.map((each) => each.refused()));
      const from = Number(process.hrtime.bigint()) / 1e6;
      await store.commit([], [{ type: 'put', key, value }]);
      times.push(Math.max(...(await seen)) - from);
      await store.commit([], [{ type: 'delete', key }]);
    }
  } finally {
    for (const each of probes) each.stop();
    await store.close();
  }
  return times;
}

/** An argument by which the processes of probes are found. */
const probeMarker = 'nap-bench-connects';

interface Probe {
  /** Resolves when a connection is refused. */
  refused(): Promise<void>;
  /** The monotonic time, ms, of the first connection after a refusal. */
  connected(): Promise<number>;
  stop(): void;
}

/** Connects from a host, every few milliseconds, and prints when the outcome changes. The clock is the same on all hosts. */
function probe(cluster: BenchCluster, host: string, address: string): Probe {
  const code = `
    let last = '';
    const say = (what) => {
      if (what !== last) console.log(what, Number(process.hrtime.bigint()) / 1e6);
      last = what;
      // Busier, and it would measure itself.
      setTimeout(next, 5);
    };
    const next = () => {
      const s = require('net').connect(${port}, process.argv[1]);
      // One that gets no answer must not be the last.
      s.setTimeout(200, () => s.destroy(new Error('no answer')));
      s.on('connect', () => { s.resetAndDestroy(); say('connected'); })
        .on('error', (error) => say(error.code === 'ECONNREFUSED' ? 'refused' : 'unanswered'));
    };
    next();`;
  const { name, net, directory } = cluster.box.place;
  const script = new URL('../cluster', import.meta.url).pathname;
  const child = spawn(script, ['sh', host, execPath, '-e', code, address, probeMarker], {
    env: { ...process.env, NAP_BOX: name, NAP_BOX_NET: net, NAP_BOX_DIR: directory },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let state = { what: '', at: 0 };
  const waiting = new Set<() => void>();
  createInterface({ input: child.stdout }).on('line', (line) => {
    const [what = '', at = ''] = line.split(' ');
    state = { what, at: Number(at) };
    for (const wake of [...waiting]) wake();
  });
  const until = async (what: string): Promise<number> => {
    const deadline = performance.now() + 30_000;
    while (state.what !== what) {
      if (performance.now() > deadline)
        throw new Error(`${address} is ${state.what} from ${host}, not ${what}`);
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          clearTimeout(timer);
          waiting.delete(wake);
          resolve();
        };
        const timer = setTimeout(wake, 1000);
        waiting.add(wake);
      });
    }
    return state.at;
  };
  return {
    refused: async () => {
      await until('refused');
    },
    connected: async () => {
      await until('refused');
      return until('connected');
    },
    stop: () => {
      child.kill('SIGKILL');
      // It runs in a process namespace of its own, and would go on there.
      void cluster.box.sh(host, ['pkill', '-KILL', '-f', probeMarker]);
    },
  };
}
