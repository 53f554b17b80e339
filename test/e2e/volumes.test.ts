import { describe, expect, test } from 'vitest';
import type { Container } from '../support/box.ts';
import {
  box,
  cleansUp,
  conditions,
  containerOf,
  containers,
  eventually,
  instances,
  kubectl,
  project,
  reboot,
  removeProjects,
  settles,
  type HostName,
} from './harness.ts';

const inside = (c: Container, ...command: string[]) =>
  box.docker(c.host, 'exec', c.id, ...command).then((text) => text.trim());

const volumesOn = async (host: string, name: string): Promise<string[]> =>
  (await box.docker(host, 'volume', 'ls', '-q', '--filter', `name=${name}`))
    .split('\n')
    .filter((line) => line !== '');

async function configMap(name: string, data: Record<string, string>): Promise<void> {
  await kubectl.apply({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data });
}

/** Lets a project's specs have more than services. */
function withParts(of: ReturnType<typeof project>, parts: object): ReturnType<typeof project> {
  const whole = of as typeof of & { spec: object };
  return { ...whole, spec: { ...whole.spec, ...parts } };
}

describe('volumes', () => {
  cleansUp('vol');

  test('are one for each instance, in memory, or paths of the host; and outlive instances', async () => {
    await kubectl.apply(
      withParts(
        project('vol', {
          db: {
            replicas: 2,
            volumes: ['data-%i:/data', 'keep:/keep', '/etc:/outside:ro,rprivate'],
            tmpfs: ['/cache:size=1M,mode=1777'],
          },
          store: {
            command: ['sh', '-c', 'echo old > /store/x'],
            restart: 'no',
            volumes: ['s:/store'],
          },
          reader: { volumesFrom: ['store:ro'] },
        }),
        { volumes: { 'data-%i': { reclaimPolicy: 'delete' } } },
      ),
    );
    await kubectl.wait('project/vol');
    const second = await containerOf('vol', 'db', 2);
    expect(await volumesOn(second.host, 'default_vol_data-2')).toEqual(['default_vol_data-2']);
    expect(await inside(second, 'sh', '-c', 'echo mine > /data/x && cat /data/x')).toBe('mine');
    expect(await inside(second, 'sh', '-c', 'df -k /cache | tail -1')).toMatch(/ 1024 /);
    await expect(inside(second, 'touch', '/outside/x')).rejects.toThrow(/Read-only/);
    const reader = await containerOf('vol', 'reader', 1);
    expect(reader.host).toBe((await instances('vol-store'))[0]?.host);
    expect(await inside(reader, 'cat', '/store/x')).toBe('old');
    await expect(inside(reader, 'touch', '/store/x')).rejects.toThrow(/Read-only/);
    await box.docker(second.host, 'rm', '-f', second.id);
    await settles('a new container has the old data', async () => {
      const next = await containerOf('vol', 'db', 2);
      expect(next.id).not.toBe(second.id);
      expect(await inside(next, 'cat', '/data/x')).toBe('mine');
    });
  });

  test('are deleted with their Project if they are to be, also on a host that was away', async () => {
    const on = Object.fromEntries(
      (await instances('vol-db')).map((i) => [i.ordinal, i.host ?? '']),
    );
    const [here, away] = [on[1] ?? '', (on[2] ?? '') as HostName];
    await box.cut(away);
    await kubectl.run('delete', 'project', 'vol', '--timeout=60s');
    await settles('data is gone here', async () => {
      expect(await volumesOn(here, 'default_vol_data')).toEqual([]);
    });
    expect(await volumesOn(away, 'default_vol_data')).toEqual(['default_vol_data-2']);
    await box.heal(away);
    await kubectl.wait(`host/${away}`, 'Ready', 60);
    await removeProjects('vol');
    await settles('data is gone, and what is retained is not', async () => {
      expect(await volumesOn(away, 'default_vol_data')).toEqual([]);
      expect(await volumesOn(here, 'default_vol_keep')).toEqual(['default_vol_keep']);
    });
  });
});

describe('configs and secrets', () => {
  cleansUp('conf');
  const script = [
    'sh',
    '-c',
    'trap "cat /etc/app.conf >> /told" HUP; while :; do sleep 60 & wait $!; done',
  ];

  test('are waited for, and mounted when they appear', async () => {
    await kubectl.apply({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'conf-secret' },
      stringData: { password: 'hush-hush-e2e' },
    });
    await kubectl.apply(
      withParts(
        project('conf', {
          app: {
            command: script,
            configs: [
              {
                configMap: { name: 'conf-app', key: 'app.conf' },
                target: '/etc/app.conf',
                onChange: { signal: 'SIGHUP' },
              },
              { source: 'pw', target: '/run/secrets/password', mode: '0440', gid: 1000 },
              { source: 'inline', target: '/etc/inline' },
            ],
          },
          other: {},
        }),
        {
          configs: {
            pw: { secret: { name: 'conf-secret', key: 'password' } },
            inline: { content: 'inline\n' },
          },
        },
      ),
    );
    await kubectl.wait('napsvc/conf-other');
    await settles('it says what it waits for', async () => {
      expect((await instances('conf-app'))[0]).toMatchObject({
        phase: 'Pending',
        reason: 'ConfigMissing',
        message: 'there is no ConfigMap conf-app',
      });
      expect((await conditions('napsvc/conf-app'))['Scheduled']).toMatchObject({
        status: 'False',
        reason: 'ConfigMissing',
      });
    });
    await configMap('conf-app', { 'app.conf': 'one\n' });
    await kubectl.wait('project/conf');
    const app = await containerOf('conf', 'app');
    expect(await inside(app, 'cat', '/etc/app.conf', '/etc/inline')).toBe('one\ninline');
    expect(await inside(app, 'cat', '/run/secrets/password')).toBe('hush-hush-e2e');
    expect(await inside(app, 'stat', '-c', '%a %u %g', '/run/secrets/password')).toBe('440 0 1000');
    await expect(inside(app, 'sh', '-c', 'echo x > /etc/app.conf')).rejects.toThrow(/Read-only/);
    expect(await box.docker(app.host, 'inspect', app.id)).not.toContain('hush-hush-e2e');
  });

  test('a change of content only signals where that is asked for', async () => {
    const before = await containerOf('conf', 'app');
    await configMap('conf-app', { 'app.conf': 'two\n' });
    await settles('it has heard', async () => {
      expect(await inside(before, 'cat', '/told')).toContain('two');
    });
    expect((await containerOf('conf', 'app')).id).toBe(before.id);
    expect(await inside(before, 'cat', '/etc/app.conf')).toBe('two');
  });

  test('another change replaces the instance', async () => {
    const before = await containerOf('conf', 'app');
    await kubectl.apply({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'conf-secret' },
      stringData: { password: 'other' },
    });
    await settles('another container has it', async () => {
      const app = await containerOf('conf', 'app');
      expect(app.id).not.toBe(before.id);
      expect(await inside(app, 'cat', '/run/secrets/password')).toBe('other');
    });
  });

  test('survive an engine restart of the container, and a reboot of the host', async () => {
    await kubectl.wait('project/conf');
    const app = await containerOf('conf', 'app');
    await box.docker(app.host, 'restart', '-t', '0', app.id);
    expect(await inside(app, 'cat', '/etc/app.conf')).toBe('two');
    await reboot(app.host as HostName);
    await settles(
      'it has its files wherever it runs',
      async () => {
        const next = await containerOf('conf', 'app');
        expect(await inside(next, 'cat', '/etc/app.conf')).toBe('two');
        expect(await inside(next, 'cat', '/run/secrets/password')).toBe('other');
      },
      60_000,
    );
    await eventually('once', async () => {
      const all = await containers('conf', { service: 'app' });
      return all.filter((c) => c.running).length === 1;
    });
  });
});
