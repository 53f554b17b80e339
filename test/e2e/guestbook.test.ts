import { describe, expect, test } from 'vitest';
import type { Container } from '../support/box.ts';
import {
  box,
  cleansUp,
  containerOf,
  containers,
  conditions,
  eventually,
  expectExactly,
  holds,
  hosts,
  idsByInstance,
  instances,
  kubectl,
  otherToolsImage,
  plane,
  project,
  removeProjects,
  settles,
} from './harness.ts';

const manifest = new URL('../../manifests/demo/guestbook.yaml', import.meta.url).pathname;

/** One by one, and each is watched for 2 s before the next one's turn. */
const updateMs = 120_000;

interface Post {
  readonly status: number;
  readonly text: string;
}

/** Asks a front end from outside, through the port that its host publishes. */
async function ask(host: string, message?: string): Promise<Post> {
  const url = `http://${box.address(host)}:8080/`;
  const response = await fetch(
    message === undefined ? `${url}cgi-bin/index.cgi` : `${url}cgi-bin/index.cgi`,
    {
      signal: AbortSignal.timeout(8_000),
      redirect: 'manual',
      ...(message === undefined
        ? {}
        : { method: 'POST', body: new URLSearchParams({ message }).toString() }),
    },
  );
  return { status: response.status, text: await response.text() };
}

describe('the guestbook', () => {
  cleansUp('guestbook');
  const whole = { web: 2, 'redis-master': 1, 'redis-slave': 2 };

  test('is applied, and watched until it is Ready', async () => {
    const watch = kubectl.follow('get', 'projects', '-w');
    expect(await kubectl.run('apply', '-f', manifest)).toContain('guestbook created');
    await kubectl.wait('project/guestbook');
    const ready = /^guestbook +True +3\/3 +5\/5 +Running +\d+s/;
    await eventually('the watch shows it', () => watch.lines().some((line) => ready.test(line)));
    const lines = (await watch.stop()).filter((line) => line.startsWith('guestbook'));
    expect(lines.length, lines.join('\n')).toBeGreaterThan(2);
    expect(lines.some((line) => /^guestbook +False +\d\/3 +\d\/5 +/.test(line))).toBe(true);

    const [header, row] = (await kubectl.run('get', 'projects', 'guestbook')).trim().split('\n');
    expect(header).toMatch(/^NAME +READY +SERVICES +INSTANCES +STATUS +URL +AGE$/);
    expect(row).toMatch(ready);
    await expectExactly('guestbook', whole);
  });

  test('spreads over the hosts, and the status says where', async () => {
    for (const service of ['web', 'redis-slave']) {
      const listed = await instances(`guestbook-${service}`);
      expect(new Set(listed.map((i) => i.host)).size, service).toBe(2);
      for (const instance of listed) {
        expect(instance).toMatchObject({ phase: 'Running', ready: true, restarts: 0 });
        const { host } = await containerOf('guestbook', service, instance.ordinal);
        expect(instance.host).toBe(host);
      }
    }
    await settles('the hosts count them', async () => {
      const rows = (await kubectl.run('get', 'hosts', '--no-headers')).trim().split('\n');
      expect(rows).toHaveLength(3);
      const placed = rows.map((row) => {
        const [name = '', status, address, subnet, instances] = row.split(/ +/);
        expect(name).toMatch(/^h\d$/);
        expect([status, address]).toEqual(['Ready', box.address(name)]);
        expect(subnet).toMatch(/^10\.77\.\d+\.0\/24$/);
        return Number(instances);
      });
      expect(placed.reduce((sum, n) => sum + n, 0)).toBeGreaterThanOrEqual(5);
    });
  });

  test('an entry posted at a front end is read from a replica on another host', async () => {
    const master = await containerOf('guestbook', 'redis-master');
    const slaves = await containers('guestbook', { service: 'redis-slave' });
    const distant = slaves.find((slave) => slave.host !== master.host)!;
    const fronts = await containers('guestbook', { service: 'web' });
    for (const front of fronts) {
      const message = `greetings through ${front.host}`;
      await settles(`${front.host} takes an entry`, async () => {
        expect((await ask(front.host, message)).status).toBe(303);
      });
      await settles('the replica has it', async () => {
        const entries = await box.exec(distant, 'redis-cli', 'LRANGE', 'guestbook', '0', '-1');
        expect(entries).toContain(message);
      });
      await settles('the page shows it', async () => {
        expect((await ask(front.host)).text).toContain(`<li>${message}`);
      });
    }
    const info = await box.exec(distant, 'redis-cli', 'INFO', 'replication');
    expect(info).toContain('role:slave');
    expect(info).toContain('master_host:redis-master');
    expect(info).toContain('master_link_status:up');
  });

  test('describe and explain say what a user needs', async () => {
    const described = await kubectl.run('describe', 'project', 'guestbook');
    for (const type of ['Ready', 'Reconciling', 'Stalled', 'Scheduled']) {
      expect(described).toMatch(new RegExp(`Type: +${type}`));
    }
    expect(described).toMatch(/Events:\n +Type +Reason/);
    const service = await kubectl.run('describe', 'napsvc', 'guestbook-web');
    expect(service).toMatch(/Normal +Scheduled .*guestbook-web-1 on h\d/);

    const explained = await kubectl.run('explain', 'project.spec.services');
    expect(explained).toMatch(/(FIELD|RESOURCE): services/);
    for (const field of ['image', 'environment', 'ports', 'links', 'volumes', 'placement']) {
      expect(explained).toContain(`  ${field}\t`);
    }
    expect(await kubectl.run('explain', 'project.spec.services.ports')).toContain('8080:80');
  });

  test('kubectl scale is followed and not fought; a change in the Project wins later', async () => {
    const before = idsByInstance(await containers('guestbook'));
    await kubectl.run('scale', 'napsvc', 'guestbook-redis-slave', '--replicas=4');
    await kubectl.wait('napsvc/guestbook-redis-slave');
    const scaled = { ...whole, 'redis-slave': 4 };
    await expectExactly('guestbook', scaled);
    await settles('the project counts them', async () => {
      expect(await kubectl.run('get', 'project', 'guestbook')).toMatch(/True +3\/3 +7\/7 +Running/);
    });
    // Things that concern the project, but not the number of its replicas.
    await kubectl.run('label', 'project', 'guestbook', 'team=blue');
    await kubectl.run('annotate', 'project', 'guestbook', 'note=hello');
    await holds(() => expectExactly('guestbook', scaled), 4_000);
    expect(idsByInstance(await containers('guestbook'))).toMatchObject(before);

    const patch = { spec: { services: { 'redis-slave': { replicas: 3 } } } };
    await kubectl.run('patch', 'project', 'guestbook', '--type=merge', '-p', JSON.stringify(patch));
    await settles('three replicas', () =>
      expectExactly('guestbook', { ...whole, 'redis-slave': 3 }),
    );
    await kubectl.wait('project/guestbook');
    expect(idsByInstance(await containers('guestbook'))).toMatchObject(before);
  });

  test('a change of placement restarts nothing; a change of environment only its own service', async () => {
    const before = idsByInstance(await containers('guestbook'));
    const change = (spec: object): Promise<string> =>
      kubectl.run(
        ...['patch', 'project', 'guestbook', '--type=merge'],
        ...['-p', JSON.stringify({ spec: { services: { 'redis-slave': spec } } })],
      );
    await change({ placement: { strategy: 'binpack' } });
    await kubectl.wait('project/guestbook');
    await holds(async () => {
      expect(idsByInstance(await containers('guestbook'))).toEqual(before);
    }, 2_000);

    await change({ environment: { GREETING: 'hello' } });
    await settles(
      'all replicas are new',
      async () => {
        const now = idsByInstance(await containers('guestbook'));
        for (const [instance, id] of Object.entries(before)) {
          if (instance.startsWith('redis-slave.')) expect(now[instance]).not.toBe(id);
          else expect(now[instance], instance).toBe(id);
        }
        expect(Object.keys(now).sort()).toEqual(Object.keys(before).sort());
      },
      updateMs,
    );
    await kubectl.wait('project/guestbook');
    const changed = await containerOf('guestbook', 'redis-slave', 2);
    expect(await box.exec(changed, 'sh', '-c', 'echo $GREETING')).toBe('hello\n');
  });

  test('kubectl delete leaves nothing but the named volume', async () => {
    await removeProjects('guestbook');
    expect(await containers('guestbook')).toEqual([]);
    for (const prefix of [
      '/nap/v1/placements',
      '/nap/v1/services',
      '/nap/v1/instances',
      '/services',
    ]) {
      const left = (await plane.keys(`${prefix}/`)).filter((key) => key.includes('/guestbook/'));
      expect(left, prefix).toEqual([]);
    }
    expect(await kubectl.run('get', 'napsvc', '--no-headers')).not.toContain('guestbook');
    const volumes = await Promise.all(hosts.map((host) => box.docker(host, 'volume', 'ls', '-q')));
    expect(volumes.join('\n')).toMatch(/^default_guestbook_data$/m);
    for (const host of hosts) await box.tryDocker(host, ['volume', 'rm', 'default_guestbook_data']);
  });
});

describe('an update', () => {
  cleansUp('update');

  test('of the image goes one by one, and a no-op restarts nothing', async () => {
    const original = project('update', { app: { replicas: 4 }, other: {} });
    await kubectl.apply(original);
    await kubectl.wait('project/update');
    const before = idsByInstance(await containers('update'));
    expect(await kubectl.apply(original)).toContain('unchanged');

    await kubectl.apply(
      project('update', { app: { replicas: 4, image: otherToolsImage }, other: {} }),
    );
    let fewest = 4;
    await eventually(
      'all four run the new image',
      async () => {
        const app = (await containers('update', { service: 'app' })).filter(
          (c: Container) => c.running,
        );
        fewest = Math.min(fewest, app.length);
        return app.length === 4 && app.every((c) => c.image === otherToolsImage);
      },
      updateMs,
    );
    expect(fewest, 'running at any moment').toBeGreaterThanOrEqual(3);
    await kubectl.wait('project/update');
    const after = idsByInstance(await containers('update'));
    expect(after['other.1']).toBe(before['other.1']);
    expect((await conditions('project/update'))['Ready']).toMatchObject({ status: 'True' });
    await expectExactly('update', { app: 4, other: 1 });
  });
});
