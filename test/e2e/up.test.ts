import { spawn } from 'node:child_process';
import { execPath } from 'node:process';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Box } from '../support/box.ts';
import { Kubectl } from '../support/kubectl.ts';
import { eventually, project, settles } from './harness.ts';
import { directory, planePlace } from './place.ts';
import { importTools } from './tools-image.ts';

const state = join(directory, 'up');
const only = 'h1';
const one = new Box({ name: 'e2eup', net: '10.96.0', directory: join(state, 'box') });
const kubectl = new Kubectl(join(state, 'data/kubeconfig'), join(state, 'kubectl'));
const healthPort = 9_200;

interface Up {
  readonly said: () => string;
  /** Its exit code. */
  readonly ended: Promise<number | null>;
}

/** `nap up` on the machine that the box has. */
async function up(...flags: readonly string[]): Promise<Up> {
  const [program = '', ...args] = [
    ...(await one.prefix(only)),
    ...[execPath, planePlace.binary, 'up', '--data-dir', join(state, 'data')],
    ...['--listen', one.address(only), '--name', only, ...flags],
  ];
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  }
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  return { said: () => text, ended };
}

const healthUp = (): Promise<Up> =>
  up('--health-address', one.address(only), '--health-port', String(healthPort));

async function ask(path: string): Promise<string> {
  const response = await fetch(`http://${one.address(only)}:${healthPort}${path}`);
  return response.text();
}

/** Ids of containers that run. */
const running = async (): Promise<readonly string[]> =>
  (await one.containers([only])).filter((each) => each.running).map(({ id }) => id);

describe('nap up', () => {
  beforeAll(async () => {
    await one.down();
    await rm(state, { recursive: true, force: true });
    await mkdir(state, { recursive: true });
    await one.up(1);
    await importTools(one, only);
  }, 120_000);
  afterAll(async () => {
    await one.down();
    await rm(state, { recursive: true, force: true, maxRetries: 5 });
  }, 60_000);

  test('is all of nap on one machine; Ctrl-C leaves what runs, and the next one goes on with it', async () => {
    const first = await healthUp();
    await settles('the host is ready', () => kubectl.wait(`host/${only}`, 'Ready', 5), 60_000);
    expect(first.said()).toContain(`export KUBECONFIG=${join(state, 'data/kubeconfig')}`);
    await settles('all parts are', async () => {
      expect(await ask('/readyz?verbose')).toMatch(
        /^\[\+]operator ok\n\[\+]agent ok\n(\[\+]\w+ ok\n)+ok\n$/,
      );
    });
    const metrics = await ask('/metrics');
    for (const name of ['nap_leader 1', 'nap_audit_repairs_total{kind="route"} 0']) {
      expect(metrics).toContain(`\n${name}\n`);
    }
    expect(metrics).toMatch(/^process_resident_memory_bytes \d+$/m);

    const command = ['sh', '-c', 'echo here >/tmp/index.html; exec httpd -f -p 80 -h /tmp'];
    const web = { command, ports: ['8080:80'] };
    const client = { command: ['sleep', '1000000'], links: ['web'] };
    await kubectl.apply([project('alone', { web, client })]);
    await kubectl.wait('project/alone');
    const page = `http://${one.address(only)}:8080/`;
    const [asker] = (await one.containers([only])).filter(({ service }) => service === 'client');
    // Its container runs; the server in it may need a moment more.
    await settles('it answers', async () => {
      expect(await (await fetch(page)).text()).toBe('here\n');
      expect(await one.exec(asker!, 'curl', '-sSm2', 'http://web/')).toBe('here\n');
    });
    const before = await running();
    expect(before).toHaveLength(2);

    const another = await up();
    expect(await another.ended).toBe(1);
    expect(another.said()).toContain('another nap is running with the data in');

    await one.signal(only, 'INT', 'nap.js up');
    expect(await first.ended, first.said()).toBe(0);
    const { stdout: left } = await one.sh(only, ['pgrep', '-fl', 'etcd|nap.js']);
    expect(left).toBe('');
    expect(await running()).toEqual(before);
    expect(await (await fetch(page)).text()).toBe('here\n');

    const second = await healthUp();
    await settles('it is ready again', async () => {
      expect(await ask('/readyz')).toBe('ok');
    });
    await kubectl.wait('project/alone');
    expect(await running()).toEqual(before);
    await settles('names and virtual IPs lead to it again', async () => {
      expect(await one.exec(asker!, 'curl', '-sSm2', 'http://web/')).toBe('here\n');
    });

    // Its engine goes: the process lives, and says what it lacks.
    await one.signal(only, 'STOP', 'dockerd');
    await settles(
      'it is not ready',
      async () => {
        expect(await ask('/readyz')).toMatch(/^\[-]host failed: EngineUnavailable/m);
      },
      60_000,
    );
    expect(await ask('/healthz')).toBe('ok');
    await one.signal(only, 'CONT', 'dockerd');
    await settles('it is ready again', async () => {
      expect(await ask('/readyz')).toBe('ok');
    });

    await kubectl.run('delete', 'project', 'alone');
    await eventually('nothing is left', async () => (await one.containers([only])).length === 0);
    await one.signal(only, 'TERM', 'nap.js up');
    expect(await second.ended, second.said()).toBe(0);
  });
});
