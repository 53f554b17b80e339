import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { endpointRecords, serviceRecords } from '../../src/registry/records/index.ts';
import type { Operation, Store } from '../../src/registry/store.ts';
import { TestEtcd } from '../../test/support/etcd.ts';
import { openTestStore } from '../../test/support/etcd-store.ts';
import { quantile, rounded } from './statistics.ts';

const processes = 4;
const agentsEach = 50;
const services = 1_000;
const changes = 100;
const serve = new URL('agents-serve.ts', import.meta.url).pathname;

/**
 * (h) From the write of an endpoint record until the last of 200 agents has turned it into rules, among 1,000 services with two
 * endpoints each. All agents and etcd share this machine, which is why the kernels are not real: 200 hosts have 200 of them.
 */
export async function benchAgents() {
  const etcd = await TestEtcd.start();
  const store = await openTestStore(etcd.url);
  const groups: AgentGroup[] = [];
  try {
    await fill(store);
    for (let i = 0; i < processes; i++) groups.push(new AgentGroup(etcd.url));
    await Promise.all(groups.map((group) => group.ready));
    const times: number[] = [];
    for (let i = 0; i < changes; i++) {
      const from = Number(process.hrtime.bigint()) / 1e6;
      const put = endpoint((i * 7) % services, 3, `10.77.250.${i}`);
      const outcome = await store.commit([], [put]);
      const seen = await Promise.all(groups.map((group) => group.passed(outcome.revision)));
      times.push(Math.max(...seen) - from);
    }
    return {
      agents: processes * agentsEach,
      p50_ms: rounded(quantile(times, 0.5)),
      p99_ms: rounded(quantile(times, 0.99)),
    };
  } finally {
    for (const group of groups) group.stop();
    await store.close();
    await etcd.stop();
  }
}

function endpoint(service: number, ordinal: number, address: string): Operation {
  const name = { namespace: 'default', project: 'bench', service: `s${service}` };
  return {
    type: 'put',
    key: endpointRecords.path({ ...name, ordinal: String(ordinal) }),
    value: endpointRecords.encode({ host: 'h1', ipv4_addr: address, ports: [] }),
  };
}

async function fill(store: Store): Promise<void> {
  const operations = Array.from({ length: services }, (_, i): readonly Operation[] => {
    const name = { namespace: 'default', project: 'bench', service: `s${i}` };
    const [high, low] = [Math.floor(i / 250), (i % 250) + 1];
    const virtualIP = `10.78.${high}.${low}`;
    const value = serviceRecords.encode({ uid: `${i}`, ports: [], links: [], virtualIP });
    return [
      { type: 'put', key: serviceRecords.path(name), value },
      endpoint(i, 1, `10.77.${high}.${low}`),
      endpoint(i, 2, `10.77.${high + 100}.${low}`),
    ];
  }).flat();
  for (let i = 0; i < operations.length; i += 120)
    await store.commit([], operations.slice(i, i + 120));
}

/** A process with some of the agents. */
class AgentGroup {
  /** Resolves when all its agents have read everything. */
  readonly ready: Promise<void>;
  readonly #child;
  readonly #passed = new Map<string, (at: number) => void>();
  readonly #early = new Map<string, number>();

  constructor(url: string) {
    this.#child = spawn(process.execPath, ['--import', 'tsx', serve, url, String(agentsEach)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.ready = new Promise((resolve, reject) => {
      this.#child.once('exit', (code) => {
        reject(new Error(`a process of agents has ended with ${code ?? 'a signal'}`));
      });
      createInterface({ input: this.#child.stdout }).on('line', (line) => {
        if (line === 'ready') {
          resolve();
          return;
        }
        const [revision = '', at = ''] = line.split(' ');
        const waiter = this.#passed.get(revision);
        if (waiter === undefined) this.#early.set(revision, Number(at));
        else waiter(Number(at));
      });
    });
  }

  /** The monotonic time, ms, at which the last of its agents had applied `revision`. */
  passed(revision: bigint): Promise<number> {
    const id = String(revision);
    return new Promise((resolve, reject) => {
      const early = this.#early.get(id);
      if (early !== undefined) {
        resolve(early);
        return;
      }
      const timer = setTimeout(() => {
        reject(new Error(`not all agents have applied revision ${id} within 30 s`));
      }, 30_000);
      this.#passed.set(id, (at) => {
        clearTimeout(timer);
        resolve(at);
      });
    });
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }
}
