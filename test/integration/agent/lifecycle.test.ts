import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Store } from '../../../src/registry/store.ts';
import { TestDocker, testImage } from '../../support/docker.ts';
import { eventually } from '../../support/eventually.ts';
import { TestEtcd } from '../../support/etcd.ts';
import { key, openTestStore, Operator, RunningAgent, spec } from './harness.ts';

let docker: TestDocker;
let etcd: TestEtcd;
let store: Store;
let operator: Operator;
let agent: RunningAgent;

beforeAll(async () => {
  [docker, etcd] = await Promise.all([TestDocker.start(), TestEtcd.start()]);
});

afterAll(async () => {
  await docker.stop();
  await etcd.stop();
});

beforeEach(async () => {
  store = await openTestStore(etcd);
  operator = new Operator(store);
  agent = new RunningAgent(docker, store);
  await eventually('host is ready', async () => (await operator.host())?.ready);
});

afterEach(async () => {
  await agent.stop();
  // The engine may need several tries: a mount of one container is busy while another one is being started.
  await eventually('containers are gone', async () => {
    const ids = await containerIds();
    if (ids.length > 0) await docker.cli('rm', '-fv', ...ids);
    return true;
  });
  for (const prefix of ['/nap/', '/services/']) {
    for (const { key: path } of (await store.list(prefix)).entries) {
      await store.commit([], [{ type: 'delete', key: path }]);
    }
  }
  await store.close();
});

async function containerIds(): Promise<string[]> {
  return (await docker.cli('ps', '-aq', '--no-trunc')).split('\n').filter((id) => id !== '');
}

async function names(): Promise<string[]> {
  const out = await docker.cli('ps', '--format', '{{.Names}}');
  return out.split('\n').filter((name) => name !== '');
}

/** The container's id, once the instance serves. */
async function running(instance = key()): Promise<string> {
  const record = await eventually('instance is ready', async () => {
    const seen = await operator.instance(instance);
    return seen?.ready === true && (await operator.endpoint(instance)) !== undefined && seen;
  });
  return record.containerId!;
}

async function inspect(containerId: string, format: string): Promise<string> {
  return docker.cli('inspect', '--format', format, containerId);
}

describe('an instance', () => {
  it('runs where it is placed, is reported, and leaves nothing behind', async () => {
    await operator.place(key(), spec({ ports: [{ containerPort: 80, protocol: 'tcp' }] }));
    await running();
    const endpoint = (await operator.endpoint(key()))!;
    expect(endpoint).toMatchObject({ host: 'h1', port: 80 });
    expect(endpoint.ipv4_addr).toMatch(/^10\.77\.1\./);
    expect(await operator.instance(key())).toMatchObject({
      phase: 'Running',
      ready: true,
      restarts: 0,
      ip: endpoint.ipv4_addr,
    });
    expect(await names()).toEqual([expect.stringMatching(/^nap_default_guestbook_web_1_/)]);
    expect(agent.dns?.gateway).toBe('10.77.1.1');
    expect(agent.dns?.local.localInstance(endpoint.ipv4_addr)).toEqual(key());

    await operator.unplace(key());
    await eventually('record is gone', async () => (await operator.instance(key())) === undefined);
    expect(await operator.endpoint(key())).toBeUndefined();
    expect(await containerIds()).toEqual([]);
    expect(agent.dns?.local.localInstance(endpoint.ipv4_addr)).toBeUndefined();
  });

  it('has everything that its spec says', async () => {
    await operator.place(
      key(),
      spec({
        environment: { A: '1', B: 'x=y z' },
        labels: { team: 'blue', 'nap.dev/host': 'forged' },
        hostname: 'guestbook-web-1',
        user: '1000:1000',
        workingDir: '/tmp',
        stopSignal: 'SIGINT',
        mounts: [
          { type: 'volume', name: 'default_guestbook_data', target: '/data', readOnly: false },
          { type: 'bind', source: '/tmp/nap-bind', target: '/bound', readOnly: true },
        ],
        limits: { cpuMillis: 500, memoryBytes: 64 * 1024 * 1024, pids: 50 },
        reservations: { memoryBytes: 32 * 1024 * 1024 },
      }),
    );
    const info = JSON.parse(await inspect(await running(), '{{json .}}')) as {
      Config: Record<string, unknown>;
      HostConfig: Record<string, unknown>;
      Mounts: Record<string, unknown>[];
    };
    expect(info.Config).toMatchObject({
      Hostname: 'guestbook-web-1',
      User: '1000:1000',
      WorkingDir: '/tmp',
      StopSignal: 'SIGINT',
      Env: expect.arrayContaining(['A=1', 'B=x=y z']) as unknown,
      Labels: { team: 'blue', 'nap.dev/host': 'h1', 'nap.dev/ordinal': '1' },
    });
    expect(info.HostConfig).toMatchObject({
      NanoCpus: 500_000_000,
      Memory: 64 * 1024 * 1024,
      MemoryReservation: 32 * 1024 * 1024,
      PidsLimit: 50,
      Dns: ['10.77.1.1'],
      DnsSearch: ['.'],
      LogConfig: { Type: 'json-file', Config: { 'max-size': '10m', 'max-file': '3' } },
      RestartPolicy: { Name: 'unless-stopped' },
    });
    expect(info.Mounts).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ Type: 'volume', Name: 'default_guestbook_data', RW: true }),
        expect.objectContaining({ Type: 'bind', Destination: '/bound', RW: false }),
      ]),
    );
    await operator.unplace(key());
    await eventually('container is gone', async () => (await containerIds()).length === 0);
    expect(await docker.cli('volume', 'ls', '-q')).toContain('default_guestbook_data');
  });

  it('is made anew when its spec changes, and follows the scale', async () => {
    const id = await operator.place(key(), spec());
    const first = await running();
    await operator.place(key(), spec({ environment: { V: '2' } }), id);
    const second = await eventually('another container', async () => {
      const record = await operator.instance(key());
      return record?.ready === true && record.containerId !== first && record.containerId;
    });
    expect(await containerIds()).toEqual([second]);

    for (const ordinal of [2, 3, 4, 5, 6]) await operator.place(key(ordinal), spec());
    for (const ordinal of [2, 3, 4, 5, 6]) await running(key(ordinal));
    expect(await names()).toHaveLength(6);
    for (const ordinal of [3, 4, 5, 6]) await operator.unplace(key(ordinal));
    await eventually('scaled down', async () => (await containerIds()).length === 2);
  });

  it('of another placement replaces the one that has the ordinal', async () => {
    await operator.place(key(), spec());
    const first = await running();
    const id = await operator.place(key(), spec());
    await eventually('replaced', async () => {
      const record = await operator.instance(key());
      return record?.ready === true && record.id === id;
    });
    expect(await containerIds()).not.toContain(first);
    expect(await containerIds()).toHaveLength(1);
  });

  it('gets its stop signal and its grace, and is killed after it', async () => {
    const politely =
      'trap "echo bye >/data/bye; exit 0" TERM; while :; do sleep 60 & wait $!; done';
    await operator.place(
      key(1),
      spec({
        command: ['sh', '-c', politely],
        mounts: [{ type: 'volume', name: 'polite', target: '/data', readOnly: false }],
      }),
    );
    const deaf = 'trap "" TERM; while :; do sleep 60 & wait $!; done';
    await operator.place(key(2), spec({ command: ['sh', '-c', deaf], stopGracePeriodMs: 2000 }));
    await running(key(1));
    const deafId = await running(key(2));
    const since = String(Math.floor(Date.now() / 1000) - 1);
    await operator.unplace(key(1));
    await operator.unplace(key(2));
    await eventually('no endpoint while it stops', async () => {
      return (await operator.endpoint(key(2))) === undefined;
    });
    expect(await operator.instance(key(2))).toMatchObject({ ready: false });
    await eventually('it is asked to stop', async () => {
      return (await operator.instance(key(2)))?.phase === 'Stopping';
    });
    await eventually('both are gone', async () => (await containerIds()).length === 0);
    // As the engine has noted it: when a test sees it depends on the machine.
    const events = await docker.cli(
      ...['events', '--since', since, '--until', String(Math.ceil(Date.now() / 1000))],
      ...['--filter', `container=${deafId}`, '--filter', 'event=kill'],
      ...['--format', '{{.Actor.Attributes.signal}} {{.TimeNano}}'],
    );
    const [asked, killed] = events.split('\n').map((line) => line.split(' '));
    expect([asked?.[0], killed?.[0]]).toEqual(['15', '9']);
    const graceMs = (Number(killed?.[1]) - Number(asked?.[1])) / 1e6;
    expect(graceMs).toBeGreaterThanOrEqual(1_900);
    expect(graceMs).toBeLessThan(9_000);
    const bye = await docker.cli(
      'run',
      '--rm',
      '--network=none',
      '-v',
      'polite:/data',
      testImage,
      'cat',
      '/data/bye',
    );
    expect(bye).toBe('bye');
  });

  it('is started again, or made again, when somebody stops, kills or removes it', async () => {
    await operator.place(key(), spec());
    const first = await running();
    await docker.cli('stop', '-t', '1', first);
    await eventually('is started again', async () => {
      const record = await operator.instance(key());
      return record?.ready === true && record.restarts === 1;
    });
    expect(await inspect(first, '{{.State.Status}}')).toBe('running');

    await docker.cli('rm', '-f', first);
    const second = await eventually('made again', async () => {
      const record = await operator.instance(key());
      return record?.ready === true && record.containerId !== first && record.containerId;
    });

    await docker.cli('network', 'disconnect', '-f', 'nap', second);
    const third = await eventually('made again on the network', async () => {
      const record = await operator.instance(key());
      return record?.ready === true && record.containerId !== second && record.containerId;
    });
    await docker.cli('rename', third, 'somebodys-name');
    await docker.cli('pause', third);
    await eventually('paused is not ready', async () => {
      const record = await operator.instance(key());
      return record?.reason === 'Paused' && (await operator.endpoint(key())) === undefined;
    });
    await docker.cli('unpause', third);
    expect(await running()).toBe(third);
    expect(await containerIds()).toEqual([third]);
    await docker.cli('pause', third);
    await operator.unplace(key());
    await eventually('gone', async () => (await containerIds()).length === 0);
  });
});

describe('a command that ends', () => {
  it('is a crash loop with the code and the next start, and no endpoint', async () => {
    await operator.place(key(), spec({ command: ['sh', '-c', 'exit 3'] }));
    const record = await eventually('crash loop', async () => {
      const seen = await operator.instance(key());
      return seen?.reason === 'CrashLoop' && seen.phase === 'Failed' && seen;
    });
    expect(record).toMatchObject({ ready: false, exitCode: 3 });
    expect(record.message).toMatch(/exited with code 3 after .* s; next start in [\d.]+ s/);
    expect(record.restarts).toBeGreaterThan(1);
    expect(await operator.endpoint(key())).toBeUndefined();
  });

  it('is not run again with restart: no, even if its container is removed', async () => {
    const once = spec({ restart: 'no', command: ['sh', '-c', 'echo run >>/data/runs; exit 7'] });
    const mounts = [{ type: 'volume', name: 'once', target: '/data', readOnly: false }] as const;
    await operator.place(key(), { ...once, mounts: [...mounts] });
    const exited = await eventually('exited', async () => {
      const seen = await operator.instance(key());
      return seen?.phase === 'Exited' && seen;
    });
    expect(exited).toMatchObject({ reason: 'Error', exitCode: 7, restarts: 0, ready: false });
    await docker.cli('rm', exited.containerId!);
    await eventually('removed', async () => (await operator.instance(key()))?.reason === 'Removed');
    const runs = await docker.cli(
      'run',
      '--rm',
      '--network=none',
      '-v',
      'once:/data',
      testImage,
      'cat',
      '/data/runs',
    );
    expect(runs).toBe('run');
  });

  it('cannot be found: the reason is shown, and other instances are not disturbed', async () => {
    await operator.place(key(1), spec({ command: ['/no/such/program'] }));
    await operator.place(key(2), spec());
    await running(key(2));
    const record = await eventually('failed', async () => {
      const seen = await operator.instance(key(1));
      return seen?.phase === 'Failed' && seen;
    });
    expect(record.reason).toBe('StartFailed');
    expect(record.message).toContain('/no/such/program');
    expect(record.message).toMatch(/next try in/);
  });
});

describe('a host port', () => {
  it('that a foreign process holds is PortInUse, and works once it is free', async () => {
    const other = docker.spawnInNetwork('/bin/busybox', 'httpd', '-f', '-p', '8099');
    try {
      await eventually('port is held', () =>
        docker
          .inNetwork('/bin/busybox', 'nc', '127.0.0.1', '8099', '-e', '/bin/true')
          .then(() => true),
      );
      const ports = [{ containerPort: 80, protocol: 'tcp', hostPort: 8099 }] as const;
      await operator.place(key(), spec({ ports: [...ports] }));
      await eventually('PortInUse', async () => {
        return (await operator.instance(key()))?.reason === 'PortInUse';
      });
    } finally {
      other.kill('SIGKILL');
    }
    await running();
  });
});
