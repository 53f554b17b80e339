import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { answersPort, marker, serverCommand } from '../support/answers.ts';
import type { Container } from '../support/box.ts';
import {
  box,
  cleansUp,
  containerOf,
  dig,
  eventually,
  hosts,
  instances,
  kubectl,
  project,
  resolve,
  settles,
  type HostName,
} from './harness.ts';

type Place = Container | HostName;

/** Whether a TCP connection comes about. One that should is given more time: a busy machine starts programs slowly. */
async function reaches(from: Place, address: string, wanted = true): Promise<boolean> {
  const seconds = wanted ? '5' : '1';
  const command = ['timeout', seconds, 'bash', '-c', `</dev/tcp/${address}/${answersPort}`];
  const { code } = await (typeof from === 'string'
    ? box.sh(from, command)
    : box.inNetworkOf(from, command));
  return code === 0;
}

const becomes = (from: Place, address: string, wanted: boolean): Promise<unknown> =>
  eventually(
    `${address} is ${wanted ? 'reached' : 'not reached'}`,
    async () => (await reaches(from, address, wanted)) === wanted,
    10_000,
  );

/** How many requests for an echo have come to a container so far, whoever sent them. */
async function echoesAsked(of: Container): Promise<number> {
  const text = await box.exec(of, 'cat', '/proc/net/snmp');
  const [names = '', values = ''] = text.split('\n').filter((line) => line.startsWith('Icmp: '));
  const count = Number(values.split(' ')[names.split(' ').indexOf('InEchos')]);
  expect(count, text).toBeGreaterThanOrEqual(0);
  return count;
}

async function say(isolation: string, name = 'walled'): Promise<void> {
  const patch = JSON.stringify({ spec: { network: { isolation } } });
  await kubectl.run('patch', 'project', name, '--type=merge', '-p', patch);
}

describe('isolation', () => {
  cleansUp('walled', 'walled-guest', 'walled-linked');
  let db: string;
  let vip: string;
  let web: Container;
  let guest: Container;
  let linked: Container;
  let ids: string;

  const idsOf = async (): Promise<string> =>
    [...(await box.containers(hosts, { project: 'walled' }))]
      .map(({ id }) => id)
      .sort()
      .join(' ');

  beforeAll(async () => {
    const on = (machineID: HostName): object => ({ placement: { machineID } });
    await kubectl.apply([
      project('walled', {
        db: { ...on('h1'), ports: [`${answersPort}`] },
        web: { ...on('h2'), links: ['db'] },
        batch: on('h1'),
      }),
      // One on the host of the instance that is spoken to, one on another.
      project('walled-guest', { there: on('h1'), away: on('h3') }),
      project('walled-linked', { app: { ...on('h3'), links: ['walled/db'] } }),
    ]);
    for (const name of ['walled', 'walled-guest', 'walled-linked']) {
      await kubectl.wait(`project/${name}`);
    }
    const container = await containerOf('walled', 'db');
    db = (await instances('walled-db'))[0]!.ip!;
    vip = (await kubectl.get<{ status: { virtualIP: string } }>('napsvc/walled-db')).status
      .virtualIP;
    void box.inNetworkOf(container, serverCommand(db)).catch(() => undefined);
    [web, guest, linked] = await Promise.all([
      containerOf('walled', 'web'),
      containerOf('walled-guest', 'away'),
      containerOf('walled-linked', 'app'),
    ]);
    await becomes(web, db, true);
    ids = await idsOf();
  });

  afterAll(async () => {
    for (const host of hosts) await box.sh(host, ['pkill', '-KILL', '-f', marker]);
  });

  test('a project is private: its own, those who link to it, and the hosts come in; others do not, and see no name', async () => {
    const there = await containerOf('walled-guest', 'there');
    for (const address of [db, vip]) {
      for (const from of [web, linked, ...hosts]) {
        expect([from, address, await reaches(from, address)]).toEqual([from, address, true]);
      }
      for (const from of [guest, there]) {
        expect([from, address, await reaches(from, address, false)]).toEqual([
          from,
          address,
          false,
        ]);
      }
    }
    expect((await box.inNetworkOf(guest, ['ping', '-c1', '-W1', db])).code).not.toBe(0);
    expect((await box.inNetworkOf(web, ['ping', '-c1', '-W1', db])).code).toBe(0);
    expect(await resolve(linked, 'db')).toEqual([vip]);
    const { stdout } = await dig(guest, 'db.walled.default.nap.local');
    expect(stdout).toContain('status: NXDOMAIN');
  });

  test('strict: only links; open: everybody; in force at once, and nothing is restarted', async () => {
    const batch = await containerOf('walled', 'batch');
    expect(await reaches(batch, db)).toBe(true);
    await say('strict');
    await becomes(batch, db, false);
    for (const from of [web, linked]) expect(await reaches(from, db)).toBe(true);
    await say('open');
    for (const from of [batch, guest]) await becomes(from, db, true);
    await say('private');
    await becomes(guest, db, false);
    expect(await reaches(batch, db)).toBe(true);
    expect(await idsOf()).toBe(ids);
  });

  test('an instance that is replaced is let in from its first packet on, and what had its address before is not', async () => {
    const { id } = await containerOf('walled', 'web');
    await box.docker('h2', 'rm', '-f', id);
    await kubectl.wait('project/walled');
    await settles('it is replaced, and let in', async () => {
      const fresh = await containerOf('walled', 'web');
      expect(fresh.id).not.toBe(id);
      expect(await reaches(fresh, db)).toBe(true);
      web = fresh;
    });
    expect(await reaches(guest, db, false)).toBe(false);
  });

  test('what forges an address does not come in', async () => {
    const own = (await instances('walled-web'))[0]!.ip!;
    // The guest puts on the address of one who may.
    const command = (verb: string): string[] => ['ip', 'addr', verb, `${own}/32`, 'dev', 'eth0'];
    expect((await box.inNetworkOf(guest, command('add'))).code).toBe(0);
    // The answers would go to the one who has the address: what counts is what is asked.
    const target = await containerOf('walled', 'db');
    const before = await echoesAsked(target);
    try {
      const { stdout } = await box.inNetworkOf(guest, ['ping', '-c2', '-W1', '-I', own, db]);
      expect(stdout).toContain('2 packets transmitted');
    } finally {
      await box.inNetworkOf(guest, command('del'));
    }
    expect(await echoesAsked(target)).toBe(before);
    expect((await box.inNetworkOf(web, ['ping', '-c2', '-W1', '-I', own, db])).code).toBe(0);
    expect(await echoesAsked(target)).toBe(before + 2);
  });
});
