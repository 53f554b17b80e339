import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Container } from '../support/box.ts';
import {
  anotherAgent,
  box,
  cleansUp,
  containers,
  eventually,
  expectExactly,
  holds,
  hosts,
  idsByInstance,
  instances,
  kubectl,
  plane,
  project,
  reboot,
  resolve,
  settles,
} from './harness.ts';

const wanted = { web: 6, db: 1 };

const ready = (seconds = 60): Promise<void> => kubectl.wait('project/faults', 'Ready', seconds);
const ids = async (): Promise<Record<string, string>> => idsByInstance(await containers('faults'));
/** Instance → host. */
const placement = async (): Promise<Record<string, string>> =>
  Object.fromEntries(
    (await containers('faults')).map((c) => [`${c.service}.${c.ordinal}`, c.host]),
  );

/** That each host is there, and was never given up. */
async function hostsAreReady(): Promise<void> {
  for (const host of hosts) await kubectl.wait(`host/${host}`, 'Ready', 30);
}

async function moves(): Promise<number> {
  const { items } = await kubectl.get<{ items: { reason: string; count?: number }[] }>('events');
  return items.filter(({ reason }) => reason === 'Moved').reduce((n, e) => n + (e.count ?? 1), 0);
}

/** Waits until another Docker engine than that with this process answers on the host. */
async function anotherEngine(host: string, before: string): Promise<void> {
  await eventually(
    'another engine',
    async () => {
      const { stdout: now } = await box.sh(host, ['pgrep', '-x', 'dockerd']);
      return now !== '' && now !== before && (await box.tryDocker(host, ['version'])).code === 0;
    },
    60_000,
  );
}

describe('when parts of nap fail', () => {
  cleansUp('faults');
  let before: Record<string, string>;
  let movesBefore: number;

  beforeAll(async () => {
    await kubectl.apply(project('faults', { web: { replicas: 6 }, db: {} }));
    await ready();
  });

  beforeEach(async () => {
    await ready();
    await expectExactly('faults', wanted);
    before = await ids();
    movesBefore = await moves();
  });

  afterAll(async () => {
    for (const each of plane.processes) await each.start();
  });

  /** Nothing was restarted, moved or doubled. */
  async function nothingHappened(): Promise<void> {
    expect(await ids()).toEqual(before);
    expect(await moves()).toBe(movesBefore);
    await expectExactly('faults', wanted);
  }

  /** The whole chain works: a change is decided, written and carried out. */
  async function changesAreMade(): Promise<void> {
    await kubectl.run('scale', 'napsvc', 'faults-db', '--replicas=2');
    await settles('a second db', () => expectExactly('faults', { ...wanted, db: 2 }));
    await kubectl.run('scale', 'napsvc', 'faults-db', '--replicas=1');
    await settles('one db again', () => expectExactly('faults', wanted));
  }

  test('an operator killed in the middle of a scale-up: the other one finishes it', async () => {
    const leader = await plane.leader();
    await kubectl.run('scale', 'napsvc', 'faults-web', '--replicas=18');
    await eventually('the first new instances run', async () => {
      const running = (await containers('faults', { service: 'web' })).length;
      return running > 8;
    });
    await leader.end('SIGKILL');
    await settles('eighteen', () => expectExactly('faults', { web: 18, db: 1 }), 60_000);
    const next = await plane.leader(60_000);
    expect(next.name).not.toBe(leader.name);
    await leader.start();
    await kubectl.wait('napsvc/faults-web', 'Ready', 60);
    await ready();
    expect(await ids()).toMatchObject(before);

    await kubectl.run('scale', 'napsvc', 'faults-web', '--replicas=6');
    await settles('six again', () => expectExactly('faults', wanted), 60_000);
    expect(await ids()).toEqual(before);
  });

  test('an operator killed right after a scale-up was asked for', async () => {
    const leader = await plane.leader();
    await kubectl.run('scale', 'napsvc', 'faults-web', '--replicas=9');
    await leader.end('SIGKILL');
    await settles('nine', () => expectExactly('faults', { web: 9, db: 1 }), 60_000);
    await leader.start();
    await kubectl.run('scale', 'napsvc', 'faults-web', '--replicas=6');
    await settles('six again', () => expectExactly('faults', wanted), 60_000);
  });

  test.skipIf(plane.foreign)('the API server is restarted', async () => {
    await plane.apiServer.restart();
    await plane.apiReady();
    expect(await kubectl.run('get', 'project', 'faults')).toMatch(/faults +True/);
    await changesAreMade();
    await nothingHappened();
  });

  test('etcd is restarted', async () => {
    await plane.etcd.restart();
    await eventually('the API answers', async () => (await kubectl.try(['get', 'ns'])).code === 0);
    await changesAreMade();
    await hostsAreReady();
    await nothingHappened();
  });

  test('etcd stands still for 60 s: what runs goes on and finds each other', async () => {
    const web = (await containers('faults', { service: 'web' })).filter((c) => c.running);
    const asking = hosts.map((host) => web.find((c) => c.host === host)!);
    const [db] = await instances('faults-db');
    await plane.etcd.signal('SIGSTOP');
    try {
      await holds(async () => {
        expect(await ids()).toEqual(before);
        for (const from of asking) expect(await resolve(from, 'tasks.db')).toEqual([db!.ip]);
      }, 60_000);
    } finally {
      await plane.etcd.signal('SIGCONT');
    }
    await eventually('the API answers', async () => (await kubectl.try(['get', 'ns'])).code === 0);
    await hostsAreReady();
    await ready();
    // Long enough for a host that is wrongly taken for lost to be given up.
    await holds(nothingHappened, 8_000);
    await changesAreMade();
  });

  test('an agent is killed: it comes back by itself and adopts what runs', async () => {
    const pid = await box.agentPid('h2');
    await box.signal('h2', 'KILL', 'nap.js agent');
    await anotherAgent('h2', pid!);
    await hostsAreReady();
    await holds(nothingHappened, 6_000);
    await changesAreMade();
    await ready();
  });

  test('a Docker engine is killed: its containers run again where they were', async () => {
    const where = await placement();
    const pid = await box.run('h1', 'pgrep', '-x', 'dockerd');
    await box.run('h1', 'pkill', '-KILL', '-x', 'dockerd');
    await anotherEngine('h1', pid);
    await settles('all run again', () => expectExactly('faults', wanted), 60_000);
    expect(await placement()).toEqual(where);
    await hostsAreReady();
    await ready();
    expect(await moves()).toBe(movesBefore);
  });

  test('a Docker engine is stopped in an orderly way and started again', async () => {
    const where = await placement();
    const pid = await box.run('h3', 'pgrep', '-x', 'dockerd');
    await box.run('h3', 'pkill', '-TERM', '-x', 'dockerd');
    await anotherEngine('h3', pid);
    await settles('all run again', () => expectExactly('faults', wanted), 60_000);
    expect(await placement()).toEqual(where);
    await hostsAreReady();
    await ready();
  });

  test('a host is rebooted: what ran there runs again, exactly once', async () => {
    const others = hosts.filter((host) => host !== 'h1');
    const survivors = idsByInstance(await containers('faults', { on: others }));
    await reboot('h1');
    await hostsAreReady();
    // One that was away for longer than its lease is given up. What its engine has started by itself looks right until its agent
    // has heard of that, and what takes its place is there.
    await settles(
      'exactly once, and for good',
      () => holds(() => expectExactly('faults', wanted), 8_000),
      60_000,
    );
    await ready();
    expect(await ids()).toMatchObject(survivors);
    const from = (await containers('faults', { service: 'web' }))[0] as Container;
    const [db] = await instances('faults-db');
    expect(await resolve(from, 'tasks.db')).toEqual([db!.ip]);
  });
});
