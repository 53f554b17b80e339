import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NetworkManager } from '../../../src/agent/host/network-manager.ts';
import type { OverlayInfo } from '../../../src/agent/host/network-options.ts';
import { MemoryDatabase } from '../../../src/registry/memory/database.ts';
import { MemoryStore } from '../../../src/registry/memory/store.ts';
import { silentLogger } from '../../../src/telemetry/log.ts';
import { eventually } from '../../support/eventually.ts';
import { TestNetwork, type TestContainer, type TestHost } from '../../support/netns.ts';

/** A Docker engine on a test host, with its packet filter rules. */
class Engine {
  readonly #host: TestHost;
  readonly #dir: string;
  readonly #options: readonly string[];
  #process: ChildProcess | undefined;

  constructor(host: TestHost, dir: string, options: readonly string[]) {
    this.#host = host;
    this.#dir = dir;
    this.#options = options;
  }

  async start(): Promise<void> {
    const d = this.#dir;
    await rm(`${d}/docker.pid`, { force: true });
    await rm(`${d}/exec/containerd/containerd.pid`, { force: true });
    const [program = '', ...prefix] = this.#host.prefix;
    const args = [`--data-root=${d}/data`, `--exec-root=${d}/exec`, '-p', `${d}/docker.pid`];
    this.#process = spawn(
      program,
      [
        ...prefix,
        'dockerd',
        ...args,
        '-H',
        `unix://${d}/docker.sock`,
        '--bridge=none',
        ...this.#options,
      ],
      { stdio: 'ignore' },
    );
    await eventually('dockerd answers', () => this.cli('version'), 60_000);
  }

  async stop(): Promise<void> {
    const process = this.#process;
    if (process === undefined) return;
    const gone = new Promise((resolve) => process.once('exit', resolve));
    process.kill('SIGTERM');
    await gone;
    this.#process = undefined;
  }

  async cli(...args: string[]): Promise<string> {
    const all = ['-H', `unix://${this.#dir}/docker.sock`, ...args];
    return (await this.#host.exec('docker', all, { timeoutMs: 30_000 })).stdout.trim();
  }

  /** Makes the network as the agent does. */
  async createNetwork(overlay: OverlayInfo): Promise<void> {
    const options = Object.entries(overlay.dockerOptions).flatMap(([k, v]) => ['-o', `${k}=${v}`]);
    const place = ['--subnet', overlay.subnet, '--gateway', overlay.gateway];
    const { ipv6Subnet, ipv6Gateway } = overlay;
    if (ipv6Subnet !== undefined && ipv6Gateway !== undefined) {
      place.push('--ipv6', '--subnet', ipv6Subnet, '--gateway', ipv6Gateway);
    }
    await this.cli('network', 'create', '-d', 'bridge', ...place, ...options, 'nap');
  }
}

interface Member {
  readonly host: TestHost;
  readonly engine: Engine;
  readonly manager: NetworkManager;
  overlay: OverlayInfo;
  container: TestContainer;
  stop(): Promise<void>;
}

const database = new MemoryDatabase();
const network = new TestNetwork({ prefix: '10.98.0' });
const members: Member[] = [];
let root: string;

async function member(
  dockerFirst: boolean,
  from = database,
  options: readonly string[] = ['--ip6tables=false'],
): Promise<Member> {
  const host = await network.addHost();
  const engine = new Engine(host, join(root, host.name), options);
  const store = new MemoryStore({ database: from });
  const manager = new NetworkManager({
    store,
    log: silentLogger,
    exec: host.exec,
    follow: host.follow,
  });
  if (dockerFirst) await engine.start();
  const overlay = await manager.ensure();
  if (!dockerFirst) await engine.start();
  await engine.createNetwork(overlay);
  const controller = new AbortController();
  const running = manager.run(controller.signal);
  const container = await network.addContainer(host, overlay);
  const result: Member = {
    host,
    engine,
    manager,
    overlay,
    container,
    stop: async () => {
      controller.abort();
      await running;
      await engine.stop();
    },
  };
  members.push(result);
  return result;
}

async function ping(from: TestContainer, to: TestContainer): Promise<true> {
  await from.exec('ping', ['-c', '1', '-W', '1', '-M', 'do', '-s', '1422', to.ip]);
  return true;
}

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'nap-net-'));
  await network.start();
  await member(true);
  await member(false);
});

afterAll(async () => {
  for (const m of members) await m.stop();
  await network.stop();
  await rm(root, { recursive: true, force: true });
});

describe('beside a real engine', () => {
  it('the overlay gets through Docker’s DROP policy, whoever started first', async () => {
    const [first, second] = members as [Member, Member];
    // dockerd sets it only where forwarding was off before.
    for (const m of members) await m.host.exec('iptables', ['-P', 'FORWARD', 'DROP']);
    await eventually('a ping', () => ping(first.container, second.container));
    await eventually('a ping', () => ping(second.container, first.container));
    for (const m of members) {
      const { stdout } = await m.host.exec('iptables', ['-S']);
      expect(stdout.match(/-A FORWARD -j DOCKER-USER/g)).toHaveLength(1);
      expect(stdout.match(/-A DOCKER-USER -j NAP-FORWARD/g)).toHaveLength(1);
    }
  });

  it('a restart of dockerd changes nothing for containers, and leaves nothing to repair', async () => {
    const [first, second] = members as [Member, Member];
    await first.manager.audit();
    const { repairs } = first.manager.counters;
    await first.engine.stop();
    await ping(second.container, first.container);
    await first.engine.start();
    await eventually('a ping', () => ping(second.container, first.container));
    await first.manager.audit();
    // Nor was there for an audit that came by itself.
    expect(first.manager.counters.repairs).toBe(repairs);
  });

  it('a firewall that flushes all rules, as some do on reload, is made good after dockerd restored its own', async () => {
    const [first, second] = members as [Member, Member];
    const { repairs } = first.manager.counters;
    await first.engine.stop();
    await first.host.exec('iptables', ['-F']);
    await first.host.exec('iptables', ['-X']);
    await first.engine.start();
    await first.manager.audit();
    // By this audit or by one that came by itself while the engine was starting.
    expect(first.manager.counters.repairs).toBeGreaterThan(repairs);
    await eventually('a ping', () => ping(second.container, first.container));
  });
});

describe('beside a real engine, with IPv6', () => {
  it('instances reach each other, whether or not the engine looks after ip6tables', async () => {
    const database = new MemoryDatabase();
    const value = JSON.stringify({
      Network: '10.77.0.0/16',
      ...{ EnableIPv6: true, IPv6Network: 'fd00:77::/64' },
      Backend: { Type: 'vxlan' },
    });
    const key = '/coreos.com/network/config';
    await new MemoryStore({ database }).commit([], [{ type: 'put', key, value }]);
    const looks = await member(true, database, ['--experimental', '--ip6tables=true']);
    const leaves = await member(false, database);
    const { stdout } = await leaves.host.exec('ip', ['-6', 'addr', 'show', 'dev', 'nap0']);
    expect(stdout).toContain(leaves.overlay.ipv6Gateway);
    const outside = await network.addHost();
    for (const { host } of [looks, leaves, { host: outside }]) {
      const address = `fd99::${host.address.split('.').at(-1) ?? ''}/64`;
      await host.exec('ip', ['addr', 'add', address, 'dev', 'eth0', 'nodad']);
    }
    for (const { host, manager } of [looks, leaves]) {
      await host.exec('ip6tables', ['-P', 'FORWARD', 'DROP']);
      await manager.audit();
    }
    const reaches = (from: Member, to: string) =>
      eventually(`${from.container.ipv6} reaches ${to}`, () =>
        from.container.exec('ping', ['-6', '-c', '1', '-W', '1', to]).then(() => true),
      );
    await reaches(looks, leaves.container.ipv6);
    await reaches(leaves, looks.container.ipv6);
    const other = `fd99::${outside.address.split('.').at(-1) ?? ''}`;
    await reaches(looks, other);
    await reaches(leaves, other);
    for (const { manager } of [looks, leaves]) expect(await manager.audit()).toEqual([]);
  });
});
