import { spawn, type ChildProcess } from 'node:child_process';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { eventually } from '../../support/eventually.ts';
import { TestNetwork, type TestHost } from '../../support/netns.ts';

const network = new TestNetwork();
const bridge = { subnet: '10.77.1.0/24', gateway: '10.77.1.1', bridge: 'nap0', mtu: 1450 };
let host: TestHost;
let server: ChildProcess;

beforeAll(async () => {
  await network.start();
  host = await network.addHost();
  const [program = '', ...prefix] = host.prefix;
  const script = new URL('serve.ts', import.meta.url).pathname;
  const args = [...prefix, process.execPath, '--import', 'tsx', script, bridge.gateway];
  server = spawn(program, args, { stdio: 'ignore' });
});

afterAll(async () => {
  const gone = new Promise((resolve) => server.once('exit', resolve));
  server.kill('SIGKILL');
  await gone;
  await network.stop();
});

it('answers containers as soon as their bridge exists, and again when it was made anew', async () => {
  const dig = async (from: Pick<TestHost, 'exec'>, ...more: string[]): Promise<string> => {
    const args = [
      `@${bridge.gateway}`,
      '+short',
      '+tries=1',
      '+time=1',
      's.p.ns.nap.local',
      ...more,
    ];
    return (await from.exec('dig', args)).stdout.trim();
  };
  const container = await network.addContainer(host, bridge);
  // With the time that the server takes to start.
  await eventually(
    'the name is answered',
    async () => (await dig(container)) === '192.0.2.7',
    60_000,
  );
  await host.exec('ip', ['link', 'del', bridge.bridge]);
  const next = await network.addContainer(host, bridge, 3);
  await eventually('the name is answered', async () => (await dig(next)) === '192.0.2.7');
  expect(await dig(next, '+tcp')).toBe('192.0.2.7');
});

it('says nothing to those who come from outside the overlay', async () => {
  const stranger = await network.addHost();
  await stranger.exec('ip', ['route', 'add', bridge.subnet, 'via', host.address]);
  // The way is there: it is the server that says nothing.
  await stranger.exec('ping', ['-c', '1', '-W', '5', bridge.gateway]);
  const args = [`@${bridge.gateway}`, '+tries=1', '+time=1', 's.p.ns.nap.local'];
  await expect(stranger.exec('dig', args)).rejects.toThrow('exit status 9');
});
