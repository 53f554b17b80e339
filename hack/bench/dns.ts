import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { Resolver } from 'node:dns/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { eventually } from '../../test/support/eventually.ts';
import { benchNames, foreignNames } from './dns-names.ts';
import { median, quantile, rounded } from './statistics.ts';

const run = promisify(execFile);
const serve = new URL('dns-serve.ts', import.meta.url).pathname;
const ports = { upstream: 35_399, dnsmasq: 35_398, nap: 35_397 };
const [serverCore, loadCore] = ['0', '1'];
const rounds = 5;
const secondsEach = 4;

/**
 * (g) Queries per second on one core, nap's name server against dnsmasq with the same names: 10,000 of one's own and 1,000 of
 * another resolver's, all in the cache. The load comes from the other core. Also per second of processor time, which a busy machine
 * disturbs less.
 */
export async function benchDns() {
  const directory = await mkdtemp(join(tmpdir(), 'nap-bench-dns-'));
  const children: ChildProcess[] = [];
  const start = (...[program = '', ...args]: readonly string[]): ChildProcess => {
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
    children.push(child);
    return child;
  };
  try {
    const hosts = join(directory, 'hosts');
    await writeFile(hosts, benchNames.map((n) => `${n.address} ${n.name}\n`).join(''));
    const queries = join(directory, 'queries');
    const names = [...benchNames.map(({ name }) => name), ...foreignNames];
    // One in each 11 is foreign, and neighbours are of different projects.
    const order = names.map((_, i) => names[(i * 7_919) % names.length] ?? '');
    await writeFile(queries, order.map((name) => `${name} A\n`).join(''));
    const dnsmasq = (port: number, ...more: readonly string[]): readonly string[] => [
      ...['dnsmasq', '--keep-in-foreground', '--conf-file=/dev/null', '--user=root', '--pid-file='],
      ...['--no-resolv', '--no-hosts', '--bind-interfaces', '--listen-address=127.0.0.1'],
      ...[`--port=${port}`, ...more],
    ];
    start(...dnsmasq(ports.upstream, '--address=/example/192.0.2.1', '--local-ttl=3600'));
    const other = start(
      ...['taskset', '-c', serverCore],
      ...dnsmasq(ports.dnsmasq, `--addn-hosts=${hosts}`, '--cache-size=20000'),
      `--server=127.0.0.1#${ports.upstream}`,
    );
    const nap = start(
      ...['taskset', '-c', serverCore, process.execPath, '--import', 'tsx', serve],
      ...[String(ports.nap), String(ports.upstream)],
    );
    for (const port of [ports.nap, ports.dnsmasq]) {
      await answersAll(port, [names[0] ?? '', names.at(-1) ?? '', names[9_999] ?? '']);
      // Fills the caches, and lets the compiler see what matters.
      await load(port, queries, ['-l', '4']);
    }
    const figures = { nap: [] as Load[], dnsmasq: [] as Load[] };
    for (let i = 0; i < rounds; i++) {
      figures.nap.push(await measured(nap, ports.nap, queries));
      figures.dnsmasq.push(await measured(other, ports.dnsmasq, queries));
    }
    const slow = await load(ports.nap, queries, ['-Q', '5000', '-l', '10', '-v']);
    const latencies = [...slow.matchAll(/^> \w+ \S+ \w+ (\d+\.\d+)$/gm)].map((m) => Number(m[1]));
    return {
      nap_qps: middle(figures.nap, 'qps'),
      dnsmasq_qps: middle(figures.dnsmasq, 'qps'),
      nap_queries_per_cpu_s: middle(figures.nap, 'perCpuSecond'),
      dnsmasq_queries_per_cpu_s: middle(figures.dnsmasq, 'perCpuSecond'),
      p99_ms_at_5000: rounded(quantile(latencies, 0.99) * 1_000),
      lost_at_5000: Number(/Queries lost:\s+(\d+)/.exec(slow)?.[1]),
    };
  } finally {
    for (const child of children) child.kill('SIGKILL');
    await rm(directory, { recursive: true, force: true });
  }
}

interface Load {
  readonly qps: number;
  readonly perCpuSecond: number;
}

function middle(loads: readonly Load[], figure: keyof Load): number {
  return rounded(median(loads.map((each) => each[figure])));
}

async function measured(server: ChildProcess, port: number, queries: string): Promise<Load> {
  const before = await cpuSeconds(server);
  const report = await load(port, queries, ['-l', String(secondsEach)]);
  const spent = (await cpuSeconds(server)) - before;
  const figure = (name: string): number =>
    Number(new RegExp(`${name}:\\s+([\\d.]+)`).exec(report)?.[1]);
  return {
    qps: figure('Queries per second'),
    perCpuSecond: figure('Queries completed') / spent,
  };
}

async function load(port: number, queries: string, more: readonly string[]): Promise<string> {
  const args = ['-c', loadCore, 'dnsperf', '-s', '127.0.0.1', '-p', String(port), '-d', queries];
  const options = { maxBuffer: 64 * 1024 * 1024 };
  const { stdout } = await run('taskset', [...args, '-c', '8', '-q', '64', ...more], options);
  return stdout;
}

async function answersAll(port: number, names: readonly string[]): Promise<void> {
  const resolver = new Resolver({ timeout: 500, tries: 1 });
  resolver.setServers([`127.0.0.1:${port}`]);
  for (const name of names) {
    await eventually(
      `port ${port} answers ${name}`,
      () =>
        resolver.resolve4(name).then(
          (found) => found.length > 0,
          () => false,
        ),
      60_000,
    );
  }
}

/** Processor time that a process has used; the clock tick is 10 ms on Linux. */
async function cpuSeconds({ pid }: ChildProcess): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
