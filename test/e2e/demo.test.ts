import { existsSync } from 'node:fs';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { output, run, type Outcome } from '../support/command.ts';
import { Kubectl } from '../support/kubectl.ts';
import { settles } from './harness.ts';
import { directory } from './place.ts';

const repository = new URL('../..', import.meta.url).pathname;
const state = join(directory, 'demo');
const name = 'e2edm';
const net = '10.97.0';
const env = {
  NAP_BOX: name,
  NAP_BOX_NET: net,
  NAP_DEMO_DIR: state,
  // Below those that the kernel gives to whoever connects.
  NAP_DEMO_ETCD_PORT: '23379',
  NAP_DEMO_API_PORT: '27443',
};

const demo = (what: 'up' | 'down'): Promise<Outcome> =>
  run([join(repository, 'hack/demo', what)], { env, timeoutMs: 240_000 });

async function up(): Promise<string> {
  const { code, stdout, stderr } = await demo('up');
  expect(code, stdout + stderr).toBe(0);
  return stdout;
}

/** What is on this machine and speaks of the demo. */
async function traces(): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await readdir('/proc')).filter((entry) => /^\d+$/.test(entry))) {
    const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (line.includes(state) || line.includes(`nap-${name}`)) {
      found.push(`process ${pid}: ${line.replaceAll('\0', ' ')}`);
    }
  }
  const lists = {
    namespace: ['ip', 'netns', 'list'],
    link: ['ip', '-br', 'link', 'show'],
    table: ['nft', 'list', 'tables'],
    mount: ['cat', '/proc/self/mounts'],
    rule: ['iptables-save'],
  };
  for (const [what, command] of Object.entries(lists)) {
    const lines = (await output(command)).split('\n');
    found.push(...lines.filter((line) => line.includes(name)).map((line) => `${what} ${line}`));
  }
  for (const path of [state, `/run/nap-${name}`]) if (existsSync(path)) found.push(path);
  for (const root of ['/sys/fs/cgroup', ...(await cgroupRoots())]) {
    if (existsSync(join(root, `nap-${name}`))) found.push(join(root, `nap-${name}`));
  }
  return found;
}

/** The hierarchies of cgroup v1. */
async function cgroupRoots(): Promise<string[]> {
  const entries = await readdir('/sys/fs/cgroup', { withFileTypes: true });
  return entries.filter((e) => e.isDirectory()).map((e) => join('/sys/fs/cgroup', e.name));
}

describe('the demo', () => {
  const kubectl = new Kubectl(join(state, 'kubeconfig'), join(directory, 'demo-kubectl'));

  beforeAll(async () => {
    // A crashed run may have left one behind.
    await demo('down');
  });
  afterAll(async () => {
    await rm(join(directory, 'demo-kubectl'), { recursive: true, force: true });
  });

  // Whatever went wrong, the next round starts from nothing.
  afterEach(() => demo('down'));

  for (const round of ['first', 'second']) {
    test(`goes up a ${round} time, and down without a trace`, async () => {
      expect(await traces()).toEqual([]);
      const said = await up();
      expect(said).toMatch(/guestbook +True +3\/3 +5\/5 +Running/);
      // The hosts that have a front end.
      expect(said.match(/http:\/\/10\.97\.0\.[123]:8080/g)).toHaveLength(2);
      expect(await kubectl.run('get', 'project', 'guestbook')).toMatch(/guestbook +True +3\/3/);
      const { stdout: ready } = await kubectl.try(['get', 'hosts', '--no-headers']);
      expect(ready.match(/ Ready /g)).toHaveLength(3);
      await settles('a front end answers', async () => {
        const pages = await Promise.all(
          [1, 2, 3].map((n) =>
            fetch(`http://${net}.${n}:8080/cgi-bin/index.cgi`)
              .then((response) => response.text())
              .catch(() => ''),
          ),
        );
        expect(pages.filter((page) => page.includes('<h1>Guestbook</h1>'))).toHaveLength(2);
      });
      // Whoever runs it again while it is up has it up.
      if (round === 'first') expect(await up()).toContain('already running');

      const { code, stderr } = await demo('down');
      expect(code, stderr).toBe(0);
      expect(await traces()).toEqual([]);
    });
  }
});
