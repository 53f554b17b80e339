import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NetworkManager } from '../../../src/agent/host/network-manager.ts';
import type { NetworkProblem, OverlayInfo } from '../../../src/agent/host/network-options.ts';
import { MemoryDatabase } from '../../../src/registry/memory/database.ts';
import { MemoryStore } from '../../../src/registry/memory/store.ts';
import { silentLogger } from '../../../src/telemetry/log.ts';
import { eventually, TestNetwork, type TestContainer, type TestHost } from '../../support/netns.ts';

interface Member {
  readonly host: TestHost;
  readonly manager: NetworkManager;
  readonly overlay: OverlayInfo;
  readonly container: TestContainer;
  readonly problems: NetworkProblem[];
  readonly stop: () => Promise<void>;
}

const database = new MemoryDatabase();
const network = new TestNetwork();
const members: Member[] = [];

function manage(host: TestHost, problems: NetworkProblem[]): Pick<Member, 'manager' | 'stop'> {
  const manager = new NetworkManager({
    store: new MemoryStore({ database }),
    log: silentLogger,
    exec: host.exec,
    follow: host.follow,
    onProblem: (problem) => problems.push(problem),
  });
  const controller = new AbortController();
  const running = manager.run(controller.signal);
  return {
    manager,
    stop: async () => {
      controller.abort();
      await running;
    },
  };
}

async function join(): Promise<Member> {
  const host = await network.addHost();
  const problems: NetworkProblem[] = [];
  const { manager, stop } = manage(host, problems);
  const overlay = await manager.ensure();
  const container = await network.addContainer(host, overlay);
  const member = { host, manager, overlay, container, problems, stop };
  members.push(member);
  return member;
}

/** One ping of `size` bytes of data that must not be fragmented. */
async function ping(from: { exec: TestHost['exec'] }, to: string, size = 56): Promise<true> {
  await from.exec('ping', ['-c', '1', '-W', '1', '-M', 'do', '-s', String(size), to]);
  return true;
}

/** The source address that a TCP server in `to` sees when `from` connects to it. */
async function callerSeen(from: TestContainer, to: TestContainer): Promise<string> {
  const server = to.exec(process.execPath, [
    '-e',
    "require('net').createServer((s) => { console.log(s.remoteAddress); s.end(); process.exit(); }).listen(7777, '0.0.0.0')",
  ]);
  const connect = `const s = require('net').connect(7777, '${to.ip}'); s.on('error', () => process.exit(1)); s.on('connect', () => process.exit(0))`;
  await eventually(async () => {
    await from.exec(process.execPath, ['-e', connect], { timeoutMs: 2000 });
    return true;
  });
  return (await server).stdout.trim();
}

beforeAll(async () => {
  await network.start();
  for (let i = 0; i < 3; i++) await join();
});

afterAll(async () => {
  for (const member of members) await member.stop();
  await network.stop();
});

describe('overlay of three hosts', () => {
  it('joins every container with every other one, whatever the forward policy says', async () => {
    for (const a of members) {
      for (const b of members) {
        if (a !== b) await eventually(() => ping(a.container, b.container.ip));
      }
    }
    expect(new Set(members.map((m) => m.overlay.subnet)).size).toBe(3);
  });

  it('carries TCP and shows the server the address of the container that calls', async () => {
    const [a, b] = members as [Member, Member];
    expect(await callerSeen(a.container, b.container)).toBe(a.container.ip);
  });
});
