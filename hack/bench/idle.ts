import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { BenchCluster } from './bench-cluster.ts';
import { rounded } from './statistics.ts';

/** As long as the parts have run by now; caches are filled, the rush is over. */
const settleMs = 20_000;
const windowMs = 60_000;
/** Linux: USER_HZ is 100 on every architecture that Node runs on. */
const ticksPerSecond = 100;

/** (f) Memory (resident, MB) and CPU (percent of a core) of nap's parts while the demo runs and nothing changes. */
export async function benchIdle(cluster: BenchCluster) {
  const { kubectl } = cluster.control;
  const root = new URL('../..', import.meta.url).pathname;
  await kubectl.run('apply', '-f', join(root, 'manifests/demo/guestbook.yaml'));
  await kubectl.wait('project/guestbook', 'Ready', 60);
  const agent = await agentPid(cluster);
  const operator = await (await cluster.control.leader()).pid();
  const apiserver = await cluster.control.apiServer.pid();
  if (operator === undefined || apiserver === undefined) throw new Error('a part does not run');
  await pause(settleMs);
  const pids = [agent, operator, apiserver];
  const before = await Promise.all(pids.map(ticks));
  await pause(windowMs);
  const after = await Promise.all(pids.map(ticks));
  const percent = after.map((value, i) =>
    rounded((((value - (before[i] ?? 0)) / ticksPerSecond) * 100_000) / windowMs),
  );
  const memory = await Promise.all(pids.map(residentMb));
  await kubectl.run('delete', 'project', 'guestbook', '--timeout=60s');
  return {
    agent_mb: memory[0],
    operator_mb: memory[1],
    apiserver_mb: memory[2],
    agent_cpu_pct: percent[0],
    operator_cpu_pct: percent[1],
    apiserver_cpu_pct: percent[2],
  };
}

async function agentPid(cluster: BenchCluster): Promise<number> {
  // A host has a process namespace of its own; seen from here the process has another number.
  const { stdout } = await cluster.box.sh('h1', ['sh', '-c', 'readlink /proc/self/ns/pid']);
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const line = await readFile(`/proc/${entry}/cmdline`, 'utf8').catch(() => '');
    if (!/^[^\0]*node\0.*nap\.js\0agent\0/.test(line)) continue;
    if ((await readlink(`/proc/${entry}/ns/pid`).catch(() => '')) === stdout.trim()) {
      return Number(entry);
    }
  }
  throw new Error('there is no agent on h1');
}

/** CPU time that the process has used, user and system, in ticks. proc(5), fields 14 and 15. */
async function ticks(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

async function residentMb(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return rounded(Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? Number.NaN) / 1024);
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
