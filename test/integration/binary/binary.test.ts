import { readdir } from 'node:fs/promises';
import { execPath } from 'node:process';
import { beforeAll, describe, expect, it } from 'vitest';
import { output, run, type Outcome } from '../../support/command.ts';

const root = new URL('../../..', import.meta.url).pathname;
const nap = (...args: readonly string[]): Promise<Outcome> =>
  run([execPath, `${root}dist/nap.js`, ...args]);

/** The bundle, on the Node that runs the tests: CI runs them on the lowest one that nap supports. */
describe('dist/nap.js', () => {
  beforeAll(async () => {
    await output(['make', '-C', root, 'build'], { timeoutMs: 120_000 });
  }, 120_000);

  it('loads every part: no dependency needs a newer Node', async () => {
    const parts = (await readdir(`${root}dist/parts`)).filter((name) =>
      /^(serve|config|server|with-store).*\.js$/.test(name),
    );
    expect(parts.length).toBeGreaterThanOrEqual(4);
    for (const part of parts) {
      const { code, stderr } = await run([
        execPath,
        '--input-type=module',
        '--eval',
        `await import(${JSON.stringify(`${root}dist/parts/${part}`)}); process.exit(0)`,
      ]);
      expect(stderr.replace(/\(node:.*\n|\(Use `node.*\n/g, '')).toBe('');
      expect(code).toBe(0);
    }
  });

  it('calls C functions: the binary for this machine is there', async () => {
    const part = (await readdir(`${root}dist/parts`)).find((name) => /^koffi-.*\.js$/.test(name));
    const { stdout } = await run([
      execPath,
      '--input-type=module',
      '--eval',
      `const { default: koffi } = await import(${JSON.stringify(`${root}dist/parts/${part}`)});
       console.log(koffi.load(null).func('int abs(int)')(-78));`,
    ]);
    expect(stdout).toBe('78\n');
  });

  it('teaches its commands', async () => {
    const { stdout } = await nap('--help');
    for (const command of ['up', 'agent', 'operator', 'apiserver']) {
      expect(stdout).toMatch(new RegExp(`^  ${command} .*\\S`, 'm'));
      expect((await nap(command, '--help')).stdout).toContain('--log-level');
    }
  });

  it.each([
    { args: ['agent'], says: 'say where etcd is' },
    { args: ['agent', '--etcd', 'http://10.0.0.1:2379'], says: 'plain http is refused' },
    {
      args: ['agent', '--etcd', 'http://10.0.0.1:2379', '--insecure'],
      says: 'loopback interface only',
    },
    { args: ['agent', '--etcd', 'https://10.0.0.1:2379'], says: '--etcd-ca' },
    {
      args: [
        'agent',
        '--etcd',
        'https://a:1',
        '--etcd-ca',
        '/nowhere',
        '--etcd-cert',
        'x',
        '--etcd-key',
        'x',
      ],
      says: '--etcd-ca /nowhere',
    },
    { args: ['agent', '--etcd', 'etcd.example'], says: 'is not a URL' },
    { args: ['agent', '--name', 'Not_A_Name'], says: 'is not a host name' },
    { args: ['agent', '--address', '10.0.0.300'], says: 'is not an IPv4 address' },
    { args: ['agent', '--metadata', 'region'], says: 'key=value' },
    { args: ['up', '--api-port', '70000'], says: 'is not a port' },
    { args: ['up', '--lease-ttl', '1'], says: 'at least 2' },
    {
      args: ['apiserver', '--etcd', 'http://127.0.0.1:1', '--insecure', '--cert', 'x'],
      says: '--client-ca',
    },
    { args: ['launch'], says: 'unknown command' },
  ])('says what is wrong with "$args"', async ({ args, says }) => {
    const { code, stderr } = await nap(...args);
    expect(code).not.toBe(0);
    expect(stderr).toContain(says);
    expect(stderr).not.toMatch(/^\s+at /m);
  });
});
