import { spawn } from 'node:child_process';
import { execPath } from 'node:process';
import { beforeAll, describe, expect, test } from 'vitest';
import { loadWebImage, otherWebImage, webImage } from '../support/web/image.ts';
import { Load, type LoadReport } from '../support/web/load.ts';
import {
  box,
  cleansUp,
  containerOf,
  containers,
  eventually,
  hosts,
  instances,
  kubectl,
  project,
  settles,
} from './harness.ts';

/** On every host. */
const meshPort = 8088;

const web = (more: object): object => ({
  image: webImage,
  replicas: 6,
  ports: [`${String(meshPort)}:80`],
  publish: 'mesh',
  healthCheck: { http: { port: 80, path: '/' }, interval: '1s' },
  stopSignal: 'SIGTERM',
  stopGracePeriod: '20s',
  // Shorter than some of the requests: what is not done by then is the server's own to finish.
  drainTimeout: '4s',
  update: { order: 'start-first', parallelism: 3, monitor: '1s' },
  ...more,
});

/** On a host that is not emptied. */
const client = { placement: { machineMetadata: { zone: 'z1' } } };

async function apply(more: object): Promise<void> {
  await kubectl.apply(project('zero', { web: web(more), client }));
}

/** Exactly so many instances run, all with the image and ready, and nothing else is left. */
async function runs(count: number, image: string): Promise<void> {
  await settles(
    `${String(count)} run ${image}`,
    async () => {
      const list = await containers('zero', { service: 'web' });
      expect(list.map((c) => `${c.image} ${String(c.running)}`)).toEqual(
        Array.from({ length: count }, () => `${image} true`),
      );
      const ready = (await instances('zero-web')).filter((each) => each.ready);
      expect(ready).toHaveLength(count);
    },
    180_000,
  );
}

/**
 * Has the client hold a connection to each of the addresses: an instance that nobody happens to be connected to is drained sooner
 * than anybody can see. Without `end` they last until the other side ends them.
 */
async function stayConnected(ips: readonly string[]): Promise<{ end: () => void }> {
  expect(ips).toHaveLength(6);
  const script = `
    let left = process.argv.length - 1;
    for (const host of process.argv.slice(1))
      require('net').connect({ host, port: 80 }, () => { if (--left === 0) console.log('connected'); })
        .on('error', () => {});
    process.stdin.resume().on('end', () => process.exit());`;
  const inside = await box.prefix(await containerOf('zero', 'client'));
  const [program = '', ...args] = [...inside, execPath, '-e', script, ...ips];
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said += text));
  await eventually('all are connected', () => said.includes('connected'));
  return { end: () => child.stdin.end() };
}

describe('under constant load', () => {
  cleansUp('zero');
  let loads: readonly Load[] = [];

  beforeAll(async () => {
    await loadWebImage(hosts.map((host) => box.socket(host)));
    await apply({});
    await kubectl.wait('project/zero');
    const { status } = await kubectl.get<{ status: { virtualIP: string } }>('napsvc/zero-web');
    const inside = await box.prefix(await containerOf('zero', 'client'));
    loads = [
      new Load(`http://${status.virtualIP}`, inside),
      // From outside, by hosts that may have no instance; one of them is emptied.
      new Load(`http://${box.address('h1')}:${String(meshPort)}`),
      new Load(`http://${box.address('h3')}:${String(meshPort)}`),
    ];
  });

  test('a service is rolled', async () => {
    await apply({ image: otherWebImage });
    await runs(6, otherWebImage);
  });

  test('it is scaled down, and what has to go is seen draining; and up again', async () => {
    const stay = await stayConnected((await instances('zero-web')).map(({ ip }) => ip!));
    try {
      await apply({ image: otherWebImage, replicas: 2 });
      await eventually('four are draining', async () => {
        const phases = (await instances('zero-web')).map(({ phase }) => phase);
        return phases.filter((phase) => phase === 'Draining').length === 4;
      });
      await runs(2, otherWebImage);
    } finally {
      stay.end();
    }
    await apply({ image: otherWebImage });
    await runs(6, otherWebImage);
  });

  test('a host is drained and comes back, and no request has failed in all this', async () => {
    const spec = (drain: object | null): string => JSON.stringify({ spec: { drain } });
    await kubectl.run('patch', 'host', 'h3', '--type=merge', '-p', spec({ deadline: '5m' }));
    await eventually(
      'h3 is empty',
      async () => (await containers('zero', { service: 'web', on: ['h3'] })).length === 0,
      120_000,
    );
    await kubectl.run('patch', 'host', 'h3', '--type=merge', '-p', spec(null));
    await runs(6, otherWebImage);
    const reports = await Promise.all(loads.map((load) => load.stop()));
    for (const report of reports) expectNoneFailed(report);
  });
});

function expectNoneFailed({ requests, failures, answers }: LoadReport): void {
  expect(failures).toEqual([]);
  // Of each kind, also of those that take ten seconds.
  for (const count of Object.values(requests)) expect(count).toBeGreaterThan(5);
  // All instances that there have been had their share.
  expect(Object.keys(answers).length).toBeGreaterThanOrEqual(6);
}
