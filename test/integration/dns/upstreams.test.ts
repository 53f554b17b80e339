import { spawn, type ChildProcess } from 'node:child_process';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { eventually } from '../../support/eventually.ts';
import { TestNetwork, type TestHost } from '../../support/netns.ts';

const network = new TestNetwork();
const serve = new URL('serve.ts', import.meta.url).pathname;
const resolver = new URL('answer-all.ts', import.meta.url).pathname;
const children = new Set<ChildProcess>();
let host: TestHost;
let first: TestHost;
let second: TestHost;

function start(on: TestHost, ...args: readonly string[]): ChildProcess {
  const [program = '', ...prefix] = on.prefix;
  const child = spawn(program, [...prefix, process.execPath, '--import', 'tsx', ...args], {
    stdio: 'ignore',
  });
  children.add(child);
  return child;
}

async function stop(child: ChildProcess): Promise<void> {
  children.delete(child);
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await gone;
}

let number = 0;

/** Asks for a name that was never asked for. */
async function ask(): Promise<string> {
  number += 1;
  const args = [`@${host.address}`, '+short', '+tries=1', '+time=5', `n${number}.example`];
  return (await host.exec('dig', args).catch(() => ({ stdout: 'nothing' }))).stdout.trim();
}

beforeAll(async () => {
  await network.start();
  host = await network.addHost();
  first = await network.addHost();
  second = await network.addHost();
  start(host, serve, host.address, first.address, second.address);
  start(second, resolver, second.address, '192.0.2.2');
});

afterAll(async () => {
  await Promise.all([...children].map(stop));
  await network.stop();
});

it('stand in for each other, dead, slow or broken, and the first is used again when it is back', async () => {
  await eventually('the second answers', async () => (await ask()) === '192.0.2.2', 30_000);
  const healthy = start(first, resolver, first.address, '192.0.2.1');
  await eventually('the first answers again', async () => (await ask()) === '192.0.2.1', 60_000);
  await stop(healthy);
  expect(await ask()).toBe('192.0.2.2');
  const broken = start(first, resolver, first.address, 'SERVFAIL');
  await eventually(
    'the broken one runs',
    async () => {
      const { stdout } = await host.exec('dig', [`@${first.address}`, '+tries=1', 'x.example']);
      return stdout.includes('SERVFAIL');
    },
    30_000,
  );
  for (let i = 0; i < 3; i++) expect(await ask()).toBe('192.0.2.2');
  await stop(broken);
  // Its packets go nowhere from now on.
  await first.exec('ip', ['link', 'set', 'eth0', 'down']);
  for (let i = 0; i < 3; i++) expect(await ask()).toBe('192.0.2.2');
  await first.exec('ip', ['link', 'set', 'eth0', 'up']);
  start(first, resolver, first.address, '192.0.2.1');
  await eventually('the first answers again', async () => (await ask()) === '192.0.2.1', 60_000);
});
